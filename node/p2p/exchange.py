"""Requests and replies: one of each on a stream of its own. Runs in the trio thread."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import structlog
import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey

from node.p2p import wire
from node.p2p.events import AskTimeout, Limits, PeerGone, Refusal, Refused, ReplyTooLarge, TooLarge
from node.p2p.guards import Accuse

log = structlog.get_logger("p2p")

STREAM_ENDED = (StreamError, IOException, RawConnError, SwarmException, wire.Hangup)
"""What libp2p raises when the other side, or the network, has gone."""


class Exchange:
    """`serve(peer, protocol, request)` gives our replies; it may raise Refusal."""

    def __init__(
        self,
        host: IHost,
        limits: Limits,
        accuse: Accuse,
        serve: Callable[[str, str, bytes], Awaitable[bytes]],
    ) -> None:
        self._host = host
        self._limits = limits
        self._accuse = accuse
        self._serve = serve
        self._handling: Counter[ID] = Counter()

    async def answer(self, protocol: str, stream: INetStream) -> None:
        """One request, one reply."""
        peer, stall = stream.muxed_conn.peer_id, self._limits.stall
        self._handling[peer] += 1
        try:
            with trio.move_on_after(self._limits.handler_time) as serving:
                _, request = await wire.read_message(stream, limit=self._limits.request, stall=stall)
                answer: tuple[int, bytes] | None = None
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_on_reset, stream, nursery.cancel_scope)
                    answer = await self._reply(peer, protocol, request)
                    nursery.cancel_scope.cancel()
                if answer is not None:
                    await wire.write_message(stream, *answer, stall=stall)
                    await stream.close()
            if serving.cancelled_caught:
                log.warning("request_timeout", peer=str(peer), protocol=protocol)
                await stream.reset()
        except (wire.Violation, wire.Stalled) as error:
            self._accuse(peer, f"{protocol}: {error}")
        finally:
            self._handling[peer] -= 1
            self._handling += Counter()

    async def _reply(self, peer: ID, protocol: str, request: bytes) -> tuple[int, bytes]:
        if self._handling[peer] > self._limits.handlers:
            return wire.REFUSED, f"busy: more than {self._limits.handlers} requests at once".encode()
        try:
            return wire.OK, await self._serve(str(peer), protocol, request)
        except Refusal as refusal:
            return wire.REFUSED, str(refusal).encode()[: wire.TEXT_LIMIT]
        except Exception as error:
            log.error("handler_failed", peer=str(peer), protocol=protocol, error=repr(error), exc_info=error)
            return wire.FAILED, b""

    async def ask(self, peer: str, protocol: str, request: bytes, timeout: float, max_reply: int) -> bytes:
        """Raises PeerGone, AskTimeout, ReplyTooLarge, Refused, TooLarge."""
        if len(request) > self._limits.request:
            raise TooLarge(f"a request of {len(request):,} bytes where {self._limits.request:,} are allowed")
        answer: tuple[int, bytes] | None = None
        with trio.move_on_after(timeout):
            answer = await self._exchange(ID.from_string(peer), protocol, request, max_reply, timeout)
        if answer is None:
            raise AskTimeout(f"{peer} did not answer {protocol} within {timeout:g} s")
        status, reply = answer
        if status == wire.REFUSED:
            raise Refused(reply.decode(errors="replace"))
        if status == wire.FAILED:
            raise Refused("internal error")
        return reply

    async def _exchange(
        self, peer: ID, protocol: str, request: bytes, max_reply: int, stall: float
    ) -> tuple[int, bytes]:
        try:
            stream = await self._host.new_stream(peer, [TProtocol(protocol)])
        except (StreamFailure, *STREAM_ENDED) as error:
            if "not supported" in plain(error):
                raise Refused(f"{peer} does not speak {protocol}") from None
            raise PeerGone(f"{peer} takes no stream: {plain(error)}") from error
        done = False
        try:
            await wire.write_message(stream, wire.OK, request, stall=stall)
            answer = await wire.read_message(stream, limit=max_reply, stall=stall)
            await stream.close()
            done = True
            return answer
        except wire.Oversized as error:
            raise ReplyTooLarge(f"{peer} on {protocol}: {error}") from None
        except wire.Violation as error:
            self._accuse(peer, f"{protocol}: {error}")
            raise PeerGone(f"{peer} broke {protocol}: {error}") from None
        except STREAM_ENDED as error:
            raise PeerGone(f"{peer} hung up: {plain(error)}") from error
        finally:
            if not done:
                with trio.CancelScope(shield=True):
                    await stream.reset()


async def _cancel_on_reset(stream: Any, scope: trio.CancelScope) -> None:
    """An asker that has lost patience must not occupy a handler. One that only closed its half still listens."""
    try:
        await stream.read(1)
    except STREAM_ENDED:
        if stream.muxed_stream.closed:
            scope.cancel()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what caused it, down to the first cause."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__


def plain(error: BaseException) -> str:
    """The first cause in a few words: it may quote what a peer has sent."""
    *_, first = _causes(error)
    if isinstance(first, PeerIDMismatchesPubkey):
        return "another node answers there"
    return str(first)[: wire.TEXT_LIMIT] or type(first).__name__
