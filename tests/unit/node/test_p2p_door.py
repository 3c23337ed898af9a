import asyncio
import hashlib
import socket

import pytest

from node.p2p.events import (
    AskTimeout,
    Gossip,
    HostDown,
    Limits,
    ListenError,
    PeerDown,
    PeerGone,
    PeerUp,
    Refused,
    ReplyTooLarge,
    TooLarge,
    Unreachable,
)
from tests.unit.node.p2p_parts import TOPIC, Log, doors, make_door, meshed, noise, until


def test_both_sides_see_a_connection_come_and_go():
    async def scene():
        async with doors(2) as (a, b):
            (seen_by_a,), (seen_by_b,) = a.peers(), b.peers()
            assert (seen_by_a.id, seen_by_a.outbound) == (b.peer_id, False)
            assert (seen_by_b.id, seen_by_b.outbound) == (a.peer_id, True)
            assert a.addrs[0].startswith("/ip4/127.0.0.1/tcp/") and a.addrs[0].endswith(f"/p2p/{a.peer_id}")
            log = Log(b)
            await a.close(b.peer_id)
            await until(lambda: not a.peers() and log.of(PeerDown))
            assert log.of(PeerUp) == [PeerUp(a.peer_id, seen_by_b.addr, True)]
            with pytest.raises(PeerGone):
                await a.ask(b.peer_id, "/echo/1", b"", timeout=1, max_reply=1)

    asyncio.run(scene())


def test_requests_are_answered_both_ways():
    async def scene():
        async with doors(2) as (a, b):
            assert await a.ask(b.peer_id, "/echo/1", b"to b", timeout=5, max_reply=10) == b"to b"
            assert await b.ask(a.peer_id, "/echo/1", b"to a", timeout=5, max_reply=10) == b"to a"
            assert await b.ask(a.peer_id, "/echo/1", b"", timeout=5, max_reply=0) == b""
            assert 0 < await a.ping(b.peer_id, 5) < 5

    asyncio.run(scene())


def test_ten_megabytes_arrive_whole():
    sent = []

    async def remembered(peer, request):
        sent.append(await noise(peer, request))
        return sent[-1]

    async def scene():
        async with doors(2, handlers={"/noise/1": remembered}) as (a, b):
            reply = await a.ask(b.peer_id, "/noise/1", b"10000000", timeout=30, max_reply=10_000_000)
            assert hashlib.sha256(reply).digest() == hashlib.sha256(sent[0]).digest()

    asyncio.run(scene())


def test_every_way_of_not_answering_has_its_error():
    async def scene():
        async with doors(2) as (a, b):

            async def ask(protocol, request=b"", timeout=5.0, max_reply=100):
                return await a.ask(b.peer_id, protocol, request, timeout=timeout, max_reply=max_reply)

            with pytest.raises(AskTimeout, match=r"within 0\.3 s"):
                await ask("/silence/1", timeout=0.3)
            with pytest.raises(Refused, match="^no such block$"):
                await ask("/refuse/1")
            with pytest.raises(Refused, match="^internal error$"):
                await ask("/fail/1")
            with pytest.raises(Refused, match="does not speak /other/1"):
                await ask("/other/1")
            with pytest.raises(ReplyTooLarge, match="announced 101 bytes where 100 are allowed"):
                await ask("/noise/1", b"101")
            with pytest.raises(TooLarge, match="65,537 bytes"):
                await ask("/echo/1", bytes(65_537))
            assert await ask("/echo/1", b"still there") == b"still there"

    asyncio.run(scene())


def test_one_peer_cannot_occupy_all_handlers():
    async def scene():
        async with doors(2, limits=Limits(handlers=2)) as (a, b):
            stuck = [
                asyncio.create_task(a.ask(b.peer_id, "/silence/1", b"", timeout=20, max_reply=1))
                for _ in range(2)
            ]
            await asyncio.sleep(0.3)
            with pytest.raises(Refused, match="busy: more than 2 requests at once"):
                await a.ask(b.peer_id, "/echo/1", b"", timeout=5, max_reply=1)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            await until(
                lambda: not b._host.exchange._handling
            )  # nobody waits for them, so they are cancelled
            assert await a.ask(b.peer_id, "/echo/1", b"x", timeout=5, max_reply=1) == b"x"

    asyncio.run(scene())


def test_a_peer_that_goes_away_ends_its_requests():
    async def scene():
        async with doors(2) as (a, b):
            asking = asyncio.create_task(a.ask(b.peer_id, "/silence/1", b"", timeout=20, max_reply=1))
            await asyncio.sleep(0.2)
            await b.stop()
            with pytest.raises(PeerGone):
                await asyncio.wait_for(asking, 5)

    asyncio.run(scene())


def test_a_burst_of_gossip_arrives_complete_and_in_order():
    async def scene():
        async with doors(2) as (a, b):
            log = Log(b)
            for i in range(300):
                await a.publish(TOPIC, b"%d" % i)
            await until(lambda: len(log.of(Gossip)) == 300)
            assert log.of(Gossip) == [Gossip(TOPIC, a.peer_id, a.peer_id, b"%d" % i) for i in range(300)]

    asyncio.run(scene())


def test_gossip_is_forwarded_and_delivered_once_whoever_says_it():
    async def scene():
        async with doors(3) as (hub, a, b):
            logs = Log(hub), Log(a), Log(b)
            await a.publish(TOPIC, b"head 7")
            await b.publish(TOPIC, b"head 7")
            await a.publish(TOPIC, b"head 8")
            await until(lambda: all(len(log.of(Gossip)) >= 1 for log in logs))
            await until(lambda: Gossip(TOPIC, hub.peer_id, a.peer_id, b"head 8") in logs[2].events)
            await asyncio.sleep(0.2)
            assert [event.content for event in logs[0].of(Gossip)] == [b"head 7", b"head 8"]
            assert {event.peer for log in logs[1:] for event in log.of(Gossip)} == {hub.peer_id}

    asyncio.run(scene())


def test_what_the_validator_ignores_is_not_delivered():
    async def scene():
        async with doors(2) as (a, b):
            log = Log(b)
            await a.publish(TOPIC, b"stale head")
            await a.publish(TOPIC, b"head")
            await until(lambda: log.of(Gossip))
            assert [event.content for event in log.of(Gossip)] == [b"head"]

    asyncio.run(scene())


def test_a_message_too_large_for_the_wire_is_refused_at_once_and_the_largest_arrives():
    async def scene():
        async with doors(2) as (a, b):
            log = Log(b)
            with pytest.raises(TooLarge, match="1,000,001 bytes"):
                await a.publish(TOPIC, bytes(1_000_001))
            await a.publish(TOPIC, bytes(1_000_000))
            await until(lambda: log.of(Gossip))
            assert len(log.of(Gossip)[0].content) == 1_000_000

    asyncio.run(scene())


def test_a_slow_reader_loses_gossip_but_no_news_of_peers():
    async def scene():
        async with doors(2, limits=Limits(events=10)) as (a, b):
            for i in range(30):
                await a.publish(TOPIC, b"%d" % i)
            await until(lambda: b._gossip_dropped == 20)
            await a.stop()
            await until(lambda: not b.peers())
            log = Log(b)
            await until(lambda: log.of(PeerDown))
            assert [event.content for event in log.of(Gossip)] == [b"%d" % i for i in range(10)]

    asyncio.run(scene())


def test_addresses_that_lead_nowhere_say_why():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]

        async def scene():
            async with doors(2) as (a, b):
                stranger = make_door(7)
                await stranger.start()
                await stranger.stop()
                for addr, why in [
                    ("/ip4/127.0.0.1/tcp/4001", "no address of a peer"),
                    ("localhost:4001", "no address of a peer"),
                    (a.addrs[0], "is this node itself"),
                    (f"/ip4/127.0.0.1/tcp/{closed}/p2p/{stranger.peer_id}", "Connection refused"),
                    (b.addrs[0].replace(b.peer_id, stranger.peer_id), "another node answers there"),
                ]:
                    with pytest.raises(Unreachable, match=why):
                        await a.connect(addr)

        asyncio.run(scene())


def test_a_listener_that_never_speaks_is_given_up():
    async def scene():
        a = make_door()
        await a.start()
        server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(30), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable, match=r"did not answer within 0\.5 s"):
            await a.connect(f"/ip4/127.0.0.1/tcp/{port}/p2p/{make_id()}", timeout=0.5)
        server.close()
        await a.stop()

    asyncio.run(scene())


def make_id() -> str:
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    return str(ID.from_pubkey(create_new_key_pair(bytes(32)).public_key))


def test_a_port_in_use_is_named():
    async def scene():
        async with doors(1) as (a,):
            port = a.addrs[0].split("/")[4]
            b = make_door(port=int(port))
            with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1 port {port}: it is in use"):
                await b.start()

    asyncio.run(scene())


def test_peers_that_dial_each_other_at_once_are_one_peer():
    async def scene():
        a, b = make_door(), make_door()
        await a.start()
        await b.start()
        log = Log(a)
        await asyncio.gather(a.connect(b.addrs[0]), b.connect(a.addrs[0]))
        await until(lambda: a.peers() and b.peers())
        assert await a.ask(b.peer_id, "/echo/1", b"x", timeout=5, max_reply=1) == b"x"
        assert len(a.peers()) == len(log.of(PeerUp)) == 1
        await a.close(b.peer_id)
        await until(lambda: not a.peers() and not b.peers())
        await a.stop()
        await b.stop()

    asyncio.run(scene())


def test_a_banned_peer_is_shut_out_until_its_time_is_up():
    async def scene():
        async with doors(2) as (a, b):
            a.ban(b.peer_id, 1.5)
            await until(lambda: not a.peers() and not b.peers())
            with pytest.raises(Unreachable, match="is banned here"):
                await a.connect(b.addrs[0])
            for _ in range(3):
                try:  # the other end may believe in the connection for a moment
                    await b.connect(a.addrs[0])
                    await b.ask(a.peer_id, "/echo/1", b"", timeout=1, max_reply=1)
                except (Unreachable, PeerGone):
                    continue
                raise AssertionError("a banned peer was served")
            assert not a.peers()
            await asyncio.sleep(1.5)
            await until(lambda: not b.peers())
            await b.connect(a.addrs[0])
            assert await b.ask(a.peer_id, "/echo/1", b"x", timeout=5, max_reply=1) == b"x"

    asyncio.run(scene())


def test_a_crash_of_the_host_is_an_error_for_callers_and_then_over():
    def explode():
        raise MemoryError("in the middle of libp2p")

    async def scene():
        async with doors(2) as (a, b):
            log, addrs = Log(a), list(a.addrs)
            asking = asyncio.create_task(a.ask(b.peer_id, "/silence/1", b"", timeout=20, max_reply=1))
            await asyncio.sleep(0.2)
            a._bridge._token.run_sync_soon(explode)  # an exception that no guard can catch ends trio itself
            with pytest.raises(HostDown, match="crashed|stopped"):
                await asyncio.wait_for(asking, 5)
            await until(lambda: log.of(PeerDown))
            assert a.peers() == []
            await until(lambda: a._host is not None)
            assert a.addrs == addrs
            await until(lambda: not b.peers())
            await b.connect(a.addrs[0])
            await until(lambda: a.peers())
            await meshed(a, [b])
            await b.publish(TOPIC, b"after the crash")
            await until(lambda: log.of(Gossip))
            assert await a.ask(b.peer_id, "/echo/1", b"x", timeout=5, max_reply=1) == b"x"

    asyncio.run(scene())


def test_a_stopped_door_says_so_and_ends_its_events():
    async def scene():
        a = make_door()
        await a.start()
        log = Log(a)
        await a.stop()
        await asyncio.wait_for(log.ended, 5)
        with pytest.raises(HostDown):
            await a.publish(TOPIC, b"")

    asyncio.run(scene())
