"""Nodes that know one address find each other, do without it then, and pass on what they know in a file."""

import shutil
from pathlib import Path

import pytest

from tests.functional.nodes import BootstrapNode, Node, running, same_head, wait_for

NODES = 5
QUIET = ("--no-mine", "--audit", "headers")
"""Flags of a node that computes nothing: on two cores, six that replay would be most of the time."""


@pytest.mark.timeout(300)
def test_a_network_grows_from_one_address_and_lives_without_it(tmp_path: Path) -> None:
    bootstrap = BootstrapNode(tmp_path / "bootstrap")
    nodes = [Node(tmp_path / f"node{number}") for number in range(NODES)]
    newcomer = Node(tmp_path / "newcomer")
    with running(bootstrap, *nodes, newcomer):
        bootstrap.start()
        for number, node in enumerate(nodes):
            node.start(*(("--mine",) if number == 0 else QUIET), "--bootstrap", bootstrap.address)
        ids = {node.id for node in nodes}

        def all_are_connected() -> bool:
            return all(ids - {node.id} <= node.peers for node in nodes)

        wait_for(all_are_connected, 60, "the nodes to find each other", bootstrap, *nodes)

        bootstrap.kill()
        goal = nodes[0].height + 3
        wait_for(lambda: min(node.height for node in nodes) >= goal, 60, "blocks to reach all", *nodes)
        assert all(ids - {node.id} <= node.peers for node in nodes)
        wait_for(lambda: nodes[0].call("node_info")["reachability"] == "reachable", 60, "a verdict", *nodes)

        book = nodes[1].folder / "peers.json"
        wait_for(lambda: book.exists(), 30, "an address book", nodes[1])
        newcomer.folder.mkdir()
        shutil.copy(book, newcomer.folder)
        newcomer.start(*QUIET)
        wait_for(lambda: len(newcomer.peers & ids) >= 4, 60, "the newcomer to join", newcomer)
        wait_for(lambda: newcomer.height >= goal, 60, "the chain", newcomer)
        wait_for(lambda: same_head(newcomer, *nodes), 60, "one head", newcomer, *nodes)
        for node in (newcomer, *nodes):
            assert node.events("peer_penalised") == []


@pytest.mark.timeout(120)
def test_nodes_of_one_machine_find_each_other_without_any_address(tmp_path: Path) -> None:
    first, second, shy = (Node(tmp_path / name) for name in ("first", "second", "shy"))
    with running(first, second, shy):
        first.start("--mine", "--mdns")
        shy.start(*QUIET)
        second.start(*QUIET, "--mdns")
        wait_for(lambda: second.peers == {first.id}, 30, "the second to find the first", first, second)
        wait_for(lambda: first.height >= 1 and same_head(first, second), 60, "one chain", first, second)
        assert not shy.peers
