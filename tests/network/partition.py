"""Eight nodes, cut into five and three for two minutes, each side with a miner; then the cut heals. How long it takes
until all have one head, and whether what was paid on the lighter side is kept.
"""

import sys
import time
from pathlib import Path

from deepblock.keys import Wallet
from deepblock.primitives import DBK
from tests.functional.nodes import Node, running, same_head, wait_for
from tests.network.namespace_parts import divided, why_not

LEFT, RIGHT = 5, 3
APART = 120.0
"""Seconds."""
NETWORK = "devnet"


def main(folder: Path) -> None:
    if reason := why_not():
        sys.exit(reason)
    took, block_time, lost = played(folder, LEFT, RIGHT, APART, NETWORK)
    print(
        f"one head {took:.1f} s after the cut healed: {took / block_time:.1f} block times of {block_time} s"
    )
    print(f"transfers of the lighter side that were lost: {lost} of 1")


def played(folder: Path, left: int, right: int, apart: float, network: str) -> tuple[float, int, int]:
    """Seconds until there is one head, the block time, and how many transfers of the lighter side were lost."""
    with divided() as net:
        flags = ("--audit", "headers")
        nodes = [
            side.node(folder / f"{name}{number}", *flags, network=network)
            for name, side, count in (("left", net.left, left), ("right", net.right, right))
            for number in range(count)
        ]
        heavy, light = nodes[0], nodes[left]
        with running(*nodes):
            heavy.start("--mine")
            for node in nodes[1:]:
                node.start("--mine" if node is light else "--no-mine", "--bootstrap", heavy.address)
            wallet = Wallet.load(light.folder / "wallet.json")
            wait_for(lambda: _balance(light, str(wallet.address)) > 5 * DBK, 300, "a reward", heavy, light)
            wait_for(lambda: same_head(*nodes), 60, "one head", *nodes)
            net.cut()
            until = time.monotonic() + apart
            receiver = str(Wallet.new().address)
            time.sleep(apart / 8)
            light.deepblock("send", receiver, "2", "--wait")
            time.sleep(max(0.0, until - time.monotonic()))
            assert heavy.head["id"] != light.head["id"], "the two sides did not grow apart"
            _tip_the_scales(heavy, light)
            net.heal()
            healed = time.monotonic()
            wait_for(lambda: same_head(*nodes), 120, "one head", *nodes)
            took = time.monotonic() - healed
            undone = [event for node in nodes for event in node.events("reorganisation")]
            print(f"blocks undone: {sorted({event['undone'] for event in undone})}", flush=True)
            paid = wait_for(lambda: _all_paid(nodes, receiver), 60, "the transfer", *nodes)
            return took, int(heavy.call("node_info")["block_time"]), int(not paid)


def _balance(node: Node, address: str) -> int:
    return int(node.call("state_getAccount", address)["balance"])


def _all_paid(nodes: list[Node], address: str) -> bool:
    return all(_balance(node, address) == 2 * DBK for node in nodes)


def _tip_the_scales(heavy: Node, light: Node) -> None:
    """The side without the transfer is to be the heavier one: the other stops mining until it is."""
    light.stop()
    light.start("--no-mine", "--bootstrap", heavy.address)
    weight = float(light.head["weight"])
    wait_for(lambda: float(heavy.head["weight"]) > weight, 300, "the heavy side to be heavier", heavy)
