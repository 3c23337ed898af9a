"""Shares, ensembles and frauds on real nodes."""

import asyncio
from pathlib import Path

import pytest

from deepblock.client import RpcError
from node.config import load_params
from tests.functional.hostile import Attacker, Forger
from tests.functional.nodes import FAST, Node, running, wait_for


@pytest.mark.timeout(400)
def test_miners_carry_each_others_sessions(tmp_path: Path) -> None:
    """Of the sessions that were finished, seven of ten and more are on the chain: as blocks, or as shares in others.
    The newest are not asked for: the block that is to carry them has yet to be made."""
    first, *others = (
        Node(tmp_path / name, "--mine", network="devnet") for name in ("first", "second", "third")
    )
    nodes = [first, *others]
    with running(*nodes):
        first.start()
        for node in others:
            node.start("--bootstrap", first.address)
        settled = 8
        wait_for(lambda: all(node.height >= settled + 3 for node in nodes), 300, "11 blocks", *nodes)
        blocks = [first.call("chain_getBlock", height) for height in range(1, first.height + 1)]
        shares = [(block, share) for block in blocks for share in block["body"]["shares"]]
        assert any(share["header"]["miner"] != block["header"]["miner"] for block, share in shares)
        counted = {share["header"]["nonce"] for _, share in shares}
        assert len(counted) == len(shares), "each session once"
        carried = [share for _, share in shares if share["header"]["height"] <= settled]
        assert settled + len(carried) >= 0.7 * sum(ended(node, settled) for node in nodes)
        made_of_several = [
            block
            for block in blocks
            if block["result"]["model"] not in (block["seal"]["average"], block["starts_from"])
        ]
        assert made_of_several, "a model that several sessions made"
        for node in nodes:
            assert not node.events("fraud")
            assert not node.events("peer_penalised")
            assert not node.events("own_block_refused")


@pytest.mark.timeout(300)
def test_a_false_block_leaves_every_chain_and_says_why(tmp_path: Path) -> None:
    """A node that replays nothing takes a forged block; one that audits accuses it, and the block goes."""
    miner = Node(tmp_path / "miner", "--mine")
    trusting = Node(tmp_path / "trusting", "--no-mine", "--audit", "headers")

    with running(miner, trusting):
        miner.start()
        trusting.start("--bootstrap", miner.address)
        wait_for(lambda: trusting.height >= 2, 120, "both to have blocks", miner, trusting)
        forger = Forger(tmp_path / "forger", load_params(FAST), trusting)

        async def attack() -> str:
            async with Attacker(forger.network) as attacker:
                await attacker.door.connect(trusting.address)
                while True:
                    forged = forger.block()
                    attacker.pieces |= forged.pieces
                    attacker.shout(forged.encoded)
                    for _ in range(40):
                        await asyncio.sleep(0.1)
                        if known(trusting, forged.block.id):
                            return str(forged.block.id)

        false = asyncio.run(asyncio.wait_for(attack(), 120))

        def reason() -> str:
            return str(trusting.call("chain_getBlock", false)["rejected"] or "")

        wait_for(lambda: "false segment" in reason(), 60, "the false block to be disproved", miner, trusting)
        assert "rejected" in trusting.deepblock("block", false).stdout
        wait_for(lambda: trusting.head["id"] == miner.head["id"], 60, "one head", miner, trusting)
        peers = trusting.call("node_peers")
        assert any(peer["connected"] for peer in peers), "the honest nodes are still connected"


def ended(node: Node, height: int) -> int:
    """How many sessions of blocks up to this height the node has finished, whatever became of them."""
    events = (event for kind in ("block_mined", "share_made", "no_share") for event in node.events(kind))
    return sum(event["height"] <= height for event in events)


def known(node: Node, block: object) -> bool:
    try:
        node.call("chain_getBlock", str(block))
    except RpcError:
        return False
    return True
