"""What lies under the streams of py-libp2p 0.8.1, with its sharp edges covered: bytes from the kernel, yamux's frames,
streams and windows. Each class says what it covers."""

from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.io.trio import TrioTCPStream
from libp2p.io.utils import read_exactly
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from libp2p.transport.tcp import tcp

READ_TIME = 60.0
"""Seconds for the rest of a yamux frame whose header has come, as in libp2p."""
CLOSED_LOOK = 0.1
"""Seconds between two looks whether a stream that waits for room has been closed."""
AHEAD = 1 << 17
"""Bytes that are taken from the kernel at once."""
NO_LOCK = nullcontext()
"""In place of a lock that nothing needs: every lock of trio's is a turn of its scheduler, and there were four of these
for each frame."""
WRITE_TIME = 10.0
"""Seconds for one yamux frame (≤ 64 KiB) to leave; a connection that takes longer is dead."""


class Socket(TrioTCPStream):
    """Noise asks the kernel for two bytes, then for the message whose length they say. Here it gets what has come."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read_lock = self.write_lock = NO_LOCK  # type: ignore[assignment]  # the muxer writes and reads in turn
        self._ahead, self._taken = b"", 0

    async def read(self, n: int | None = None) -> bytes:
        if n == 0:
            return b""
        if self._taken == len(self._ahead):
            self._ahead, self._taken = await super().read(AHEAD), 0
        end = None if n is None else self._taken + n
        found = self._ahead[self._taken : end]
        self._taken += len(found)
        if self._taken == len(self._ahead):
            self._ahead, self._taken = b"", 0
        return found


tcp.TrioTCPStream = Socket  # type: ignore[assignment,attr-defined]  # by this name it makes connections


class Stream(YamuxStream):
    """py-libp2p answers every read with a window update, and doubles the window for each of the first ones, of one
    byte too: six frames before there is any data. Here, as in go-yamux, both wait until half a window was read.
    Whoever wants to write learns when the other side has made room; and a peer that sends more than it has room for
    here, which libp2p only logs, loses its connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._room = self._granted = 0
        self._news = trio.lowlevel.ParkingLot()
        super().__init__(*args, **kwargs)
        self.window_lock = NO_LOCK  # type: ignore[assignment]  # nobody waits while he holds one of these two
        self.rw_lock = SimpleNamespace(write_lock=nullcontext)  # type: ignore[assignment]
        self._unanswered = 0  # bytes read

    @property
    def send_window(self) -> int:
        return self._room

    @send_window.setter
    def send_window(self, room: int) -> None:
        self._room = room
        self._news.unpark_all()

    @property
    def recv_window(self) -> int:
        return self._granted

    @recv_window.setter
    def recv_window(self, size: int) -> None:
        if size < 0:
            raise trio.TooSlowError  # the one error for which the caller closes the connection
        self._granted = size

    async def room(self) -> int | None:
        """How many bytes may be sent, as soon as it is one; None when it is nothing any more."""
        while self._room <= 0 and not self.closed:
            with trio.move_on_after(CLOSED_LOOK):  # nobody tells when it is closed
                await self._news.park()
        return None if self.closed else self._room

    @property
    def unread(self) -> int:
        """Bytes that have come."""
        return len(self.conn.stream_buffers.get(self.stream_id, b""))

    async def _auto_tune_and_send_window_update(self, *, bytes_read: int = 0) -> None:
        self._unanswered += bytes_read
        if self._unanswered >= self.target_recv_window // 2:
            read, self._unanswered = self._unanswered, 0
            await super()._auto_tune_and_send_window_update(bytes_read=read)


yamux.YamuxStream = Stream  # type: ignore[misc]  # by this name Yamux makes its streams


class Muxer(Yamux):
    """A write that is cancelled half-way garbles all streams of the connection, so a frame is finished or the
    connection ends. A stream's window grows with what was read of it, and a peer may have many, so what piles up
    unread is bounded for all of them together."""

    unread_limit = 64 * 1024 * 1024

    async def _write_frame(self, data: bytes) -> None:
        async with self._write_lock:
            with trio.CancelScope(deadline=trio.current_time() + WRITE_TIME, shield=True) as writing:
                await self.secured_conn.write(data)
        if writing.cancelled_caught:
            with suppress(Exception):
                await self.secured_conn.close()
            raise RawConnError(f"connection closed: one frame took more than {WRITE_TIME:g} s")

    def _finalize_stream_locked(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        if fully_closed and stream.reset_received:
            # Nobody will read it, and libp2p would keep it for another minute.
            self.stream_buffers.pop(stream.stream_id, None)
        super()._finalize_stream_locked(stream, fully_closed=fully_closed)

    async def _read_data_body(self, length: int) -> bytes:
        if length + sum(map(len, self.stream_buffers.values())) > self.unread_limit:
            raise trio.TooSlowError  # the one error for which the caller closes the connection
        with trio.fail_after(READ_TIME):  # libp2p's own reads the environment for each frame
            return await read_exactly(self.secured_conn, length)


class Muxers(MuxerMultistream):
    """libp2p's own makes a plain Yamux, whichever class it was given."""

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, muxer = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(muxer(conn, peer_id), conn, protocol)
