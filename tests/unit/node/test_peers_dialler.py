"""Which addresses are dialled, when, and when again."""

import asyncio
import itertools
import time

import pytest

from node.backoff import backoff
from node.peers.book import AddressBook
from node.peers.dialler import PER_GROUP, SLOTS, Dialler
from tests.unit.node.peers_parts import IDS, Clock, Loopback, addr_of


def parts(**more) -> tuple[Loopback, AddressBook, Clock, Dialler]:
    door, book, clock = Loopback(), AddressBook(), Clock()
    return (
        door,
        book,
        clock,
        Dialler(door, book, more.pop("is_banned", lambda peer: False), clock=clock, **more),
    )


async def settle(dialler: Dialler) -> None:
    """One look at who is missing, and the dials that follow from it."""
    for entry in dialler.due():
        await dialler.dial(entry)


def test_bootstrap_peers_are_redialled_for_ever_with_growing_pauses():
    async def scene():
        door, book, clock, dialler = parts()
        door.reachable = False
        book.fix(addr_of(IDS[1]))
        times = []
        for _ in range(4_000):
            clock.now += 0.25
            before = len(door.dialled)
            await settle(dialler)
            times += [clock.now] * (len(door.dialled) - before)
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert pauses[0] <= 1.5 and 45 <= pauses[-1] <= 75.25 and len(times) > 15
        assert all(later >= earlier for earlier, later in itertools.pairwise(pauses[:6]))

        door.reachable = True
        clock.now += 100
        await settle(dialler)
        door._peers.clear()
        clock.now += 1
        await settle(dialler)  # a success begins the pauses anew
        assert [peer.id for peer in door.peers()] == [IDS[1]]

    asyncio.run(scene())


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (6, 32), (7, 60), (10_000, 60)])
def test_pauses_double_up_to_a_minute_give_or_take_a_quarter(failures, seconds):
    assert all(0.75 * seconds <= backoff(failures) <= 1.25 * seconds for _ in range(100))


def test_nobody_is_dialled_twice_and_oneself_never():
    async def scene():
        door, book, _, dialler = parts()
        for addr in (addr_of(door.peer_id), addr_of(IDS[1]), addr_of(IDS[1], port=4002)):
            book.fix(addr)
        await settle(dialler)
        await settle(dialler)
        assert len(door.dialled) == 1 and IDS[1] in door.dialled[0]

    asyncio.run(scene())


def test_slots_are_filled_and_not_more_than_those():
    async def scene():
        door, book, _, dialler = parts()
        for peer in IDS[1:15]:
            book.hear(addr_of(peer), None)
        await settle(dialler)
        await settle(dialler)
        assert len(door.dialled) == len(door.peers()) == SLOTS
        door._peers.pop(door.peers()[0].id)
        await settle(dialler)
        assert len(door.peers()) == SLOTS

    asyncio.run(scene())


def test_who_has_come_by_itself_takes_no_slot_and_is_not_dialled():
    async def scene():
        door, book, _, dialler = parts()
        for peer in IDS[1:13]:
            book.hear(addr_of(peer), None)
        for peer in IDS[1:5]:
            door.join(peer)
        await settle(dialler)
        assert {addr.split("/")[-1] for addr in door.dialled} == set(IDS[5:13])

    asyncio.run(scene())


def test_one_network_gets_few_slots_unless_the_operator_named_the_addresses():
    async def scene():
        door, book, _, dialler = parts()
        for number, peer in enumerate(IDS[1:6]):
            book.hear(addr_of(peer, ip=f"20.1.{number}.1"), None)
        for number, peer in enumerate(IDS[6:11]):
            book.hear(addr_of(peer, ip=f"2a00:1:{number}::1"), None)
        await settle(dialler)
        await settle(dialler)
        assert len([addr for addr in door.dialled if "/20.1." in addr]) == PER_GROUP
        assert len([addr for addr in door.dialled if "/2a00:1:" in addr]) == PER_GROUP
        for peer in IDS[11:13]:
            book.fix(addr_of(peer, ip="20.1.9.9"))
        await settle(dialler)
        assert len(door.peers()) == 2 * PER_GROUP + 2

    asyncio.run(scene())


def test_machines_of_ones_own_may_have_one_prefix():
    async def scene():
        door, book, _, dialler = parts()
        for number, peer in enumerate(IDS[1:6]):
            book.hear(addr_of(peer, ip=f"10.0.0.{number + 1}"), None)
        await settle(dialler)
        assert len(door.peers()) == 5

    asyncio.run(scene())


def test_with_few_slots_what_worked_is_dialled_and_what_nobody_has_seen_is_not():
    async def scene():
        door, book, _, dialler = parts(slots=2)
        for peer in IDS[1:15]:
            book.hear(addr_of(peer), None)
        for peer in IDS[15:17]:
            book.restore(addr_of(peer), int(time.time()), anchor=False)
        await settle(dialler)
        assert {peer.id for peer in door.peers()} == set(IDS[15:17])

    asyncio.run(scene())


def test_several_addresses_of_a_peer_are_tried_in_turn():
    async def scene():
        door, book, _, dialler = parts()
        door.reachable = False
        for port in range(1, 4):
            book.hear(addr_of(IDS[1], port), None)
        for _ in range(3):
            await settle(dialler)
        assert sorted(door.dialled) == [addr_of(IDS[1], port) for port in (1, 2, 3)]

    asyncio.run(scene())


def test_the_banned_are_left_alone():
    _, book, _, dialler = parts(is_banned=lambda peer: peer == IDS[1])
    book.fix(addr_of(IDS[1]))
    assert dialler.due() == []
