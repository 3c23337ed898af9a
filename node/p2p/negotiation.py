"""Which protocol a stream speaks (https://github.com/multiformats/multistream-select), in as few frames as go-libp2p
needs. py-libp2p sends each line on its own, and each only after the answer to the one before.

Kubo opens a stream for every block that it sends, and a node one for every question: a seventh of the time that Kubo's
blocks took here went into this.
"""

from collections.abc import Sequence
from typing import Any, Final

import trio
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.exceptions import ParseError
from libp2p.host import basic_host
from libp2p.io.exceptions import IOException
from libp2p.io.utils import read_exactly
from libp2p.protocol_muxer import generic_selector
from libp2p.protocol_muxer.exceptions import (
    MultiselectClientError,
    MultiselectCommunicatorError,
    MultiselectError,
    ProtocolNotSupportedError,
)
from libp2p.protocol_muxer.multiselect import (
    DEFAULT_NEGOTIATE_TIMEOUT,
    MULTISELECT_PROTOCOL_ID,
    PROTOCOL_NOT_FOUND_MSG,
    Multiselect,
)
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.utils import encode_delim
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

GREETING: Final = encode_delim(MULTISELECT_PROTOCOL_ID.encode())
SHORT: Final = 0x80
"""Bytes of a line, with its length, from which on that takes two bytes."""
LINE: Final = 1_024
"""Bytes of a line."""
FAILURES: Final = (IOException, MultiselectCommunicatorError)


class Lines(MultiselectCommunicator):
    """libp2p's own takes a line of any length, before anybody is known, and quotes the whole of it when it is none."""

    async def read(self) -> str:
        """Raises MultiselectCommunicatorError."""
        try:
            line = await self._at_once() or await read_varint_prefixed_bytes_limited(self.read_writer, LINE)
            if not line.endswith(b"\n"):
                raise MultiselectCommunicatorError("a line without an end")
            return line[:-1].decode()
        except (ParseError, IOException, UnicodeDecodeError) as error:
            raise MultiselectCommunicatorError(f"no line: {error}") from error

    async def _at_once(self) -> bytes | None:
        """A line of a stream that is there as a whole, in one read; else nothing is taken."""
        muxed: Any = getattr(self.read_writer, "muxed_stream", None)
        seen = muxed.peek(SHORT) if muxed else b""
        if not seen or not 0 < seen[0] < len(seen):
            return None
        return (await read_exactly(self.read_writer, 1 + seen[0]))[1:]


# By these names connections, and streams, make theirs.
generic_selector.MultiselectCommunicator = basic_host.MultiselectCommunicator = Lines  # type: ignore


class Proposer(MultiselectClient):
    """Greets and proposes at once. A listener reads one line after the other, whenever they came."""

    async def select_one_of(
        self,
        protocols: Sequence[TProtocol],
        communicator: Any,
        negotiate_timeout: int = DEFAULT_NEGOTIATE_TIMEOUT,
    ) -> TProtocol:
        """Raises MultiselectClientError."""
        if len(protocols) != 1:  # the second only if the first is refused
            return await super().select_one_of(protocols, communicator, negotiate_timeout)
        protocol, stream = protocols[0], communicator.read_writer
        answer = ""
        with trio.move_on_after(negotiate_timeout) as waiting:
            try:
                await stream.write(GREETING + encode_delim(protocol.encode()))
                if await read_exactly(stream, len(GREETING)) != GREETING:
                    raise MultiselectClientError("it does not speak multistream-select")
                answer = await communicator.read()
            except FAILURES as error:
                raise MultiselectClientError(f"no answer to {protocol}: {error}") from error
        if waiting.cancelled_caught:
            raise MultiselectClientError(f"no answer to {protocol} within {negotiate_timeout} s")
        if answer == PROTOCOL_NOT_FOUND_MSG:
            raise ProtocolNotSupportedError(f"{protocol} is not supported")
        if answer != protocol:
            raise MultiselectClientError(f"{answer[:80]!r} in answer to {protocol}")
        return protocol


class Listener(Multiselect):
    """Greets together with its answer, where the other side has proposed something already."""

    async def negotiate(
        self, communicator: Any, negotiate_timeout: int = DEFAULT_NEGOTIATE_TIMEOUT
    ) -> tuple[TProtocol | None, StreamHandlerFn | None]:
        """Raises MultiselectError."""
        stream = communicator.read_writer
        with trio.move_on_after(negotiate_timeout):
            try:
                if await read_exactly(stream, len(GREETING)) != GREETING:
                    raise MultiselectError("it does not speak multistream-select")
                unsaid = GREETING
                if not stream.muxed_stream.unread:
                    await stream.write(unsaid)
                    unsaid = b""
                while True:
                    protocol = TProtocol(await communicator.read())
                    known = protocol in self.handlers
                    await stream.write(
                        unsaid + encode_delim((protocol if known else PROTOCOL_NOT_FOUND_MSG).encode())
                    )
                    unsaid = b""
                    if known:
                        return protocol, self.handlers[protocol]
            except FAILURES as error:
                raise MultiselectError(str(error)) from error
        raise MultiselectError(f"no protocol within {negotiate_timeout} s")
