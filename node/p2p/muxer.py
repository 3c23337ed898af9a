"""What lies under the streams of py-libp2p 0.8.1, with its sharp edges covered: bytes from the kernel, yamux's frames,
streams and windows. Each class says what it covers."""

import struct
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.io.trio import TrioTCPStream
from libp2p.io.utils import read_exactly
from libp2p.network.connection import swarm_connection
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.stream.net_stream import NetStream
from libp2p.peer.id import ID
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux import yamux
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from libp2p.transport.tcp import tcp

ACK = struct.pack("!BBH", 0, yamux.TYPE_WINDOW_UPDATE, yamux.FLAG_ACK)
"""How the frame begins that answers a new stream."""
WELCOME = 1 << 19
"""Bytes that it may send then, beside yamux's own 2^18: half of all of that are one block of 2^18 and more."""
READ_TIME = 60.0
"""Seconds for the rest of a yamux frame whose header has come, as in libp2p."""
CLOSED_LOOK = 0.1
"""Seconds between two looks whether a stream that waits for room has been closed."""
GATHERING = 0.1
"""Seconds for which a message may come together before the first of it is read."""
AHEAD = 1 << 17
"""Bytes that are taken from the kernel at once."""
TURN = 32
"""Times that a free lock is taken, from one turn of the others to the next."""
NO_LOCK = nullcontext()
"""In place of a lock that nothing needs: every lock of trio's is a turn of its scheduler, and there were four of these
for each frame."""
WRITE_TIME = 10.0
"""Seconds for one yamux frame (≤ 64 KiB) to leave; a connection that takes longer is dead."""


class Handed:
    """A lock that costs little where it is free, and is handed on in the order of asking. Each of trio's own is a turn
    of its scheduler even then, and a stream of one block took some twenty. One of `TURN` is left: else whoever reads
    what has come long ago, a thousand empty messages, lets nobody else go on. A task that was cancelled ends here."""

    def __init__(self) -> None:
        self._held = False
        self._takings = 0
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        self._takings += 1
        if self._takings % TURN == 0:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
        if self._held:
            await self._waiting.park()  # and then it is ours
        self._held = True

    async def __aexit__(self, *_: object) -> None:
        if self._waiting:
            self._waiting.unpark()
        else:
            self._held = False


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
        self._news, self._whole = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self._awaited = 0
        super().__init__(*args, **kwargs)
        self.close_lock = Handed()  # type: ignore[assignment]
        self.window_lock = NO_LOCK  # type: ignore[assignment]  # nobody waits while he holds one of these two
        self.rw_lock = SimpleNamespace(write_lock=nullcontext)  # type: ignore[assignment]
        self._unanswered = 0  # bytes read
        self.grows = True  # its window, with what is read of it

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
        if self._whole and self.unread >= self._awaited:
            self._whole.unpark_all()

    async def room(self) -> int | None:
        """How many bytes may be sent, as soon as it is one; None when it is nothing any more."""
        while self._room <= 0 and not self.closed:
            with trio.move_on_after(CLOSED_LOOK):  # nobody tells when it is closed
                await self._news.park()
        return None if self.closed else self._room

    async def gather(self, size: int) -> None:
        """Waits a moment for so many bytes, or half a window, to have come: reading them as they come costs a turn for
        each frame."""
        self._awaited = min(size, self.target_recv_window // 2)
        if self.unread < self._awaited and not self.recv_closed:
            with trio.move_on_after(GATHERING):  # nobody tells when it is closed
                await self._whole.park()

    def peek(self, most: int) -> bytes:
        """What has come, and is still to be read."""
        return bytes(self.conn.stream_buffers.get(self.stream_id, b"")[:most])

    @property
    def unread(self) -> int:
        """Bytes that have come."""
        return len(self.conn.stream_buffers.get(self.stream_id, b""))

    def _apply_autotune_epoch(self, buffered: int) -> int:
        return super()._apply_autotune_epoch(buffered) if self.grows else 0

    async def _auto_tune_and_send_window_update(self, *, bytes_read: int = 0) -> None:
        self._unanswered += bytes_read
        if self._unanswered >= self.target_recv_window // 2:
            read, self._unanswered = self._unanswered, 0
            await super()._auto_tune_and_send_window_update(bytes_read=read)


yamux.YamuxStream = Stream  # type: ignore[misc]  # by this name Yamux makes its streams


class Carried(NetStream):
    """A stream as its user holds it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._state_lock = Handed()  # type: ignore[assignment]


swarm_connection.NetStream = Carried  # type: ignore[attr-defined,assignment]  # by this name connections make theirs


class Muxer(Yamux):
    """A write that is cancelled half-way garbles all streams of the connection, so a frame is finished or the
    connection ends. A stream's window grows with what was read of it, and a peer may have many, so what piles up
    unread is bounded for all of them together."""

    unread_limit = 64 * 1024 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._welcomes = b""
        self.streams_lock = Handed()  # type: ignore[assignment]
        self._write_lock = Handed()  # type: ignore[assignment]

    async def _write_frame(self, data: bytes) -> None:
        if data[:4] == ACK:
            async with self._write_lock:  # who takes none of our frames opens no further streams
                self._welcomes += self._welcome(data)
            return  # it goes with the next frame: whoever opens a stream is answered at once, or reset
        async with self._write_lock:
            if self._welcomes:
                data, self._welcomes = self._welcomes + data, b""
            with trio.CancelScope(deadline=trio.current_time() + WRITE_TIME, shield=True) as writing:
                await self.secured_conn.write(data)
        if writing.cancelled_caught:
            with suppress(Exception):
                await self.secured_conn.close()
            raise RawConnError(f"connection closed: one frame took more than {WRITE_TIME:g} s")

    def _welcome(self, ack: bytes) -> bytes:
        """The answer to a new stream is a window update of nothing. It may as well make room for a whole block: else
        each of Kubo's streams, of one block and a little more than a window, waits for another one."""
        (id_,) = struct.unpack_from("!I", ack, 4)
        if (stream := self.streams.get(id_)) is None:
            return ack
        stream.recv_window += WELCOME
        stream.target_recv_window += WELCOME
        return ack[:8] + struct.pack("!I", WELCOME)

    def _finalize_stream_locked(self, stream: YamuxStream, *, fully_closed: bool) -> None:
        if fully_closed and stream.reset_received:
            # Nobody will read it, and libp2p would keep it for another minute.
            self.stream_buffers.pop(stream.stream_id, None)
        super()._finalize_stream_locked(stream, fully_closed=fully_closed)

    async def _read_data_body(self, length: int) -> bytes:
        if length + sum(map(len, self.stream_buffers.values())) > self.unread_limit:
            raise trio.TooSlowError  # the one error for which the caller closes the connection
        with trio.CancelScope(deadline=trio.current_time() + READ_TIME):
            body = await self.secured_conn.read(length)
            if len(body) == length:  # as nearly always: copied no more
                return body
            return body + await read_exactly(self.secured_conn, length - len(body))
        raise trio.TooSlowError


class Muxers(MuxerMultistream):
    """libp2p's own makes a plain Yamux, whichever class it was given."""

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, muxer = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(muxer(conn, peer_id), conn, protocol)
