"""What a peer shows is weighed before anything of it is kept. Only the network is not real."""

import asyncio
from pathlib import Path

import pytest

from deepblock.cid import Cid
from deepblock.types import Block
from node.messages import Chain as Shown
from node.sync.headers import NothingToShow, Unconnected, Walk
from tests.unit.consensus.line import Line
from tests.unit.node.chain_parts import open_chain

BATCH = 3


class Peer:
    """Shows a line of blocks, a few at a time. `shows`: what it has at each question, the last for all others."""

    def __init__(self, *shows: list[Block]) -> None:
        self.shows = list(shows)
        self.questions = 0

    async def chain(self, peer: str, known: tuple[Cid, ...]) -> Shown:
        blocks = self.shows[min(self.questions, len(self.shows) - 1)]
        self.questions += 1
        places = {block.id: place for place, block in enumerate(blocks)}
        start = next((places[cid] + 1 for cid in known if cid in places), 0)
        return Shown(tuple(blocks[start : start + BATCH]))


def line_of(count: int, seconds: int = 10) -> list[Block]:
    line = Line()
    return [line.grow(seconds=seconds) for _ in range(count)]


def weighed(folder: Path, peer: Peer, least: int) -> tuple[list[Block], int]:
    """All the blocks of a walk that outweighs `least`, and its weight at the end."""

    async def walk() -> tuple[list[Block], int]:
        chain, database = open_chain(folder)
        with database:
            going, first = await Walk(chain, peer, "a peer").outweighing(least)  # type: ignore[arg-type]
            blocks = list(first)
            while more := await going.more():
                blocks += more
            return blocks, going.weight

    return asyncio.run(walk())


def weight(blocks: list[Block]) -> int:
    return sum(block.header.difficulty for block in blocks)


def test_a_chain_that_is_heavy_at_once_is_walked_once(tmp_path: Path) -> None:
    blocks = line_of(8)
    peer = Peer(blocks)
    assert weighed(tmp_path, peer, least=0) == (blocks, weight(blocks))
    assert peer.questions == 4  # 3, 3, 2 and none


def test_a_chain_that_is_heavy_in_the_end_is_walked_again(tmp_path: Path) -> None:
    blocks = line_of(8)
    peer = Peer(blocks)
    assert weighed(tmp_path, peer, weight(blocks) - 1) == (blocks, weight(blocks))
    assert peer.questions == 3 + 4


def test_a_chain_that_is_not_heavier_is_not_walked_again(tmp_path: Path) -> None:
    blocks = line_of(8)
    peer = Peer(blocks)
    with pytest.raises(NothingToShow):
        weighed(tmp_path, peer, weight(blocks))
    assert peer.questions == 4


def test_another_chain_on_the_second_walk_is_not_followed(tmp_path: Path) -> None:
    heavy, light = line_of(8, seconds=5), line_of(8)
    assert heavy[0].id != light[0].id
    with pytest.raises(NothingToShow):
        weighed(tmp_path, Peer(heavy, heavy, heavy, light), weight(heavy) - 1)


def test_blocks_out_of_order_are_refused(tmp_path: Path) -> None:
    one, two, three = line_of(3)
    for shown in ([two, three], [one, three]):
        with pytest.raises(Unconnected):
            weighed(tmp_path, Peer(shown), least=0)


def test_a_head_that_moves_during_the_walk_is_no_lie(tmp_path: Path) -> None:
    """What the peer has next follows on a block that it has shown, though not on the last one."""
    line = Line()
    common = [line.grow() for _ in range(3)]
    fork = line.head
    two = [line.grow(), line.grow()]
    line.head = fork
    others = [line.grow(seconds=5) for _ in range(3)]
    with pytest.raises(NothingToShow):
        weighed(tmp_path, Peer(common + two, common + two, common + others), least=weight(common + two))
