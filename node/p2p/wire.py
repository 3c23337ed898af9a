"""One request and one reply on a stream of their own:

    request = 0x00 ‖ u64 length ‖ body          reply = status ‖ u64 length ‖ body          (big-endian)

status: 0 = the reply, 1 = a refusal (body: its text), 2 = the handler failed (body empty). The length is
checked before a byte of the body is read, memory grows only with what has arrived, and no read or write
waits longer than `stall` seconds. The body is not hashed again: noise authenticates every byte, and content
is compared with its CID by whoever asked for it.
"""

import struct
from typing import Any

import trio

OK, REFUSED, FAILED = 0, 1, 2
HEADER = struct.Struct(">BQ")
TEXT_LIMIT = 1_024
"""Bytes of a refusal's text."""
PIECE = 65_519 - 12
"""Bytes of one yamux frame's payload: written at once, so that a frame is never waited for half-way. With the frame's
header it fills one message of noise; twelve bytes more would take a second one."""


class Violation(Exception):
    """The other side does not speak this protocol; the text says in what."""


class Oversized(Violation):
    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"announced {length:,} bytes where {limit:,} are allowed")


class Hangup(Exception):
    """The stream ended, or stood still, before the message was complete."""


class Stalled(Hangup):
    """The other side takes nothing: what was asked for is not read."""


async def write_message(stream: Any, status: int, body: bytes, *, stall: float) -> None:
    """Raises Stalled."""
    await write(stream, HEADER.pack(status, len(body)) + body, stall=stall)


async def write(stream: Any, data: bytes, *, stall: float) -> None:
    """Raises Stalled when nothing could be written for `stall` seconds.

    Whatever room there is, is used: go-yamux (v4) forgets to tell of a part of its window each time that it grows, and
    then waits for the rest of what it has told of. We had waited for more.
    """
    start = 0
    while start < len(data):
        with trio.move_on_after(stall) as waiting:
            room = await stream.muxed_stream.room()  # yamux gives up after 5 s without any
            piece = data[start : start + min(PIECE, room or PIECE)]
            await stream.write(piece)
        if waiting.cancelled_caught:
            raise Stalled(f"nothing could be written for {stall:g} s")
        start += len(piece)


async def read_message(stream: Any, *, limit: int, stall: float) -> tuple[int, bytes]:
    """Raises Violation, Oversized, Hangup."""
    status, length = HEADER.unpack(await read(stream, HEADER.size, stall=stall))
    if status not in (OK, REFUSED, FAILED):
        raise Violation(f"unknown status {status}")
    limit = limit if status == OK else TEXT_LIMIT
    if length > limit:
        raise Oversized(length, limit)
    return status, await read(stream, length, stall=stall)


async def read(stream: Any, size: int, *, stall: float) -> bytes:
    """Exactly `size` bytes. Raises Hangup."""
    return bytes(await read_on(stream, bytearray(), size, stall=stall))


async def read_on(stream: Any, data: bytearray, size: int, *, stall: float) -> bytearray:
    """The same `data`, longer: until it has exactly `size` bytes. Raises Hangup."""
    while len(data) < size:
        piece = b""
        with trio.move_on_after(stall) as waiting:
            piece = await stream.read(size - len(data))
        if waiting.cancelled_caught:
            raise Hangup(f"nothing arrived for {stall:g} s")
        if not piece:
            raise Hangup(f"the stream ended after {len(data):,} of {size:,} bytes")
        data += piece
    return data
