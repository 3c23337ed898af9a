"""Three nodes whose arithmetic runs on different machine code mine one chain, and any of them can replay it."""

import json
from pathlib import Path

import pytest

from tests.functional.nodes import Node, running, same_head, wait_for

OLD_CPU = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
BLOCKS = 50


@pytest.mark.timeout(420)
def test_fifty_blocks_on_different_hardware_without_one_rejection(tmp_path: Path) -> None:
    first = Node(tmp_path / "first")
    old = Node(tmp_path / "old", env=OLD_CPU)
    threads = Node(tmp_path / "threads", "--threads", "2")
    nodes = (first, old, threads)
    with running(*nodes):
        first.start("--mine")
        wait_for(lambda: first.height >= 3, 60, "a chain to catch up with", first)
        for node in (old, threads):
            node.start("--mine", "--bootstrap", first.address)
        wait_for(lambda: min(node.height for node in nodes) >= BLOCKS, 360, f"{BLOCKS} blocks", *nodes)
        wait_for(lambda: same_head(*nodes), 30, "one head", *nodes)

        for node in nodes:
            for event in ("fraud", "invalid_block", "peer_penalised", "own_block_refused"):
                assert node.events(event) == [], f"{node.folder.name}: {event}"
        miners = {first.call("chain_getBlock", height)["header"]["miner"] for height in range(1, BLOCKS + 1)}
        assert len(miners) == 3, "each of them mined"

        replay_prints_the_seals_cids(nodes, first.height - 2)
        replay_names_the_segment_of_a_damaged_state(nodes, first.height - 2)


def replay_prints_the_seals_cids(nodes: tuple[Node, ...], height: int) -> None:
    seal = nodes[0].call("chain_getBlock", height)["seal"]
    for node in nodes:
        threads = ("--threads", "2") if "--threads" in node.flags else ()
        printed = node.deepblock("replay", str(height), *threads).stdout
        for cid in (*seal["states"], seal["average"]):
            assert cid in printed


def replay_names_the_segment_of_a_damaged_state(nodes: tuple[Node, ...], height: int) -> None:
    block = nodes[0].call("chain_getBlock", height)
    state, miner = block["seal"]["states"][4], block["header"]["miner"]
    # Its miner has every state of a session; the others have those that their audits drew.
    (node,) = (node for node in nodes if node.call("miner_status")["address"] == miner)
    (file,) = (node.folder / "blobs").glob(f"*/{state}")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    done = node.deepblock("--json", "replay", str(height), check=False)
    assert done.returncode == 1
    segments = json.loads(done.stdout)["segments"]
    differing = [segment["segment"] for segment in segments if segment["stored"] != "intact"]
    assert differing == [5]
    assert all(segment["equal"] for segment in segments), "the training itself is what the seal says"
