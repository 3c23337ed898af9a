"""The parts of node/peers put together, some with real doors."""

import asyncio
import time

import pytest

from node.p2p.events import Gossip
from node.peers import BAN_SCORE, Peers
from node.peers import pings as pings_module
from node.peers.file import Ban, Known, Remembered
from node.peers.peers import ANCHORS
from node.peers.penalties import BAN_TIME
from tests.unit.node.p2p_parts import TOPIC, Log, doors, make_door, meshed, until
from tests.unit.node.peers_parts import IDS, Clock, Loopback, addr_of


async def settle(peers: Peers) -> None:
    """One look at who is missing, and the dials that follow from it."""
    for entry in peers._dialler.due():
        await peers._dialler.dial(entry)


def known(peers: Peers) -> set[str]:
    return {known.addr for known in peers.remembered().addresses}


def test_a_bootstrap_address_without_an_id_is_refused_in_words():
    with pytest.raises(ValueError, match="bootstrap address localhost:4001 is not of the form"):
        Peers(Loopback(), ["localhost:4001"])


def test_a_node_that_knows_nobody_knows_so():
    assert Peers(Loopback(), []).knows_nobody
    assert not Peers(Loopback(), ["/dnsaddr/boot.example"]).knows_nobody
    assert not Peers(Loopback(), [addr_of(IDS[1])]).knows_nobody
    assert not Peers(Loopback(), [], Remembered((Known(addr_of(IDS[1]), None),))).knows_nobody


def test_nonsense_and_our_own_addresses_are_not_learned():
    door = Loopback()
    peers = Peers(door, [])
    for addr in ("", "/ip4/1.2.3.4/tcp/1", addr_of(door.peer_id), addr_of(door.peer_id, ip="20.1.1.1")):
        peers.learn(addr)
    assert peers.knows_nobody


@pytest.mark.parametrize(
    ("teller", "taken"),
    [
        ("127.0.0.1", {"127.0.0.1", "192.168.1.7", "20.1.1.1"}),
        ("192.168.1.9", {"192.168.1.7", "20.1.1.1"}),
        ("30.1.1.1", {"20.1.1.1"}),
    ],
)
def test_who_is_far_away_does_not_tell_of_our_own_house(teller, taken):
    door = Loopback()
    door.join(IDS[1], teller)
    peers = Peers(door, [])
    for ip in ("127.0.0.1", "192.168.1.7", "20.1.1.1"):
        peers.learn(addr_of(IDS[2], ip=ip), IDS[1])
    assert known(peers) == {addr_of(IDS[2], ip=ip) for ip in taken}


def test_penalties_add_up_to_a_ban_and_fade():
    async def scene():
        door, clock = Loopback(), Clock()
        peers = Peers(door, [addr_of(IDS[1])], clock=clock)
        await settle(peers)
        peers.penalise(IDS[1], 60, "garbage")
        clock.now += 600
        (row,) = peers.table()
        assert (row.score, row.reason, row.direction, row.banned_until) == (30, "garbage", "out", None)
        peers.penalise(IDS[1], 69, "more garbage")
        assert door.banned == []
        peers.penalise(IDS[1], 20, "a false block")
        assert door.banned == [(IDS[1], BAN_TIME)]
        (row,) = peers.table()
        assert row.direction is None and row.reason == "a false block" and row.banned_until is not None

        clock.now += BAN_TIME - 1
        await settle(peers)
        assert not door.peers()
        clock.now += 2
        await settle(peers)
        assert [peer.id for peer in door.peers()] == [IDS[1]]
        assert peers.table()[0].banned_until is None

    asyncio.run(scene())


def test_a_node_remembers_whom_it_knew_whom_it_was_connected_to_and_whom_it_banned():
    async def scene():
        door = Loopback()
        peers = Peers(door, [addr_of(IDS[1])])
        for number, peer in enumerate(IDS[2:12]):
            peers.learn(addr_of(peer, ip=f"20.{number}.1.1"))
        await settle(peers)
        peers.penalise(IDS[1], BAN_SCORE, "a false block")
        door.join(IDS[15])
        found = peers.remembered()
        outbound = [f"{peer.addr}/p2p/{peer.id}" for peer in door.peers() if peer.outbound]
        assert list(found.anchors) == outbound[:ANCHORS]
        assert [one.worked is not None for one in found.addresses] == [True] * 8 + [False] * 3
        (ban,) = found.bans
        assert ban.peer == IDS[1]

        door = Loopback()
        again = Peers(door, [addr_of(IDS[1])], found, slots=ANCHORS)
        await settle(again)
        assert set(door.dialled) == set(found.anchors), "anchors first"
        assert known(again) == known(peers)
        assert [peer for peer, _ in door.banned] == [IDS[1]]
        assert again.table()[-1].reason == "a false block"

    asyncio.run(scene())


def test_a_book_of_strange_things_is_read_as_far_as_it_makes_sense():
    now = int(time.time())
    found = Remembered(
        (Known("nonsense", now), Known(addr_of(IDS[0]), now), Known(addr_of(IDS[1]), now)),
        ("nowhere",),
        (Ban("nobody", now + 100, ""),),
    )

    async def scene():
        door = Loopback()
        await settle(Peers(door, [], found))
        assert door.dialled == [addr_of(IDS[1])]

    asyncio.run(scene())


def test_a_restarted_peer_is_reconnected_and_gossip_flows_again():
    async def scene():
        async with doors(1) as (home,):
            away = make_door(9)
            await away.start()
            peers = Peers(home, [away.addrs[0]])
            running = asyncio.create_task(peers.run())
            await until(home.peers)

            port = int(away.addrs[0].split("/")[4])
            await away.stop()
            await until(lambda: not home.peers())
            away = make_door(9, port=port)
            await away.start()
            await until(home.peers)
            await meshed(home, [away])
            log = Log(home)
            await away.publish(TOPIC, b"back again")
            await until(lambda: Gossip(TOPIC, away.peer_id, away.peer_id, b"back again") in log.events)

            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await away.stop()

    asyncio.run(scene())


def test_a_frozen_peer_is_evicted(monkeypatch):
    async def frozen(peer: str, request: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(pings_module, "PING_EVERY", 0.1)
    monkeypatch.setattr(pings_module, "PING_TIME", 0.2)

    async def scene():
        async with doors(1) as (home,):
            away = make_door(handlers={"/deepblock/ping/1": frozen})
            alive = make_door()
            for door in (away, alive):
                await door.start()
                await door.connect(home.addrs[0])
            running = asyncio.create_task(Peers(home, []).run())
            await until(lambda: [peer.id for peer in home.peers()] == [alive.peer_id])
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await away.stop()
            await alive.stop()

    asyncio.run(scene())
