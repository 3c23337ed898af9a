"""Half an hour of a small network at sixty times testnet's rate of blocks (one a second), with transfers, and a peer
that comes and goes: what each node holds at the beginning, in the middle and at the end. What is forgotten by age has
been forgotten by the middle, so from there on nothing may grow but what the chain itself adds.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepblock.keys import Wallet
from deepblock.primitives import DBK
from tests.functional.nodes import Node, running, wait_for

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
NODES = 3
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
        for third in range(4):
            _live(first, visitor, end - 60 * MINUTES * (3 - third) / 3)
            minute = MINUTES - (end - time.monotonic()) / 60
            health = [node.call("node_health") for node in nodes]
            print(f"{minute:6.1f}  {first.height:6}  " + "  ".join(map(_row, health)), flush=True)


def _row(health: dict[str, Any]) -> str:
    return (
        f"{health['memory'] / 1e6:4.0f} {health['files']:5} {health['threads']:3} {health['tasks']:5} "
        f"{health['p2p_tasks']:3}"
    )


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
