"""The body of a block that gossip has brought: from whom a node has it, and who pays where nobody gives it. The nodes
are real, but for their audits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from consensus.errors import Fraud
from consensus.params import Params
from deepblock.blockstore import Blockstore
from deepblock.codec import encode
from deepblock.types import Block, Body
from node.auditor import Auditor
from node.fetch import Fetcher
from node.gossip import UNSERVED, Ears, validators
from node.mempool import Mempool
from node.messages import topic_of
from node.peers import Peers
from node.pipeline import MINED, Origin, Pipeline
from node.serve import Service
from node.storage import schema
from tests.bench.blocks import Bodies
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import PARAMS
from tests.unit.node.chain_parts import open_chain
from tests.unit.node.p2p_parts import make_door, meshed, until

FALSE = Fraud("segment 2", "a state", "another")


def session(params: Params = PARAMS) -> tuple[Block, Body]:
    """A block whose body is no other's: it carries a share."""
    line = Line(params)
    body = Body(shares=(line.share(),))
    return line.block(body), body


class Audits(Auditor):
    """They stand still until they are let, and end as `verdict` says."""

    def __init__(self, verdict: Fraud | None = None) -> None:
        self.let = asyncio.Event()
        self.verdict = verdict

    def trained(self, block: Block) -> None:
        pass

    async def audit(self, block: Block, body: Body, source: str | None, depth: int = 0) -> None:
        await self.let.wait()
        if self.verdict:
            raise self.verdict


class Node:
    """What of a node a block goes through, on its way in and out. `hints`: how often it was told to ask the others."""

    def __init__(self, folder: Path, params: Params, now: float) -> None:
        folder.mkdir()
        self.chain, self.database = open_chain(folder, params)
        network = self.chain.network
        blobs, mempool = Blockstore(folder / "blobs"), Mempool(params, network)
        topics = validators(params, network, self.chain.specs.get, lambda block: False)
        self.door = make_door(topics=topics, handlers=Service(self.chain, blobs, mempool).handlers)
        self.peers = Peers(self.door, [])
        fetcher = Fetcher(self.door, self.peers, blobs)
        self.audits = Audits()
        self.pipeline = Pipeline(self.chain, mempool, fetcher, self.audits, self.door.publish, lambda: now)
        self.hints = 0
        sync = SimpleNamespace(peer_up=lambda peer: None, hint=self._hint)
        self.ears = Ears(self.door, self.pipeline, None, None, self.peers, sync)  # type: ignore[arg-type]

    def _hint(self) -> None:
        self.hints += 1

    def points(self, other: "Node") -> float:
        """What the other one has to pay here so far."""
        return sum(row.score for row in self.peers.table() if row.id == other.door.peer_id)


@asynccontextmanager
async def in_a_line(folder: Path, params: Params, now: float) -> AsyncIterator[list[Node]]:
    """Three nodes, of which the first and the last are connected to the middle one alone."""
    nodes = [Node(folder / name, params, now) for name in "abc"]
    ears = []
    try:
        for node in nodes:
            await node.door.start()
            ears.append(asyncio.create_task(node.ears.run()))
        first, middle, last = (node.door for node in nodes)
        for end in (first, last):
            await end.connect(middle.addrs[0])
        await meshed(middle, [first, last], topic_of(nodes[0].chain.network, "blocks"))
        yield nodes
    finally:
        for task in ears:
            task.cancel()
        for node in nodes:
            await node.door.stop()
            node.database.close()


def test_a_body_goes_on_before_the_verdict_of_whoever_passed_its_block_on(tmp_path: Path) -> None:
    block, body = session()

    async def play() -> None:
        async with in_a_line(tmp_path, PARAMS, block.header.timestamp) as (author, middle, far):
            far.audits.let.set()
            await author.pipeline.receive(block, MINED, body)
            await until(lambda: far.chain.node(block.id))
            assert middle.pipeline.is_judging(block.id) and not middle.chain.node(block.id)
            assert far.points(author) == far.points(middle) == 0
            middle.audits.let.set()
            await until(lambda: middle.chain.node(block.id))

    asyncio.run(play())


def test_who_could_not_ask_the_author_waits_a_while_and_blames_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The author has told of a body that it does not give. Its neighbour asks no second time."""
    monkeypatch.setattr("node.pipeline.PATIENCE", 2.0)
    block, _ = session()

    async def play() -> None:
        async with in_a_line(tmp_path, PARAMS, block.header.timestamp) as (author, middle, far):
            topic = topic_of(author.chain.network, "blocks")
            await author.door.publish(topic, encode(block))
            await until(lambda: middle.hints)
            assert middle.points(author) == pytest.approx(UNSERVED, rel=0.1)
            await until(lambda: far.hints)
            assert far.points(author) == far.points(middle) == 0

    asyncio.run(play())


async def _publish(topic: str, data: bytes) -> None:
    """There is nobody to tell."""


@pytest.mark.parametrize("outcome", ["true", "false", "cancelled"])
def test_a_body_is_held_until_the_verdict_and_no_longer(tmp_path: Path, outcome: str) -> None:
    block, body = session()

    async def play() -> bytes | None:
        audits = Audits(FALSE if outcome == "false" else None)
        clock = lambda: float(block.header.timestamp)  # noqa: E731
        pipeline = Pipeline(
            chain, Mempool(PARAMS, chain.network), Bodies({body.cid: encode(body)}), audits, _publish, clock
        )
        judging = asyncio.create_task(pipeline._judge(block, Origin("gossip", "a peer"), None))
        await until(lambda: chain.raw(body.cid) == encode(body))
        assert not database.get(schema.BODY + body.cid)
        if outcome == "cancelled":
            judging.cancel()
        audits.let.set()
        await asyncio.gather(judging, return_exceptions=True)
        return chain.raw(body.cid)

    chain, database = open_chain(tmp_path)
    with database:
        assert asyncio.run(play()) == (encode(body) if outcome == "true" else None)
        assert not chain._held


def test_each_of_two_who_hold_the_same_body_lets_go_of_its_own(tmp_path: Path) -> None:
    _, body = session()
    cid = body.cid
    chain, database = open_chain(tmp_path)
    with database:
        with chain.holding(cid, encode(body)):
            with chain.holding(cid, encode(body)):
                pass
            assert chain.raw(cid) == encode(body)
        assert chain.raw(cid) is None
