"""More gossip than a node wants, and more of it wanted than it gives."""

import asyncio
from contextlib import suppress

import trio
from libp2p.custom_types import TProtocol
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from node.p2p.events import Fault, Gossip, Limits
from node.p2p.gossiper import WANTED, WANTED_A_SECOND, WANTED_AT_ONCE
from tests.unit.node.p2p_parts import (
    MESHSUB,
    TOPIC,
    Log,
    doors,
    frame,
    hostile,
    sending,
    signed,
    still_serves,
    until,
)


def counting(got):
    """A handler that notes how many messages each frame has."""

    async def listen(stream):
        with suppress(Exception):  # the end of the connection
            while True:
                data = await read_varint_prefixed_bytes_limited(stream, 1 << 20)
                got.append(len(rpc_pb2.RPC.FromString(data).publish))

    return listen


def test_a_flood_of_gossip_is_cut_and_blamed_on_the_neighbour():
    async def scene():
        async with doors(2, limits=Limits(gossip_rate=20)) as (victim, friend):
            log = Log(victim)
            flood = frame(*(signed(b"%d" % i) for i in range(300)))
            enemy = await hostile(victim.addrs[0], sending(MESHSUB, flood))
            await until(lambda: log.of(Fault))
            await until(lambda: len(victim.peers()) == 1)
            assert log.of(Fault) == [Fault(enemy, "more than 20 gossip messages a second")]
            assert 80 <= len(log.of(Gossip)) < 200  # a burst, and what was sent while that was read
            await still_serves(victim, friend, log)

    asyncio.run(scene())


def test_who_is_flooded_floods_nobody():
    """A node that has far more to pass on than a neighbour may send at once, passes it on slowly."""

    async def scene():
        async with doors(2, limits=Limits(gossip_rate=40)) as (victim, friend):
            log = Log(friend)
            for number in range(220):
                await victim.publish(TOPIC, b"%d" % number)
            await until(lambda: len(log.of(Gossip)) == 220, seconds=40)
            assert log.of(Fault) == [] and [peer.id for peer in friend.peers()] == [victim.peer_id]

    asyncio.run(scene())


def test_a_second_message_with_the_number_of_a_valid_one_is_looked_at():
    """libp2p remembers for five minutes that a number is valid, and for two that it has seen the message."""

    async def scene():
        async with doors(2) as (victim, friend):
            log, friends = Log(victim), Log(friend)
            await hostile(victim.addrs[0], sending(MESHSUB, frame(signed(b"fine", number=b"1"))))
            await until(lambda: log.of(Gossip) and friends.of(Gossip))
            victim._host.gossip.seen_messages.has = lambda id_: False  # two minutes later
            enemy = await hostile(
                victim.addrs[0], sending(MESHSUB, frame(signed(b"malformed!", number=b"1")))
            )
            await until(lambda: log.of(Fault))
            assert [fault.peer for fault in log.of(Fault)] == [enemy]
            await still_serves(victim, friend, log)
            assert friends.of(Fault) == []

    asyncio.run(scene())


def test_who_wants_everything_again_and_again_gets_a_part():
    """There are 100 messages of 10 kB, which it asks for 40 times."""
    got = []

    async def insist(host, victim):
        numbers = [b"%d" % number for number in range(100)]
        messages = [signed(bytes(9_900), number=number) for number in numbers]
        ids = [message.from_id + message.seqno for message in messages]
        wants = rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=ids)])
        stream = await host.new_stream(victim, [TProtocol(MESHSUB)])
        await stream.write(frame(*messages))
        await trio.sleep(1)
        for _ in range(40):
            await stream.write(frame(control=wants))
            await trio.sleep(0.1)

    async def scene():
        async with doors(2) as (victim, friend):
            log = Log(victim)
            await hostile(victim.addrs[0], insist, {MESHSUB: counting(got)})
            await until(lambda: len(victim.peers()) == 1)
            await still_serves(victim, friend, log)

    asyncio.run(scene())
    assert WANTED <= sum(got) <= WANTED_AT_ONCE + 10 * WANTED_A_SECOND
    assert max(got) <= WANTED


def test_control_messages_count_and_topics_that_there_are_not_are_forgotten():
    def of(topic, count):
        prunes = [rpc_pb2.ControlPrune(topicID=topic % number) for number in range(count)]
        return frame(control=rpc_pb2.ControlMessage(prune=prunes))

    async def scene():
        async with doors(2) as (victim, friend):
            log = Log(victim)
            await hostile(victim.addrs[0], sending(MESHSUB, of("topic %d", 1_000)))
            await until(lambda: len(victim.peers()) == 1)
            assert log.of(Fault) == []
            assert set(victim._host.router.back_off) <= {TOPIC}
            enemy = await hostile(victim.addrs[0], sending(MESHSUB, of("topic %d", 10_000)))
            await until(lambda: log.of(Fault))
            assert log.of(Fault) == [Fault(enemy, "more than 1000 gossip messages a second")]
            await until(lambda: len(victim.peers()) == 1)
            await still_serves(victim, friend, log)

    asyncio.run(scene())


def test_who_subscribes_gets_what_is_new_however_often_it_does():
    got = []

    async def insist(host, victim):
        stream = await host.new_stream(victim, [TProtocol(MESHSUB)])
        for number in range(40):
            subscribe = rpc_pb2.RPC.SubOpts(subscribe=number % 2 == 0, topicid=TOPIC)
            await stream.write(frame(subscriptions=[subscribe]))
        await trio.sleep(0.5)

    async def scene():
        async with doors(2) as (victim, _):
            for number in range(5):
                await victim.publish(TOPIC, b"%d" % number)
            await hostile(victim.addrs[0], insist, {MESHSUB: counting(got)})

    asyncio.run(scene())
    assert got and sum(got) == 0


def test_the_window_of_a_gossip_stream_stays_as_it_is():
    async def scene():
        async with doors(2) as (victim, _):
            (conn,) = victim._host.network.get_connections()
            gossip = [
                stream.muxed_stream for stream in conn.get_streams() if stream.get_protocol() == MESHSUB
            ]
            assert sorted((stream.is_initiator, stream.grows) for stream in gossip) == [
                (False, False),
                (True, True),
            ]

    asyncio.run(scene())
