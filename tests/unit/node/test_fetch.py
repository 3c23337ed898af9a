"""Blocks from a peer, compared; files from further sources, where no peer has them."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from deepblock.blockstore import MAX_BLOCK, Blockstore
from deepblock.cid import RAW, cid_of_block
from deepblock.codec import Malformed
from deepblock.unixfs import split_file
from node import car
from node.fetch import Fetcher, NotAvailable
from node.peers import BAN_SCORE

ALONE = SimpleNamespace(peers=list)


class Shelf:
    """A source with these blocks, which dies after so many calls."""

    batch = 32

    def __init__(self, blocks, lives=1_000, at_once=4):
        self.blocks_here, self.lives, self.at_once = blocks, lives, at_once

    async def blocks(self, file, cids):
        self.lives -= 1
        here = [cid for cid in cids if cid in self.blocks_here and self.lives >= 0]
        return {cid: self.blocks_here[cid] for cid in here[: self.at_once]}


def test_a_source_that_dies_in_the_middle_is_replaced_by_another(tmp_path):
    data = os.urandom(5_000_000)
    cid, blocks = split_file(data)
    store = Blockstore(tmp_path)
    dying = Shelf(blocks, lives=3)
    asyncio.run(Fetcher(ALONE, None, store, (Shelf({}), dying, Shelf(blocks))).file(cid, len(data)))
    assert store.get_file(cid, len(data)) == data
    assert dying.lives < 0


def test_while_some_blocks_are_written_the_next_ones_come(tmp_path):
    """This source gives nothing before it is asked a second time."""

    class Together(Shelf):
        def __init__(self, blocks):
            super().__init__(blocks, at_once=100)
            self.both = asyncio.Barrier(2)

        async def blocks(self, file, cids):
            if len(cids) > 1:
                await self.both.wait()
            return await super().blocks(file, cids)

    async def fetched(cid, blocks):
        async with asyncio.timeout(10):
            await Fetcher(ALONE, None, Blockstore(tmp_path), (Together(blocks),)).file(cid, 1 << 30)

    data = os.urandom(16_000_000)  # 62 leaves
    cid, blocks = split_file(data)
    asyncio.run(fetched(cid, blocks))
    assert Blockstore(tmp_path).get_file(cid, len(data)) == data


def test_a_source_is_asked_for_as_many_blocks_at_once_as_it_likes(tmp_path):
    """The root first, on its own: what else belongs to the file is not known before."""
    asked = []

    class Counted(Shelf):
        async def blocks(self, file, cids):
            asked.append((self.batch, len(cids)))
            return await super().blocks(file, cids)

    small, large = Counted({}), Counted({}, at_once=1_000)
    large.batch = 60
    data = os.urandom(16_000_000)  # 62 leaves
    cid, large.blocks_here = split_file(data)
    asyncio.run(Fetcher(ALONE, None, Blockstore(tmp_path), (small, large)).file(cid, len(data)))
    assert Blockstore(tmp_path).get_file(cid, len(data)) == data
    assert sorted(asked) == [(32, 1), (32, 2), (32, 32), (60, 1), (60, 2), (60, 60)]


def test_what_nobody_has_is_not_available(tmp_path):
    cid, blocks = split_file(os.urandom(1_000_000))
    half = dict(list(blocks.items())[1:])  # without its first leaf
    with pytest.raises(NotAvailable):
        asyncio.run(Fetcher(ALONE, None, Blockstore(tmp_path), (Shelf(half),)).file(cid, 1_000_000))


def test_a_block_that_is_too_large_is_malformed(tmp_path):
    large = bytes(MAX_BLOCK + 1)
    cid = cid_of_block(large, RAW)
    with pytest.raises(Malformed, match="at most"):
        asyncio.run(Fetcher(ALONE, None, Blockstore(tmp_path), (Shelf({cid: large}),)).file(cid, 1 << 30))


WANTED, OTHER = cid_of_block(b"wanted", RAW), cid_of_block(b"other", RAW)
REPLIES = {
    "what was wanted": (car.write([(WANTED, b"wanted")]), {WANTED: b"wanted"}, None),
    "nothing": (b"", {}, None),
    "other bytes": (car.write([(WANTED, b"other")]), {}, f"served other bytes for {WANTED}"),
    "another block": (
        car.write([(WANTED, b"wanted"), (OTHER, b"other")]),
        {},
        "served blocks that it was not asked for",
    ),
    "no row of blocks": (b"\xff" * 20, {}, "undecodable reply: not a protocol buffer: a number does not end"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_peers_reply_is_compared_and_what_must_not_be_penalised(tmp_path, name):
    reply, found, reason = REPLIES[name]

    async def ask(*_, **__):
        return reply

    penalties = []
    peers = SimpleNamespace(penalise=lambda *penalty: penalties.append(penalty))
    fetcher = Fetcher(SimpleNamespace(ask=ask), peers, Blockstore(tmp_path))
    assert asyncio.run(fetcher.pieces("peer", [WANTED])) == found
    assert penalties == ([("peer", BAN_SCORE, reason)] if reason else [])


class Later(Fetcher):
    """Two peers, of which one has the structure when it is asked for the third time."""

    def __init__(self):
        super().__init__(
            SimpleNamespace(peers=lambda: [SimpleNamespace(id="one"), SimpleNamespace(id="two")]), None, None
        )
        self.asked = []

    async def pieces(self, peer, cids):
        self.asked.append(peer)
        return {WANTED: b"wanted"} if self.asked.count("one") == 3 else {}


def test_who_has_patience_asks_everybody_again():
    fetcher = Later()
    assert asyncio.run(fetcher.structure(WANTED, "one", patience=10)) == b"wanted"
    assert fetcher.asked == ["one", "two", "one", "two", "one"]


@pytest.mark.parametrize(("patience", "rounds"), [(0, 1), (0.1, 2)])
def test_patience_comes_to_an_end(patience, rounds):
    fetcher = Later()
    with pytest.raises(NotAvailable):
        asyncio.run(fetcher.structure(WANTED, "one", patience))
    assert fetcher.asked == ["one", "two"] * rounds
