"""Eight nodes that know one address have four peers each within a minute, and go on when that address is dead."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.functional.nodes import BootstrapNode, Node, running, same_head, wait_for

NODES = 8
PEERS = 4
WITHIN = 60.0
"""Seconds for that, from the moment when the last node is up."""


def main(folder: Path) -> None:
    """Prints what it sees. Raises AssertionError."""
    bootstrap = BootstrapNode(folder / "bootstrap")
    nodes = [Node(folder / f"node{number}") for number in range(NODES)]
    newcomer = Node(folder / "newcomer")
    with running(bootstrap, *nodes, newcomer):
        bootstrap.start()
        began = time.monotonic()
        with ThreadPoolExecutor(NODES) as pool:
            flags = [
                ("--mine" if node is nodes[0] else "--no-mine", "--bootstrap", bootstrap.address)
                for node in nodes
            ]
            list(pool.map(lambda node, words: node.start(*words), nodes, flags))
        print(
            f"{NODES} nodes started in {time.monotonic() - began:.0f} s, each with the bootstrap node's address alone"
        )

        began = time.monotonic()
        met = lambda: min(len(node.peers - {bootstrap.id}) for node in nodes) >= PEERS  # noqa: E731
        wait_for(met, WITHIN, f"{PEERS} peers each", bootstrap, *nodes)
        counts = ", ".join(str(len(node.peers - {bootstrap.id})) for node in nodes)
        print(f"after {time.monotonic() - began:.1f} s they have {counts} peers (without the bootstrap node)")

        bootstrap.kill()
        goal = nodes[0].height + 5
        began = time.monotonic()
        wait_for(lambda: min(node.height for node in nodes) >= goal, 120, "blocks to reach all", *nodes)
        print(f"bootstrap node killed: 5 more blocks reached all in {time.monotonic() - began:.1f} s")

        book = nodes[-1].folder / "peers.json"
        wait_for(book.exists, 30, "an address book", nodes[-1])
        newcomer.folder.mkdir()
        shutil.copy(book, newcomer.folder)
        began = time.monotonic()
        newcomer.start("--no-mine")
        joined = lambda: len(newcomer.peers) >= PEERS and same_head(newcomer, *nodes)  # noqa: E731
        wait_for(joined, 90, "the newcomer to join", newcomer, *nodes)
        print(
            f"a newcomer with a copied peers.json and no bootstrap address: {len(newcomer.peers)} peers "
            f"and the same head {time.monotonic() - began:.1f} s after its start"
        )
        verdicts = [node.call("node_info")["reachability"] for node in nodes]
        print(f"verdicts of reachability: {', '.join(verdicts)}")
        assert all(not node.events("peer_penalised") for node in nodes), "somebody was penalised"
