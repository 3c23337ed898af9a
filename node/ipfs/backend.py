"""What a way into IPFS has to be able to do: the one interface of both backends."""

from collections.abc import Collection, Sequence
from typing import Protocol

from deepblock.cid import Cid


class Source(Protocol):
    """Somebody who may have blocks. `batch`: how many it is best asked for at once."""

    @property
    def batch(self) -> int: ...

    async def blocks(self, file: Cid, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """Those of these blocks of a file that it has, each hashed here; in bounded time, and without an error: what
        cannot be had is not among them."""
        ...


class Backend(Source, Protocol):
    """A way into IPFS. `name`: for people."""

    name: str

    @property
    def state(self) -> str:
        """'off', 'up' and with whom, or 'down: ' and why."""
        ...

    async def run(self) -> None:
        """For ever: keeps it up."""
        ...

    async def keep(self, files: Collection[Cid]) -> None:
        """Makes what it holds for this node equal to `files`, as far as they are in the block store."""
        ...
