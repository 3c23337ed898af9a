import asyncio
import itertools
import os

import pytest

from node import peers as peers_module
from node.addresses import peer_in
from node.p2p.door import Door
from node.p2p.events import Gossip, PeerInfo, Unreachable
from node.peers import BAN_TIME, KNOWN, LEARNED, Peers, backoff
from tests.unit.node.p2p_parts import TOPIC, Log, doors, make_door, meshed, until

IDS = [f"12D3KooW{letter * 44}" for letter in "ABCDEFGHJKLMNPQRSTUV"]


def addr_of(peer: str, port: int = 4001) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"


class Loopback(Door):
    """A door whose host is never started: dials succeed or fail as the test says, bans are noted."""

    def __init__(self) -> None:
        super().__init__(key=os.urandom(32), port=0, agent="test/1", topics={}, handlers={})
        self.peer_id = IDS[0]
        self.dialled: list[str] = []
        self.reachable = True
        self.banned: list[tuple[str, float]] = []

    async def connect(self, addr: str, timeout: float = 10) -> str:
        self.dialled.append(addr)
        if not self.reachable:
            raise Unreachable("connection refused")
        peer = peer_in(addr)
        assert peer is not None
        self._peers[peer] = PeerInfo(peer, addr, True, 0.0)
        return peer

    def ban(self, peer: str, seconds: float) -> None:
        self._peers.pop(peer, None)
        self.banned.append((peer, seconds))


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def settle(peers: Peers) -> None:
    """One look at who is missing, and the dials that follow from it."""
    for target in peers._due():
        await peers._dial(target)


def test_bootstrap_peers_are_redialled_for_ever_with_growing_pauses():
    async def scene():
        door, clock = Loopback(), Clock()
        door.reachable = False
        peers = Peers(door, [addr_of(IDS[1])], clock)
        times = []
        for _ in range(4_000):
            clock.now += 0.25
            before = len(door.dialled)
            await settle(peers)
            times += [clock.now] * (len(door.dialled) - before)
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert pauses[0] <= 1.5 and 45 <= pauses[-1] <= 75.25 and len(times) > 15
        assert all(later >= earlier for earlier, later in itertools.pairwise(pauses[:6]))

        door.reachable = True
        clock.now += 100
        await settle(peers)
        door._peers.clear()
        clock.now += 1
        await settle(peers)  # a success begins the pauses anew
        assert [peer.id for peer in door.peers()] == [IDS[1]]

    asyncio.run(scene())


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (6, 32), (7, 60), (10_000, 60)])
def test_pauses_double_up_to_a_minute_give_or_take_a_quarter(failures, seconds):
    assert all(0.75 * seconds <= backoff(failures) <= 1.25 * seconds for _ in range(100))


def test_nobody_is_dialled_twice_and_oneself_never():
    async def scene():
        door = Loopback()
        peers = Peers(door, [addr_of(door.peer_id), addr_of(IDS[1]), addr_of(IDS[1], port=4002)])
        await settle(peers)
        await settle(peers)
        assert door.dialled == [addr_of(IDS[1])]

    asyncio.run(scene())


def test_a_bootstrap_address_without_an_id_is_refused_in_words():
    with pytest.raises(ValueError, match="bootstrap address localhost:4001 is not of the form"):
        Peers(Loopback(), ["localhost:4001"])


def test_learned_addresses_are_tried_up_to_a_number_and_forgotten_when_hopeless():
    async def scene():
        door, clock = Loopback(), Clock()
        peers = Peers(door, [], clock)
        for peer in IDS[1:15]:
            peers.learn(addr_of(peer))
        for nonsense in ("", "/ip4/1.2.3.4/tcp/1", addr_of(door.peer_id)):
            peers.learn(nonsense)
        await settle(peers)
        await settle(peers)
        assert len(door.dialled) == len(door.peers()) == LEARNED

        door.reachable = False
        door._peers.clear()
        for _ in range(20):
            clock.now += 100
            await settle(peers)
        assert not peers._targets
        clock.now += 100
        before = len(door.dialled)
        await settle(peers)
        assert len(door.dialled) == before

    asyncio.run(scene())


def test_several_addresses_of_a_learned_peer_are_tried_in_turn():
    async def scene():
        door, clock = Loopback(), Clock()
        peers = Peers(door, [], clock)
        door.reachable = False
        for port in range(1, 9):
            peers.learn(addr_of(IDS[1], port))
        for _ in range(3):
            await settle(peers)
        assert door.dialled == [addr_of(IDS[1], port) for port in (1, 2, 3)]

    asyncio.run(scene())


def test_what_strangers_tell_is_bounded():
    peers = Peers(Loopback(), [])
    for port in range(2 * KNOWN):
        peers.learn(addr_of(f"12D3KooW{port:044d}".replace("0", "z"), port=port))
    assert len(peers._targets) == KNOWN


def test_penalties_add_up_fade_and_end_in_a_ban_that_ends():
    async def scene():
        door, clock = Loopback(), Clock()
        peers = Peers(door, [addr_of(IDS[1])], clock)
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

    monkeypatch.setattr(peers_module, "PING_EVERY", 0.1)
    monkeypatch.setattr(peers_module, "PING_TIME", 0.2)

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
