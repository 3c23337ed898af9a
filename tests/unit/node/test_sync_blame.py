"""Whom a false block is blamed on while a node catches up. Only the worker and the network are not real."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from consensus.errors import Fraud, Invalid
from deepblock.cid import Cid
from deepblock.codec import encode
from deepblock.types import Block, Body
from node.auditor import Auditor
from node.mempool import Mempool
from node.messages import Chain as Shown
from node.messages import Status
from node.peers import BAN_SCORE
from node.pipeline import Origin, Pipeline
from node.sync.catch_up import UNHEARD, Sync
from tests.unit.consensus.line import Line
from tests.unit.node.chain_parts import open_chain

PEER = "a peer"
FALSE = Fraud("segment 2", "a state", "another")


class Net:
    """A peer that shows one block, which a gossip may have brought before."""

    def __init__(self, block: Block, body: Body) -> None:
        self.block, self.body = block, body
        self.penalties: list[tuple[float, str]] = []

    async def chain(self, peer: str, known: tuple[Cid, ...]) -> Shown:
        return Shown(() if self.block.id in known else (self.block,))

    async def pieces(self, peer: str, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        return {self.body.cid: encode(self.body)}

    async def structure(self, cid: Cid, prefer: str | None = None, patience: float = 0.0) -> bytes:
        return encode(self.body)

    def penalise(self, peer: str, points: float, reason: str) -> None:
        self.penalties.append((points, reason))


class Audits(Auditor):
    """Finds everything false, when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()

    async def audit(self, block: Block, body: Body, source: str | None, depth: int = 0) -> None:
        await self.let.wait()
        raise FALSE


async def publish(topic: str, data: bytes) -> None:
    """There is nobody to tell."""


@pytest.mark.parametrize("way", ["alone", "heard before", "heard meanwhile", "heard before a restart"])
def test_who_follows_a_false_block_has_time_to_find_out(tmp_path: Path, way: str) -> None:
    """Its own sample may have missed the step: it pays a little, and is left alone for a while."""

    async def play() -> list[tuple[float, str]]:
        chain, database = open_chain(tmp_path)
        line = Line()
        block = line.grow()
        net, audits = Net(block, line.blocks[block.id][1]), Audits()
        clock = lambda: float(block.header.timestamp)  # noqa: E731
        mempool = Mempool(chain.params, chain.network)
        pipeline = Pipeline(chain, mempool, net, audits, publish, clock)  # type: ignore[arg-type]
        sync = Sync(chain, pipeline, net, None, net, None, alone=False)  # type: ignore[arg-type]
        head = chain.tree.child(block, line.tree.nodes[block.id].state_root)
        sync.statuses.known[PEER] = Status(chain.network, head.id, head.height, head.weight, (), ())
        gossip = None
        if way == "heard before a restart":
            chain.reject(block.id, str(FALSE))
        elif way != "alone":
            gossip = asyncio.create_task(pipeline.receive(block, Origin("gossip", "another")))
            await asyncio.sleep(0)
        if way != "heard meanwhile":
            audits.let.set()
        if way == "heard before":
            with pytest.raises(Fraud):
                await gossip
            gossip = None
        catching_up = asyncio.create_task(sync._catch_up())
        await asyncio.sleep(0.1)
        audits.let.set()
        await catching_up
        await sync._catch_up()  # at once, and it is not asked again
        if gossip:
            with pytest.raises(Invalid):
                await gossip
        database.close()
        return net.penalties

    ((points, why),) = asyncio.run(play())
    assert points == UNHEARD < BAN_SCORE
    assert "follows a false block" in why and "false segment 2" in why
