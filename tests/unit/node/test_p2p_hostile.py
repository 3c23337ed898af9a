"""What a stranger may send: the door stays up, names the peer, hangs up, and goes on serving the others."""

import asyncio
from contextlib import suppress

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_uvarint, encode_varint_prefixed

from node.p2p import guards, wire
from node.p2p.events import Fault, Gossip, Limits, Unreachable
from node.p2p.negotiation import GREETING
from tests.unit.node.p2p_parts import (
    MESHSUB,
    TOPIC,
    Log,
    doors,
    frame,
    hostile,
    make_door,
    sending,
    signed,
    still_serves,
    until,
)

unknown_key = rpc_pb2.Message(
    data=b"x",
    topicIDs=[TOPIC],
    from_id=b"\x12\x20" + bytes(32),
    seqno=b"1",
    signature=b"s",
    key=b"\xff\xff\xff",
)
no_peer_id = rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=b"", seqno=b"1", signature=b"s")

FAULTS = {
    "undecodable frame": (MESHSUB, encode_varint_prefixed(b"\xff" * 64), "undecodable gossip frame"),
    "oversized frame": (MESHSUB, encode_uvarint(2**21) + bytes(1000), "oversized gossip frame"),
    "endless length": (MESHSUB, b"\xff" * 32, "invalid gossip frame"),
    "undecodable key": (MESHSUB, frame(unknown_key), "undecodable gossip frame"),
    "forged record": (MESHSUB, frame(senderRecord=b"not an envelope"), "forged sender record"),
    "malformed message": (MESHSUB, frame(signed(b"malformed!")), "invalid message on blocks: ValueError"),
    "oversized request": (
        "/echo/1",
        wire.HEADER.pack(wire.OK, 10**12),
        "/echo/1: announced 1,000,000,000,000 bytes",
    ),
    "unknown status": ("/echo/1", wire.HEADER.pack(77, 1), "/echo/1: unknown status 77"),
}

NO_FAULTS = {
    "truncated frame": (MESHSUB, encode_uvarint(1000) + bytes(10)),
    "unsigned message": (
        MESHSUB,
        frame(rpc_pb2.Message(data=b"x", topicIDs=[TOPIC], from_id=b"a", seqno=b"1")),
    ),
    "message without author": (MESHSUB, frame(no_peer_id)),
    "unknown topic": (MESHSUB, frame(signed(b"x", topics=("weather",)))),
    "two topics": (MESHSUB, frame(signed(b"x", topics=(TOPIC, "weather")))),
    "prune of nonsense": (
        MESHSUB,
        frame(control=rpc_pb2.ControlMessage(prune=[rpc_pb2.ControlPrune(topicID="\0" * 99)])),
    ),
    "want of nonsense": (
        MESHSUB,
        frame(control=rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[b"\xff\xfe"])])),
    ),
    "half a request": ("/echo/1", wire.HEADER.pack(wire.OK, 1000) + b"x"),
    "unknown protocol": ("/ipfs/ping/1.0.0", b"short"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_protocol_is_a_fault_of_the_neighbour(name):
    protocol, data, reason = FAULTS[name]

    async def scene():
        async with doors(2) as (victim, friend):
            log = Log(victim)
            enemy = await hostile(victim.addrs[0], sending(protocol, data))
            await until(lambda: log.of(Fault))
            assert {fault.peer for fault in log.of(Fault)} == {enemy}
            assert reason in log.of(Fault)[0].reason
            await until(lambda: len(victim.peers()) == 1)
            await still_serves(victim, friend, log)

    asyncio.run(scene())


def test_oddities_that_honest_versions_may_send_are_survived_without_a_fault():
    async def scene():
        async with doors(2) as (victim, friend):
            log = Log(victim)
            for protocol, data in NO_FAULTS.values():
                await hostile(victim.addrs[0], sending(protocol, data))
            await until(lambda: len(victim.peers()) == 1)
            assert log.of(Fault) == [] and log.of(Gossip) == []
            await still_serves(victim, friend, log)

    asyncio.run(scene())


def test_a_hoard_of_streams_is_cut():
    async def hoard(host, victim):
        opened = 0
        for _ in range(40):
            try:
                with trio.fail_after(2):
                    await host.new_stream(victim, [TProtocol("/echo/1")])
                opened += 1
            except Exception:
                break
        assert opened <= 8

    async def scene():
        async with doors(2, limits=Limits(streams=8)) as (victim, friend):
            log = Log(victim)
            enemy = await hostile(victim.addrs[0], hoard)
            await until(lambda: Fault(enemy, "more than 8 streams at once") in log.of(Fault))
            await until(lambda: len(victim.peers()) == 1)
            await still_serves(victim, friend, log)

    asyncio.run(scene())


ENDLESS = encode_uvarint(2**40) + b"x" * 1_000
"""The beginning of a line of a terabyte, for who wants to know which protocol it is about."""


def test_a_stream_that_names_a_protocol_without_end_is_reset_before_it_has_come():
    async def greet(host, victim):
        stream = await host.get_network().new_stream(victim)
        await stream.write(GREETING + ENDLESS)
        with trio.fail_after(3):
            while not stream.muxed_stream.closed:
                await trio.sleep(0.02)

    async def scene():
        async with doors(2) as (victim, friend):
            log = Log(victim)
            await hostile(victim.addrs[0], greet)
            await until(lambda: len(victim.peers()) == 1)
            await still_serves(victim, friend, log)

    asyncio.run(scene())


@pytest.mark.parametrize("said", [b"", GREETING])
def test_a_connection_that_begins_so_is_closed_before_anybody_is_known(said):
    async def scene():
        async with doors(1) as (victim,):
            _, _, host, _, port, *_ = victim.addrs[0].split("/")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(said + ENDLESS)
            with suppress(ConnectionResetError):  # as good as closed
                async with asyncio.timeout(3):
                    await reader.read()
            writer.close()

    asyncio.run(scene())


def test_bytes_that_nobody_reads_end_the_connection():
    async def pour(host, victim):
        stream = await host.new_stream(victim, [TProtocol("/echo/1")])
        await stream.write(wire.HEADER.pack(wire.OK, 10))
        stream.muxed_stream.send_window = 1 << 30  # a sender that does not care what window it was given
        try:
            for _ in range(200):
                await stream.write(bytes(60_000))
        except Exception:
            return
        raise AssertionError("12 MB were taken without a reader")

    async def scene():
        async with doors(2, handlers={"/echo/1": wait_forever}, limits=Limits(unread=1_000_000)) as (
            victim,
            friend,
        ):
            await hostile(victim.addrs[0], pour)
            await until(lambda: len(victim.peers()) == 1)
            assert await friend.ping(victim.peer_id, 5) < 5

    asyncio.run(scene())


def test_more_than_a_window_ends_the_connection():
    """The victim waits for a handler, and reads nothing meanwhile: a window of 256 KiB is what it has granted."""
    sent = []

    async def pour(host, victim):
        stream = await host.new_stream(victim, [TProtocol("/echo/1")])
        await stream.write(wire.HEADER.pack(wire.OK, 10) + bytes(10))
        stream.muxed_stream.send_window = 1 << 30
        with suppress(Exception):
            while len(sent) < 200:
                await stream.write(bytes(60_000))
                sent.append(60_000)

    async def scene():
        async with doors(2, handlers={"/echo/1": wait_forever}) as (victim, friend):
            await hostile(victim.addrs[0], pour)
            await until(lambda: len(victim.peers()) == 1)
            assert await friend.ping(victim.peer_id, 5) < 5

    asyncio.run(scene())
    assert sum(sent) < 8_000_000  # what was on its way, in the kernel's buffers too


def test_who_does_not_read_what_it_asked_for_is_hung_up_on():
    async def ask(host, victim):
        stream = await host.new_stream(victim, [TProtocol("/noise/1")])
        await stream.write(wire.HEADER.pack(wire.OK, 7) + b"9000000")  # more than any window
        await trio.sleep(1.5)

    async def scene():
        async with doors(2, limits=Limits(stall=0.5)) as (victim, friend):
            log = Log(victim)
            enemy = await hostile(victim.addrs[0], ask)
            await until(lambda: log.of(Fault))
            assert log.of(Fault) == [Fault(enemy, "/noise/1: nothing could be written for 0.5 s")]
            await until(lambda: len(victim.peers()) == 1)
            await still_serves(victim, friend, log)

    asyncio.run(scene())


async def wait_forever(peer: str, request: bytes) -> bytes:
    await asyncio.Event().wait()
    return b""


def test_more_inbound_connections_than_libp2p_has_slots_for():
    """libp2p's own handler never gives a slot back; here there are 8 of them for 20 visitors."""

    async def nothing(host, victim):
        return

    async def scene():
        async with doors(2, limits=Limits(connections=8)) as (victim, friend):
            for _ in range(4):
                await asyncio.gather(*(hostile(victim.addrs[0], nothing) for _ in range(5)))
            await until(lambda: len(victim.peers()) == 1)
            await still_serves(victim, friend, Log(victim))

    asyncio.run(scene())


def test_one_network_gets_a_part_of_the_inbound_slots_and_gives_it_back(monkeypatch):
    monkeypatch.setattr(guards, "group_of", lambda addr: "a group")

    async def scene():
        async with doors(2, limits=Limits(group=2)) as (victim, friend):
            second, third = make_door(), make_door()
            for door in (second, third):
                await door.start()
            await second.connect(victim.addrs[0])
            with pytest.raises(Unreachable):
                await third.connect(victim.addrs[0])
            await friend.stop()
            await until(lambda: len(victim.peers()) == 1)
            await third.connect(victim.addrs[0])
            await until(lambda: len(victim.peers()) == 2)
            for door in (second, third):
                await door.stop()

    asyncio.run(scene())


def test_the_machine_of_a_peer_that_was_cut_off_rests_and_so_does_that_of_a_banned_one(monkeypatch):
    """Connections that it has stay: others may live there."""
    monkeypatch.setattr(guards, "machine_of", lambda addr: "a machine")

    async def rude(host, victim):
        await sending(MESHSUB, b"\x05junk!")(host, victim)

    async def scene():
        async with doors(2, limits=Limits(rest=1.0)) as (victim, friend):
            stranger = make_door()
            await stranger.start()
            log = Log(victim)
            await hostile(victim.addrs[0], rude)
            await until(lambda: log.of(Fault))
            with pytest.raises(Unreachable):
                await stranger.connect(victim.addrs[0])
            assert friend.peer_id in {peer.id for peer in victim.peers()}
            await asyncio.sleep(1.0)
            await stranger.connect(victim.addrs[0])
            await until(lambda: len(victim.peers()) == 2)

            victim.ban(friend.peer_id, 60)
            await until(lambda: len(victim.peers()) == 1)
            other = make_door()
            await other.start()
            with pytest.raises(Unreachable):
                await other.connect(victim.addrs[0])
            for door in (stranger, other):
                await door.stop()

    asyncio.run(scene())
