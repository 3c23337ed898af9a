"""Answering what peers ask (`node.messages`). Handlers read; nothing a peer asks changes anything here."""

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

from deepblock import codec
from deepblock.blockstore import Blockstore, Missing
from deepblock.cid import DAG_CBOR, Cid
from deepblock.types import Block
from node import car, messages
from node.chain import Chain
from node.mempool import Mempool
from node.messages import Locate, Pool, Status, Want
from node.p2p.events import Handler, Refusal

MAX_REQUEST = 64 << 10
"""Bytes."""

T = TypeVar("T")


class Service:
    """What this node serves: its chain, its block store and its pool.

    `own`: multiaddrs at which this node can be dialled; `others`: those that connected peers say of themselves.
    """

    def __init__(self, chain: Chain, blobs: Blockstore, mempool: Mempool) -> None:
        self._chain = chain
        self._mempool = mempool
        self._blobs = blobs
        self.own: tuple[str, ...] = ()
        self.others: Mapping[str, tuple[str, ...]] = {}

    @property
    def handlers(self) -> dict[str, Handler]:
        return {
            messages.STATUS: self._status,
            messages.HEADERS: self._headers,
            messages.WANT: self._want,
            messages.POOL: self._pool,
        }

    def status(self, asker: str) -> Status:
        """Where this node stands, and some of those whom it knows: others each time. `asker` is not told of itself."""
        head = self._chain.head
        others = [address for peer, known in self.others.items() if peer != asker for address in known]
        return Status(
            self._chain.network,
            head.id,
            head.height,
            head.weight,
            self.own[: messages.MAX_ADDRESSES],
            tuple(random.sample(others, min(len(others), messages.MAX_ADDRESSES))),
        )

    async def _status(self, peer: str, request: bytes) -> bytes:
        return codec.encode(self.status(peer))

    async def _headers(self, peer: str, request: bytes) -> bytes:
        known = _decoded(Locate, request).known[: messages.MAX_LOCATOR]
        start = next((height for height in map(self._canonical_height, known) if height is not None), 0)
        blocks, size = [], 0
        for height in range(start + 1, min(start + messages.MAX_HEADERS, self._chain.head.height) + 1):
            at = self._chain.id_at(height)
            data = self._chain.raw(at) if at else None
            if data is None or size > messages.PIECES_BUDGET:
                break
            size += len(data)
            blocks.append(codec.decode(Block, data))
        return codec.encode(messages.Chain(tuple(blocks)))

    def _canonical_height(self, block: Cid) -> int | None:
        """Of a block on the head's chain, else None."""
        node = self._chain.node(block)
        return node.height if node and self._chain.id_at(node.height) == block else None

    async def _want(self, peer: str, request: bytes) -> bytes:
        cids = _decoded(Want, request).cids[: messages.MAX_PIECES]
        found = zip(cids, await self.read(cids, messages.PIECES_BUDGET), strict=False)
        return car.write((cid, piece) for cid, piece in found if piece is not None)

    async def has(self, cids: Sequence[Cid]) -> list[bool]:
        """Whether each block is here."""
        return [
            self._chain.raw(cid) is not None if cid.codec == DAG_CBOR else self._blobs.has(cid)
            for cid in cids
        ]

    async def read(self, cids: Sequence[Cid], budget: int) -> list[bytes | None]:
        """The blocks in the order asked, None for one that is not here; as many as fit into `budget` bytes, but one
        at least, if it is as large as any may be."""
        pieces: list[bytes | None] = []
        size = 0
        for cid in cids:
            piece = self._piece(cid)
            size += len(piece or b"")
            if size > budget and pieces:
                break
            pieces.append(piece)
        return pieces

    async def _pool(self, peer: str, request: bytes) -> bytes:
        return codec.encode(Pool(tuple(transaction.id for transaction in self._mempool.pending())))

    def _piece(self, cid: Cid) -> bytes | None:
        if cid.codec == DAG_CBOR:
            waiting = self._mempool.get(cid)
            return self._chain.raw(cid) if waiting is None else codec.encode(waiting)
        try:
            return self._blobs.get_block(cid, afresh=False)
        except Missing:
            return None


def _decoded(cls: type[T], request: bytes) -> T:
    try:
        return codec.decode(cls, request, MAX_REQUEST)
    except codec.Malformed as error:
        raise Refusal(str(error)) from None
