"""Whom a node that is behind follows. Only the network is not real."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from deepblock.cid import Cid
from deepblock.codec import encode
from deepblock.types import Block
from node.auditor import Auditor
from node.chain import Chain
from node.mempool import Mempool
from node.messages import Chain as Shown
from node.messages import Status
from node.p2p.events import AskTimeout
from node.pipeline import Origin, Pipeline
from node.sync.catch_up import EMPTY_CLAIM, RACERS, Sync
from tests.bench.blocks import NoAudits
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import PARAMS
from tests.unit.node.chain_parts import open_chain

LINE = Line()
BLOCKS = [LINE.grow() for _ in range(12)]
BODIES = {body.cid: encode(body) for _, body in LINE.blocks.values()}
WEIGHT = sum(block.header.difficulty for block in BLOCKS)

Peer = Callable[[tuple[Cid, ...]], list[Block] | None]
"""What it shows to one who knows these blocks; None: it never answers."""


def honest(known: tuple[Cid, ...]) -> list[Block] | None:
    places = {block.id: place for place, block in enumerate(BLOCKS)}
    start = next((places[cid] + 1 for cid in known if cid in places), 0)
    return BLOCKS[start : start + 5]


def empty(known: tuple[Cid, ...]) -> list[Block] | None:
    return []


def silent(known: tuple[Cid, ...]) -> list[Block] | None:
    return None


class Net:
    """In the places of the fetcher, the door and the peers' table."""

    def __init__(self, **peers: Peer) -> None:
        self.there = peers
        self.asked: Counter[str] = Counter()
        self.penalties: Counter[str] = Counter()
        self.closed: list[str] = []

    async def chain(self, peer: str, known: tuple[Cid, ...]) -> Shown:
        self.asked[peer] += 1
        shown = self.there[peer](known)
        if shown is None:
            await asyncio.sleep(2.0)
            raise AskTimeout(f"{peer} did not answer")
        return Shown(tuple(shown))

    async def pieces(self, peer: str, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        return {cid: BODIES[cid] for cid in cids} if self.there[peer] is honest else {}

    def penalise(self, peer: str, points: float, reason: str) -> None:
        self.penalties[peer] += points

    async def close(self, peer: str) -> None:
        self.closed.append(peer)


def sync_of(folder: Path, net: Net, **settings: float) -> tuple[Sync, Chain]:
    """Every peer claims more than there is."""
    chain, _ = open_chain(folder)
    audits: Auditor = NoAudits()
    now = float(BLOCKS[-1].header.timestamp)
    mempool = Mempool(PARAMS, chain.network)
    pipeline = Pipeline(chain, mempool, net, audits, _publish, lambda: now)  # type: ignore[arg-type]
    sync = Sync(chain, pipeline, net, net, net, SimpleNamespace(), alone=False, **settings)  # type: ignore[arg-type]
    for number, peer in enumerate(net.there):
        claim = WEIGHT if net.there[peer] is honest else 2**90 - number
        sync.statuses.known[peer] = Status(chain.network, BLOCKS[-1].id, 12, claim, (), ())
    return sync, chain


async def _publish(topic: str, data: bytes) -> None:
    """There is nobody to tell."""


def test_the_first_that_shows_a_heavier_chain_is_followed(tmp_path: Path) -> None:
    net = Net(one=silent, two=silent, three=honest)
    sync, chain = sync_of(tmp_path, net)
    began = time.monotonic()
    asyncio.run(sync._catch_up())
    assert chain.head.id == BLOCKS[-1].id
    assert time.monotonic() - began < 1.9
    assert not net.penalties


def test_those_with_nothing_to_show_make_way_and_pay_for_it(tmp_path: Path) -> None:
    liars = {f"liar{number}": empty for number in range(2 * RACERS)}
    net = Net(**liars, friend=honest)
    sync, chain = sync_of(tmp_path, net)
    asyncio.run(sync._catch_up())
    assert chain.head.id == BLOCKS[-1].id
    assert net.penalties == Counter(dict.fromkeys(liars, EMPTY_CLAIM))
    assert set(net.asked.values()) == {1, net.asked["friend"]}


def test_who_shows_nothing_because_gossip_was_faster_pays_nothing(tmp_path: Path) -> None:
    class Overtaken(Net):
        async def chain(self, peer: str, known: tuple[Cid, ...]) -> Shown:
            for block, body in LINE.blocks.values():
                await sync._pipeline.receive(block, Origin("gossip", peer, peer), body)
            return Shown(())

    net = Overtaken(friend=honest)
    sync, chain = sync_of(tmp_path, net)
    asyncio.run(sync._catch_up())
    assert chain.head.id == BLOCKS[-1].id
    assert not net.penalties


def test_who_claims_and_never_shows_is_hung_up_on(tmp_path: Path) -> None:
    async def play() -> Net:
        net = Net(liar=empty)
        sync, _ = sync_of(tmp_path, net, stuck=0.3)
        watch = asyncio.create_task(sync._watch())
        await sync._catch_up()
        await asyncio.sleep(0.6)
        watch.cancel()
        return net

    assert set(asyncio.run(play()).closed) == {"liar"}
