"""Half an hour of a small network at sixty times testnet's rate of blocks (one a second), with transfers, and a peer
that comes and goes: what each node holds after each sixth of it. What is forgotten by age has
been forgotten by the middle, so from there on nothing may grow but what the chain itself adds.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

from deepblock.keys import Wallet
from deepblock.primitives import DBK
from tests.functional.nodes import Node, running, wait_for

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
NODES = 3
PARTS = 6
EVERY = 0.5
"""Seconds between two transfers."""
VISIT = 20.0
"""Seconds that the visitor stays, and stays away."""


def main(folder: Path) -> None:
    nodes = [Node(folder / f"node{number}", "--log-level", "info") for number in range(NODES)]
    visitor = Node(folder / "visitor", "--no-mine", "--log-level", "info")
    first = nodes[0]
    with running(*nodes, visitor):
        first.start("--mine")
        for node in nodes[1:]:
            node.start("--no-mine", "--bootstrap", first.address)
        wallet = Wallet.load(first.folder / "wallet.json")
        account = lambda: first.call("state_getAccount", str(wallet.address))  # noqa: E731
        wait_for(lambda: int(account()["balance"]) > 5 * DBK, 120, "a reward", first)
        end = time.monotonic() + 60 * MINUTES
        print(
            "minute  height  " + "  ".join(f"{name:>24}" for name in ("first", "second", "third")), flush=True
        )
        print(f"{'':16}" + "  MB files thr tasks p2p " * NODES, flush=True)
        for part in range(PARTS + 1):
            _live(first, visitor, end - 60 * MINUTES * (PARTS - part) / PARTS)
            minute = MINUTES - (end - time.monotonic()) / 60
            print(f"{minute:6.1f}  {first.height:6}  " + "  ".join(map(_row, nodes)), flush=True)


def _row(node: Node) -> str:
    health = node.call("node_health")
    return (
        f"{_own_memory(node) / 1e6:4.0f} {health['files']:5} {health['threads']:3} {health['tasks']:5} "
        f"{health['p2p_tasks']:3}"
    )


def _own_memory(node: Node) -> int:
    """Bytes. Without the files that are mapped, LevelDB's tables above all: these are the kernel's to drop."""
    rollup = Path(f"/proc/{node.facts['pid']}/smaps_rollup").read_text()
    return 1024 * int(rollup.split("Anonymous:")[1].split()[0])


def _live(first: Node, visitor: Node, until: float) -> None:
    """Transfers, and a visitor that comes and goes, until then."""
    change: Callable[..., object] = visitor.kill
    at = 0.0
    while time.monotonic() < until:
        first.deepblock("send", str(Wallet.new().address), "0.001", check=False)
        if time.monotonic() > at:
            running_now = visitor.process is not None and visitor.process.poll() is None
            change() if running_now else visitor.start("--bootstrap", first.address)
            at = time.monotonic() + VISIT
        time.sleep(EVERY)
