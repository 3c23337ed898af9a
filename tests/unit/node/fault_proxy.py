"""A TCP proxy on loopback that is as bad as a network can be: late, slow, lossy, cut, silent, or wrong by a bit.

What TCP makes of lost packets is a pause, so that is what loss is here.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

PIECE: Final = 16 * 1024
"""Bytes that pass at once."""
RETRANSMISSION: Final = 0.2
"""Seconds that a lost piece takes longer."""


@dataclass
class Faults:
    """May be changed at any moment. `delay`: seconds, each way; `rate`: bytes a second, each way, 0: any; `loss`: the
    probability that a piece is lost and sent again; `silent`: nothing passes, and nobody is told; `corrupt`: one bit
    of the next piece."""

    delay: float = 0.0
    rate: float = 0.0
    loss: float = 0.0
    silent: bool = False
    corrupt: bool = False
    chance: random.Random = field(default_factory=lambda: random.Random(1))


class FaultProxy:
    """In front of a port on loopback. `port`: its own."""

    def __init__(self, target: int, faults: Faults) -> None:
        self.port = 0
        self.faults = faults
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()

    def addr(self, addr: str) -> str:
        """The multiaddr `addr` of what is behind it, by way of the proxy."""
        return addr.replace(f"/tcp/{self._target}/", f"/tcp/{self.port}/")

    def cut(self) -> None:
        """All connections, at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        both = {writer, there_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pass(reader, there_writer), self._pass(there_reader, writer))
        finally:
            self._writers -= both
            for one in both:
                one.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(PIECE):
                await self._hold_up(len(data))
                writer.write(self._changed(data))
                await writer.drain()
        with suppress(ConnectionError):
            writer.write_eof()

    async def _hold_up(self, size: int) -> None:
        faults = self.faults
        while faults.silent:
            await asyncio.sleep(0.02)
        await asyncio.sleep(faults.delay + (size / faults.rate if faults.rate else 0.0))
        while faults.loss > faults.chance.random():
            await asyncio.sleep(RETRANSMISSION)

    def _changed(self, data: bytes) -> bytes:
        if not self.faults.corrupt:
            return data
        self.faults.corrupt = False
        return data[:-1] + bytes([data[-1] ^ 1])


@asynccontextmanager
async def proxied(target: int, faults: Faults) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy(target, faults)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
