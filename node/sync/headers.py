"""What a peer has to show: blocks without their bodies, connected, each with a ticket that wins.

A chain that does not outweigh ours is not kept, however long it is: it is walked once to be weighed, and of this
walk only the last id of each reply stays, so that the second walk can be held to the first (as in Bitcoin Core's
presync of headers).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Final, Self

import structlog

from consensus.errors import Invalid, NotYet, TaskUnknown
from consensus.transition import check_block
from deepblock.cid import Cid
from deepblock.types import Block
from node.chain import Chain
from node.fetch import Fetcher

log = structlog.get_logger("sync")

LOCATOR: Final = 32
"""Blocks that are known to both, of those which a question names."""


class NothingToShow(NotYet):
    text = "claims more than it shows"


@dataclass(eq=False)
class Unconnected(Invalid):
    block: Cid
    parent: Cid
    text: ClassVar[str] = "block {block} does not connect: its parent {parent} is not the block before it"


class Walk:
    """One peer's chain from the last block that this node has too. `weight`: of the chain up to the last block shown;
    `marks`: the last ids of the replies that are to come, where the walk was made before."""

    def __init__(self, chain: Chain, fetcher: Fetcher, peer: str, marks: Sequence[Cid] = ()) -> None:
        self.peer = peer
        self.weight = 0
        self._chain = chain
        self._fetcher = fetcher
        self._known = chain.locator()
        self._last: Block | None = None
        self._marks = list(marks)

    async def more(self) -> Sequence[Block]:
        """The blocks that follow; none at the end. Raises DoorError, Malformed, Invalid, NotYet."""
        blocks = (await self._fetcher.chain(self.peer, self._known)).blocks
        if not blocks:
            return blocks
        self._check(blocks)
        self._last = blocks[-1]
        self._known = (self._last.id, *self._known[:LOCATOR])
        if self._marks and self._marks.pop(0) != self._last.id:
            raise NothingToShow  # not what it has shown before: its head has moved
        log.info("syncing", peer=self.peer, from_height=blocks[0].height, to_height=blocks[-1].height)
        return blocks

    async def outweighing(self, least: int) -> tuple[Self, Sequence[Block]]:
        """A walk, and the blocks with which it begins, of a chain that has been seen to weigh more than `least`.
        Raises NothingToShow, and as `more`."""
        first = blocks = await self.more()
        marks: list[Cid] = []
        while self.weight <= least:
            if not blocks:
                raise NothingToShow
            marks.append(blocks[-1].id)
            blocks = await self.more()
        if not marks:
            return self, first
        again = type(self)(self._chain, self._fetcher, self.peer, marks)
        return again, await again.more()

    def _check(self, blocks: Sequence[Block]) -> None:
        before = blocks[0].header.parent
        parent = self._chain.node(before)
        if self._last is None:
            if parent is None:
                raise Unconnected(blocks[0].id, before)
            self.weight = parent.weight
        elif before != self._last.id:
            if parent or before in self._known:
                raise NothingToShow  # it leads in circles, or its head has moved since
            raise Unconnected(blocks[0].id, before)
        for block in blocks:
            if block.header.parent != before:
                raise Unconnected(block.id, block.header.parent)
            with suppress(TaskUnknown):  # opened in a block shown before it: checked when its turn comes
                check_block(self._chain.params, self._chain.network, block, self._chain.specs.get)
            before = block.id
            self.weight += block.header.difficulty
