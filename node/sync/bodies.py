"""The bodies of blocks that are known by their headers, from several peers at once.

They are asked for in chunks, each of the peer with the least to do. Who does not answer soon is not waited for:
another is asked for the same chunk, the first answer counts, and the slow one comes last from then on.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from typing import Final

from deepblock.cid import Cid
from deepblock.types import Block
from node.fetch import Fetcher
from node.pipeline import BodyMissing

CHUNK: Final = 32
"""Bodies of one request. A reply has up to 4 MiB of them; what is missing then is asked for again."""
CHUNKS_AHEAD: Final = 5
"""Chunks that are on their way, or here and not yet used: with the largest bodies 80 MiB."""
HEDGE: Final = 0.5
"""Seconds after which another peer is asked too."""


class Bodies:
    """`here`: what this node has itself, by CID; `sources`: the peers that may be asked."""

    def __init__(
        self, fetcher: Fetcher, here: Callable[[Cid], bytes | None],
        sources: Callable[[], Collection[str]],
    ) -> None:  # fmt: skip
        self._fetcher = fetcher
        self._here = here
        self._sources = sources
        self._later: deque[Sequence[Cid]] = deque()
        self._coming: deque[asyncio.Task[list[bytes]]] = deque()
        self._come: deque[bytes] = deque()
        self._busy: Counter[str] = Counter()
        self._late: Counter[str] = Counter()

    def want(self, blocks: Sequence[Block]) -> None:
        """These, after those that were wanted before."""
        cids = [block.header.body for block in blocks]
        self._later += (cids[start : start + CHUNK] for start in range(0, len(cids), CHUNK))
        self._begin()

    async def next(self) -> bytes:
        """Of the first wanted block whose body was not taken yet. Raises BodyMissing."""
        if not self._come:
            self._come += await self._coming.popleft()
            self._begin()
        return self._come.popleft()

    async def close(self) -> None:
        """Nothing more is wanted."""
        for task in self._coming:
            task.cancel()
        await asyncio.gather(*self._coming, return_exceptions=True)

    def _begin(self) -> None:
        while self._later and len(self._coming) < CHUNKS_AHEAD:
            self._coming.append(asyncio.create_task(self._fetch(self._later.popleft())))

    async def _fetch(self, cids: Sequence[Cid]) -> list[bytes]:
        """One chunk. Raises BodyMissing where nobody has one of them."""
        found = {cid: data for cid in cids if (data := self._here(cid)) is not None}
        asking: dict[asyncio.Task[dict[Cid, bytes]], str] = {}
        asked: set[str] = set()
        try:
            while missing := [cid for cid in dict.fromkeys(cids) if cid not in found]:
                if peer := self._idlest(asked):
                    asked.add(peer)
                    asking[asyncio.create_task(self._ask(peer, missing))] = peer
                elif not asking:
                    raise BodyMissing(missing[0])
                done, late = await asyncio.wait(asking, timeout=HEDGE, return_when=asyncio.FIRST_COMPLETED)
                self._late.update(asking[task] for task in late if not done)
                for task in done:
                    peer, pieces = asking.pop(task), task.result()
                    found |= pieces
                    if pieces:  # a full reply is not the end of what it has
                        asked.discard(peer)
            return [found[cid] for cid in cids]
        finally:
            for task in asking:
                task.cancel()

    async def _ask(self, peer: str, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        self._busy[peer] += 1
        try:
            return await self._fetcher.pieces(peer, cids)
        finally:
            self._busy[peer] -= 1

    def _idlest(self, asked: Collection[str]) -> str | None:
        """Of those that were not asked for this chunk yet."""
        free = [peer for peer in self._sources() if peer not in asked]
        return min(free, key=lambda peer: (self._late[peer], self._busy[peer]), default=None)
