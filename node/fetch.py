"""Asking peers for what is missing. Whatever comes is compared with its CID; who serves other bytes is penalised."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence

import structlog

from deepblock import codec
from deepblock.blockstore import MAX_BLOCK, Blockstore
from deepblock.cid import Cid, cid_of_block
from node import car
from node.ipfs.backend import Source
from node.messages import (
    HEADERS,
    MAX_REPLY,
    POOL,
    WANT,
    Chain,
    Locate,
    Pool,
    Want,
)
from node.p2p.door import Door
from node.p2p.events import DoorError
from node.peers import BAN_SCORE, Peers

log = structlog.get_logger("fetch")

ASK_TIMEOUT = 15.0
"""Seconds a peer has for one reply."""
HEADERS_TIMEOUT = 5.0
"""Seconds for one with headers: there are others who have them."""

BATCH = 32
"""Blocks of a file that are asked for at once. A reply holds half as many full ones: the rest is asked for again."""
AHEAD = 2
"""Batches of a file under way: while one is written to the disk, the next one comes."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds before everybody is asked again for what nobody had: doubled each time."""


class NotAvailable(Exception):
    """No connected peer has it now. Availability decides nothing: whoever asked finds another way, or waits."""

    def __init__(self, cid: Cid) -> None:
        super().__init__(f"no connected peer has {cid}")
        self.cid = cid


class Fetcher:
    """Fetches structures and files by CID from any peer, the preferred one first; what of a file no peer has, from
    `further` sources, one after the other."""

    def __init__(self, door: Door, peers: Peers, blobs: Blockstore, further: Sequence[Source] = ()) -> None:
        self._further = further
        self._door = door
        self._peers = peers
        self._blobs = blobs

    async def chain(self, peer: str, known: tuple[Cid, ...]) -> Chain:
        """Raises DoorError, Malformed."""
        locate = codec.encode(Locate(known))
        data = await self._door.ask(peer, HEADERS, locate, timeout=HEADERS_TIMEOUT, max_reply=MAX_REPLY)
        return codec.decode(Chain, data, MAX_REPLY)

    async def pool(self, peer: str) -> tuple[Cid, ...]:
        """The transactions that wait there. Raises DoorError, Malformed."""
        data = await self._door.ask(peer, POOL, b"", timeout=ASK_TIMEOUT, max_reply=MAX_REPLY)
        return codec.decode(Pool, data, MAX_REPLY).ids

    def is_connected(self, peer: str) -> bool:
        """Whether it is among those who are asked."""
        return any(connected.id == peer for connected in self._door.peers())

    async def structure(self, cid: Cid, prefer: str | None = None, patience: float = 0.0) -> bytes:
        """The bytes of one DAG-CBOR block. `patience`: seconds in which everybody is asked again and again. Raises
        NotAvailable."""
        until, pause = time.monotonic() + patience, FIRST_PAUSE
        while True:
            for peer in self._sources(prefer):
                found = await self.pieces(peer, [cid])
                if cid in found:
                    return found[cid]
            left = until - time.monotonic()
            if left <= 0:
                raise NotAvailable(cid)
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def file(self, cid: Cid, max_size: int, prefer: str | None = None, patience: float = 60.0) -> None:
        """Completes a file in the block store. `patience`: seconds. Raises NotAvailable, Malformed (too large, or no
        file at all)."""
        until = time.monotonic() + patience
        while missing := self._blobs.missing(cid, max_size):
            waiting = deque(missing)
            try:
                async with asyncio.TaskGroup() as batches:
                    for _ in range(AHEAD):
                        batches.create_task(self._fill(cid, waiting, prefer, until))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None

    async def _fill(self, file: Cid, waiting: deque[Cid], prefer: str | None, until: float) -> None:
        """Batch after batch of the `waiting` blocks of a file into the block store. Raises NotAvailable, Malformed."""
        while waiting:
            if time.monotonic() > until:
                raise NotAvailable(waiting[0])
            batch = _next(waiting, BATCH)
            found = await self._from_peers(batch, prefer) or await self._from_further(file, batch, waiting)
            waiting.extend(piece for piece in batch if piece not in found)
            await asyncio.to_thread(self._store, found)

    def _store(self, found: dict[Cid, bytes]) -> None:
        """Whoever found them has compared them with their CIDs. Each is synced, which takes milliseconds. Raises
        Malformed."""
        for piece, data in found.items():
            if len(data) > MAX_BLOCK:
                raise codec.Malformed(f"{piece} is a block of {len(data)} bytes, at most {MAX_BLOCK}")
            self._blobs.put_verified(piece, data)

    async def _from_peers(self, cids: Sequence[Cid], prefer: str | None) -> dict[Cid, bytes]:
        """Some of these blocks of a file, from the first who has any; nothing where nobody has."""
        for peer in self._sources(prefer):
            if found := await self.pieces(peer, cids):
                return found
        return {}

    async def _from_further(self, file: Cid, batch: list[Cid], waiting: deque[Cid]) -> dict[Cid, bytes]:
        """Some of the `batch`, which grows from what is `waiting` to as much as a source is best asked for at once.
        Raises NotAvailable."""
        for source in self._further:
            batch += _next(waiting, source.batch - len(batch))
            if found := await source.blocks(file, batch):
                return found
        raise NotAvailable(batch[0])

    def _sources(self, prefer: str | None) -> list[str]:
        """Connected peers, the preferred one first, the others in no order that anybody could exploit."""
        others = [peer.id for peer in self._door.peers() if peer.id != prefer]
        random.shuffle(others)
        connected = {peer.id for peer in self._door.peers()}
        return [prefer, *others] if prefer in connected else others

    async def pieces(self, peer: str, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """What one peer has of these blocks; nothing where it fails."""
        want = codec.encode(Want(tuple(cids)))
        try:
            reply = await self._door.ask(peer, WANT, want, timeout=ASK_TIMEOUT, max_reply=MAX_REPLY)
            found = car.read(reply)
        except DoorError as error:
            log.debug("want_failed", peer=peer, reason=str(error))
            return {}
        except codec.Malformed as error:
            self._peers.penalise(peer, BAN_SCORE, f"undecodable reply: {error}")
            return {}
        if found.keys() - set(cids):
            self._peers.penalise(peer, BAN_SCORE, "served blocks that it was not asked for")
            return {}
        for cid, data in found.items():
            if cid_of_block(data, cid.codec) != cid:
                self._peers.penalise(peer, BAN_SCORE, f"served other bytes for {cid}")
                return {}
        return found


def _next(waiting: deque[Cid], most: int) -> list[Cid]:
    """Taken out of `waiting`, the first ones."""
    return [waiting.popleft() for _ in range(min(most, len(waiting)))]
