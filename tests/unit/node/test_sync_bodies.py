"""Bodies come in order from whoever answers. Only the network is not real."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from deepblock.cid import DAG_CBOR, Cid, cid_of_block
from deepblock.codec import encode
from deepblock.types import Block, Body
from node.pipeline import BodyMissing
from node.sync.bodies import CHUNK, CHUNKS_AHEAD, Bodies
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import named

MADE = [Body(signals=(named(f"signal {number}"),)) for number in range(8 * CHUNK)]
BLOCKS = [Line().block(body) for body in MADE]
BODIES = {body.cid: encode(body) for body in MADE}

Answer = Callable[[Sequence[Cid]], dict[Cid, bytes] | None]
"""What a peer has of that; None: it never answers."""


def everything(cids: Sequence[Cid]) -> dict[Cid, bytes] | None:
    return {cid: BODIES[cid] for cid in cids}


def nothing(cids: Sequence[Cid]) -> dict[Cid, bytes] | None:
    return {}


def silence(cids: Sequence[Cid]) -> dict[Cid, bytes] | None:
    return None


def one_at_a_time(cids: Sequence[Cid]) -> dict[Cid, bytes] | None:
    return {cids[0]: BODIES[cids[0]]}


class Net:
    def __init__(self, **peers: Answer) -> None:
        self.peers = peers
        self.asked: Counter[str] = Counter()
        self.waiting = 0
        self.most = 0

    async def pieces(self, peer: str, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        self.asked[peer] += 1
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await asyncio.sleep(0.002)
            found = self.peers[peer](cids)
            if found is None:
                await asyncio.sleep(60)
            return found or {}
        finally:
            self.waiting -= 1


def taken(net: Net, blocks: Sequence[Block] = BLOCKS, here: dict[Cid, bytes] | None = None) -> list[Cid]:
    """The CIDs of the bodies of all `blocks`, wanted in two parts."""

    async def take() -> list[Cid]:
        bodies = Bodies(net, (here or {}).get, lambda: net.peers)  # type: ignore[arg-type]
        try:
            bodies.want(blocks[:20])
            bodies.want(blocks[20:])
            return [cid_of_block(await bodies.next(), DAG_CBOR) for _ in blocks]
        finally:
            await bodies.close()
            assert net.waiting == 0

    return asyncio.run(asyncio.wait_for(take(), 30))


WANTED = [block.header.body for block in BLOCKS]


def test_they_come_in_order_from_all_who_have_them() -> None:
    net = Net(one=everything, two=everything, three=everything)
    assert taken(net) == WANTED
    assert min(net.asked.values()) >= 2
    assert 1 < net.most <= CHUNKS_AHEAD


def test_who_is_silent_is_asked_in_vain_once_a_chunk_at_most_and_then_last() -> None:
    net = Net(silent=silence, honest=everything)
    assert taken(net) == WANTED
    assert net.asked["silent"] <= CHUNKS_AHEAD
    assert net.asked["honest"] == 9


def test_who_has_nothing_holds_up_nobody() -> None:
    assert taken(Net(empty=nothing, honest=everything)) == WANTED


def test_a_reply_that_was_full_is_asked_on() -> None:
    assert taken(Net(slow=one_at_a_time)) == WANTED


def test_what_is_here_is_not_asked_for() -> None:
    net = Net(empty=nothing)
    assert taken(net, here=BODIES) == WANTED
    assert not net.asked


def test_a_body_that_nobody_has_is_named() -> None:
    with pytest.raises(BodyMissing) as missing:
        taken(Net(one=nothing, two=nothing))
    assert missing.value.body == WANTED[0]
