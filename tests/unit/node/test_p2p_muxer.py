"""Frames of a connection: how a new stream is answered, and in which order frames are written."""

import struct

import pytest
import trio
import trio.testing
from libp2p.peer.id import ID

from node.p2p.muxer import GATHERING, TURN, WELCOME, Handed, Muxer

PEER = ID(b"\x00\x24\x08\x01\x12\x20" + bytes(32))
DATA, WINDOW = 0, 1
SYN, ACK, FIN = 1, 2, 4
BLOCK = (1 << 18) + 100
"""As Kubo sends one: a little more than yamux's own window."""


def frame(kind, flags, stream, body=b"", length=None):
    return struct.pack("!BBHII", 0, kind, flags, stream, len(body) if length is None else length) + body


class Wire:
    """An encrypted connection, whose other side is the test. `writes`: what was written at once."""

    is_initiator = False

    def __init__(self):
        self.writes = []
        self._send, self._receive = trio.open_memory_channel(200)
        self._ahead = b""

    def give(self, data):
        self._send.send_nowait(data)

    async def read(self, n):
        if not self._ahead:
            self._ahead = await self._receive.receive()
        found, self._ahead = self._ahead[:n], self._ahead[n:]
        return found

    async def write(self, data):
        self.writes.append(data)
        await trio.lowlevel.checkpoint()

    async def close(self):
        return


async def opened(wire, muxer):
    """The first stream, as the other side has opened it."""
    wire.give(frame(WINDOW, SYN, 1))
    return await muxer.accept_stream()


def over(scene):
    """Runs `scene` with a connection and its muxer."""

    async def run():
        wire = Wire()
        muxer = Muxer(wire, PEER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(muxer.handle_incoming)
            with trio.fail_after(5):
                await scene(wire, muxer)
            nursery.cancel_scope.cancel()

    trio.run(run)


def test_a_new_stream_is_answered_together_with_the_first_reply():
    async def scene(wire, muxer):
        wire.give(frame(WINDOW, SYN, 1) + frame(DATA, 0, 1, b"hello"))
        stream = await muxer.accept_stream()
        assert await stream.read(100) == b"hello"
        assert wire.writes == []
        await stream.write(b"good day")
        assert wire.writes == [frame(WINDOW, ACK, 1, length=WELCOME) + frame(DATA, 0, 1, b"good day")]

    over(scene)


def test_a_whole_block_needs_no_further_window():
    async def scene(wire, muxer):
        stream = await opened(wire, muxer)
        await stream.write(b"go on")
        block, found = bytes(range(256)) * 1024 + bytes(100), b""
        assert len(block) == BLOCK
        for start in range(0, BLOCK, 1 << 16):
            wire.give(frame(DATA, 0, 1, block[start : start + (1 << 16)]))
        while len(found) < BLOCK:
            found += await stream.read(BLOCK)
        assert found == block
        assert len(wire.writes) == 1

    over(scene)


def test_a_message_is_read_once_it_is_whole():
    async def scene(wire, muxer):
        stream = await opened(wire, muxer)
        for _ in range(4):
            wire.give(frame(DATA, 0, 1, bytes(1_000)))
        await stream.gather(4_000)
        assert stream.unread == 4_000
        await stream.gather(3_000)  # is there
        assert await stream.read(9_000) == bytes(4_000)

    over(scene)


@pytest.mark.parametrize("flags", [0, FIN])
def test_a_message_that_stays_away_is_not_waited_for(flags):
    """Whoever reads it waits with his own patience, and learns by reading that the stream has ended."""

    async def scene(wire, muxer):
        wire.give(frame(WINDOW, SYN, 1) + frame(DATA, flags, 1, b"half"))
        stream = await muxer.accept_stream()
        await stream.gather(1_000)
        assert await stream.read(1_000) == b"half"

    over(scene)


def test_more_than_half_a_window_is_not_waited_for():
    async def scene(wire, muxer):
        stream = await opened(wire, muxer)
        await stream.write(b"go on")
        half = ((1 << 18) + WELCOME) // 2
        for _ in range(half // (1 << 16)):
            wire.give(frame(DATA, 0, 1, bytes(1 << 16)))
        with trio.fail_after(GATHERING / 2):
            await stream.gather(1 << 24)
        assert stream.unread == half

    over(scene)


@pytest.mark.parametrize("grows", [True, False])
def test_a_window_grows_with_what_is_read_of_it_where_it_may(grows):
    async def scene(wire, muxer):
        stream = await opened(wire, muxer)
        stream.grows, stream._effective_rtt = grows, lambda: 60.0
        for _ in range(2):
            granted = stream.recv_window
            for _ in range(granted >> 16):
                wire.give(frame(DATA, 0, 1, bytes(1 << 16)))
            left = granted >> 16 << 16
            while left:
                left -= len(await stream.read(left))
        assert (stream.recv_window > (1 << 18) + WELCOME) == grows

    over(scene)


def test_more_than_the_window_ends_the_connection():
    async def scene(wire, muxer):
        stream = await opened(wire, muxer)
        await stream.write(b"go on")
        for _ in range(((1 << 18) + WELCOME) // (1 << 16) + 1):
            wire.give(frame(DATA, 0, 1, bytes(1 << 16)))
        await muxer.event_shutting_down.wait()

    over(scene)


def test_an_answer_is_given_also_where_the_stream_is_only_reset():
    async def scene(wire, muxer):
        await (await opened(wire, muxer)).reset()
        (written,) = wire.writes
        assert written.startswith(frame(WINDOW, ACK, 1, length=WELCOME))

    over(scene)


def test_who_takes_no_frames_opens_no_further_streams():
    async def scene(wire, muxer):
        reads_again = trio.Event()

        async def stuck(_):
            await reads_again.wait()

        stream = await opened(wire, muxer)
        wire.write = stuck
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.write, b"never read")
            await trio.testing.wait_all_tasks_blocked()
            for number in range(3, 203, 2):
                wire.give(frame(WINDOW, SYN, number))
                await trio.testing.wait_all_tasks_blocked()
            assert set(muxer.streams) == {1, 3}
            reads_again.set()
        for _ in range(10):
            await muxer.accept_stream()

    over(scene)


# --- the lock ------------------------------------------------------------------------------------------------


def test_a_lock_is_handed_on_in_the_order_of_asking():
    async def scene():
        lock, order, inside = Handed(), [], []

        async def task(number):
            async with lock:
                inside.append(number)
                assert inside == [number]
                await trio.sleep(0)
                order.append(number)
                inside.clear()

        async with trio.open_nursery() as nursery:
            async with lock:
                for number in range(5):
                    nursery.start_soon(task, number)
                    await trio.testing.wait_all_tasks_blocked()
            async with lock:  # the first one's turn has come before ours
                assert order == [0, 1, 2, 3, 4]

    trio.run(scene)


def test_who_no_longer_waits_is_passed_over():
    async def scene():
        lock, reached = Handed(), []

        async def task(number, scope):
            with scope:
                async with lock:
                    reached.append(number)

        scopes = [trio.CancelScope() for _ in range(3)]
        async with trio.open_nursery() as nursery:
            async with lock:
                for number, scope in enumerate(scopes):
                    nursery.start_soon(task, number, scope)
                    await trio.testing.wait_all_tasks_blocked()
                scopes[1].cancel()
                await trio.testing.wait_all_tasks_blocked()
            scopes[0].cancel()  # too late: it has been handed over
        assert reached == [0, 2]
        async with lock:  # and it is free again
            reached.append(3)

    trio.run(scene)


def test_a_lock_is_free_again_after_an_error():
    async def scene():
        lock = Handed()
        with pytest.raises(ZeroDivisionError):
            async with lock:
                raise ZeroDivisionError
        with trio.fail_after(1):
            async with lock:
                pass

    trio.run(scene)


def test_who_only_takes_a_free_lock_lets_others_go_on_now_and_then():
    async def scene():
        lock, turns = Handed(), []

        async def other():
            while True:
                turns.append(len(turns))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(10 * TURN):
                async with lock:
                    pass
            nursery.cancel_scope.cancel()
        assert 5 <= len(turns) <= 20

    trio.run(scene)


def test_who_was_cancelled_takes_no_lock():
    async def scene():
        lock = Handed()
        with trio.CancelScope() as scope:
            scope.cancel()
            async with lock:
                raise AssertionError("unreachable")
        assert scope.cancelled_caught
        async with lock:
            pass

    trio.run(scene)
