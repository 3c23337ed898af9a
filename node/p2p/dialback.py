"""Dialling back: a peer asks whether it can be reached from here.

    request = DialBack       reply = DialledBack       (both DAG-CBOR)

Only the IP address that the request comes from is dialled, at the port that the asker names: nobody can have a third
party dialled. What answers must prove to be the asker, so that a reply means what it says.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deepblock import codec
from deepblock.codec import U16
from node.addresses import ip_in
from node.p2p.events import DoorError, Refusal

DIAL_BACK = "/deepblock/dial-back/1"
MAX_MESSAGE = 512
"""Bytes of a request and of a reply."""
DIAL_TIME = 10.0
"""Seconds for dialling back."""
PAUSE = 20.0
"""Seconds between two dials for one asker."""
AT_ONCE = 4
"""Dials for all askers together at the same time."""


@dataclass(frozen=True, slots=True)
class DialBack:
    port: U16


@dataclass(frozen=True, slots=True)
class DialledBack:
    """`addr`: the multiaddr at which the asker was looked for; `reached`: whether it was there."""

    addr: str
    reached: bool


class DialBacks:
    """Answers them. `dial(addr, seconds)` raises DoorError where the peer in `addr` is not; `addr_of(peer)`: the other
    socket of its connection."""

    def __init__(
        self, dial: Callable[[str, float], Awaitable[None]], addr_of: Callable[[str], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._dial = dial
        self._addr_of = addr_of
        self._clock = clock
        self._dialling = 0
        self._last: dict[str, float] = {}

    async def answer(self, peer: str, request: bytes) -> bytes:
        """Raises Refusal."""
        try:
            port = codec.decode(DialBack, request, MAX_MESSAGE).port
        except codec.Malformed as error:
            raise Refusal(str(error)) from None
        ip = ip_in(self._addr_of(peer) or "")
        if ip is None or port == 0:
            raise Refusal("there is no address to dial back to")
        now = self._clock()
        self._last = {asker: at for asker, at in self._last.items() if now - at < PAUSE}
        if peer in self._last or self._dialling >= AT_ONCE:
            raise Refusal(f"busy: ask again in {PAUSE:g} s")
        self._last[peer] = now
        addr = f"/ip{ip.version}/{ip}/tcp/{port}/p2p/{peer}"
        self._dialling += 1
        try:
            await self._dial(addr, DIAL_TIME)
            reached = True
        except DoorError:
            reached = False
        finally:
            self._dialling -= 1
        return codec.encode(DialledBack(addr, reached))
