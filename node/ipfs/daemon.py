"""A Kubo daemon's HTTP API, by `ipfshttpclient`: blocking, for a thread of its own.

The package is from 2021, so each trap has its cover here: `connect()` refuses every daemon of today, `Client` does not
ask; `add` has flags that change a file's CID, so all are given; an answer in chunks, as Kubo sends them, is read up to
a limit; and what breaks off in the middle raises an exception of `requests`, not its own.
"""

import io
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import ipfshttpclient
from ipfshttpclient.exceptions import CommunicationError, ErrorResponse
from requests import RequestException

from deepblock.blockstore import MAX_BLOCK, Blockstore
from deepblock.cid import Cid, cid_of_block
from deepblock.unixfs import Part

# Of ipfshttpclient's making, and nothing that whoever runs a node can change.
warnings.filterwarnings(
    "ignore", message="The 'strict' parameter is no longer needed", category=FutureWarning
)

CONNECT_TIME: Final = 3.0
SILENCE: Final = 20.0
"""Seconds to connect, and seconds without a byte after which a request has failed."""
SEARCH_TIME: Final = 5
"""Seconds for which the daemon looks for a block that it does not have, among its own peers."""


class Lie(Exception):
    """The daemon answered something that is not true; the text says what."""


class Daemon:
    """One connection to the daemon at `addr`, a multiaddr. Whatever goes wrong raises: an exception of
    `ipfshttpclient` or `requests`, Lie, or what their decoders trip over."""

    def __init__(self, addr: str) -> None:
        self._client = ipfshttpclient.Client(addr, session=True, timeout=(CONNECT_TIME, SILENCE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def version(self) -> str:
        return str(self._client.version()["Version"])[:40]

    def blocks(self, file: Cid, cids: Sequence[Cid], store: Blockstore, seconds: float) -> dict[Cid, bytes]:
        """Those that it has, up to the first that it has not; what has come after `seconds`. Where `store` has the
        nodes that say where leaves stand in the file, leaves side by side are one request: each costs a daemon
        milliseconds. Such a stream is silent, or broken off, where it lacks one, and shifted where a stranger has laid
        the file out otherwise; so what it does not bring is asked for by name. Raises Lie for other bytes then."""
        until = time.monotonic() + seconds
        found: dict[Cid, bytes] = {}
        places = {part.cid: part for part in store.parts(file) if part.height == 0}
        with suppress(CommunicationError, RequestException, TimeoutError):
            for stretch in _stretches([places[cid] for cid in cids if cid in places]):
                for leaf, data in self._leaves(file, stretch, until):
                    found[leaf.cid] = data
        with suppress(ErrorResponse, TimeoutError):  # it says that it cannot find one, or our time is over
            for cid in cids:
                if cid not in found:
                    found[cid] = self._block(cid, until)
        return found

    def _leaves(self, file: Cid, leaves: Sequence[Part], until: float) -> Iterator[tuple[Part, bytes]]:
        """Leaves side by side, as they come, up to one that is not what it should be. Raises TimeoutError."""
        start, size = leaves[0].start, sum(leaf.size for leaf in leaves)
        pieces: Any = self._client.cat(
            str(file), offset=start, length=size, stream=True, timeout=(CONNECT_TIME, SEARCH_TIME)
        )
        waiting, data = deque(leaves), bytearray()
        with pieces:
            for piece in pieces:
                data += piece
                while waiting and len(data) >= waiting[0].size:
                    leaf = waiting.popleft()
                    with memoryview(data) as view:
                        block = bytes(view[: leaf.size])
                    if cid_of_block(block, leaf.cid.codec) != leaf.cid:
                        return
                    yield leaf, block
                    del data[: leaf.size]
                if not waiting:
                    return
                if time.monotonic() > until:
                    raise TimeoutError

    def _block(self, cid: Cid, until: float) -> bytes:
        """Raises TimeoutError."""
        data = bytearray()
        pieces: Any = self._client.block.get(str(cid), stream=True, opts={"timeout": f"{SEARCH_TIME}s"})
        with pieces:
            for piece in pieces:
                data += piece
                if len(data) > MAX_BLOCK:
                    raise Lie(f"it sent more than {MAX_BLOCK} bytes for block {cid}")
                if time.monotonic() > until:
                    raise TimeoutError
        block = bytes(data)
        if cid_of_block(block, cid.codec) != cid:
            raise Lie(f"it sent other bytes for block {cid}")
        return block

    def add(self, cid: Cid, store: Blockstore) -> None:
        """Gives it the file and pins it. Raises Lie where it says that the file has another CID, Missing."""
        said = self._client.add(
            io.BufferedReader(_Leaves(store.read_file(cid)), 1 << 18),
            cid_version=1,
            raw_leaves=True,
            chunker="size-262144",
            pin=True,
            opts={"cid-base": "base32"},
        )
        if said["Hash"] != str(cid):
            self.unpin(str(said["Hash"]))
            raise Lie(f"it calls the file {cid} {str(said['Hash'])[:80]}")

    def unpin(self, name: str) -> None:
        try:
            self._client.pin.rm(name)
        except ErrorResponse as error:
            if "not pinned" not in str(error):
                raise


def _stretches(leaves: Sequence[Part]) -> list[list[Part]]:
    """Leaves that stand side by side in their file, together."""
    found: list[list[Part]] = []
    end = -1
    for leaf in leaves:
        if leaf.start != end:
            found.append([])
        found[-1].append(leaf)
        end = leaf.start + leaf.size
    return found


class _Leaves(io.RawIOBase):
    """A file made of pieces, for who wants to read() it."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
