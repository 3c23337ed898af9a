"""The address book: what strangers can do to it, and what is worth keeping."""

import time

import pytest

from node.peers import book as rooms
from node.peers.book import ADDRESSES, FORGET, FROM_ONE, HOPELESS, IN_GROUP, KNOWN, AddressBook
from tests.unit.node.peers_parts import IDS, addr_of, some_id


def ip(number: int) -> str:
    """Each in a /16 of its own."""
    return f"{20 + number // 200}.{number % 200}.1.1"


def entries(book: AddressBook) -> dict:
    return {entry.addr: entry for entry in book}


def test_addresses_that_worked_come_before_those_that_never_did():
    book = AddressBook()
    for peer in IDS[1:4]:
        book.hear(addr_of(peer), None)
    first, second, third = book
    book.worked(second)
    book.failed(third)
    assert sorted(book, key=lambda entry: entry.precedence) == [second, first, third]


def test_anchors_come_first_then_what_the_operator_named_then_what_worked():
    book = AddressBook()
    book.restore(addr_of(IDS[1]), int(time.time()), anchor=False)
    book.fix(addr_of(IDS[2]))
    book.restore(addr_of(IDS[3]), int(time.time()), anchor=True)
    order = sorted(book, key=lambda entry: entry.precedence)
    assert [entry.peer for entry in order] == [IDS[3], IDS[2], IDS[1]]
    book.failed(order[0])
    assert min(book, key=lambda entry: entry.precedence).peer == IDS[2], "an anchor is tried once"


def test_an_address_that_worked_loses_its_precedence_when_it_fails_but_not_its_place():
    book = AddressBook()
    book.restore(addr_of(IDS[1]), int(time.time()), anchor=False)
    book.hear(addr_of(IDS[2]), None)
    old, new = book
    for _ in range(HOPELESS):
        book.failed(old)
    assert new.precedence < old.precedence and len(book) == 2
    book.worked(old)
    assert old.precedence < new.precedence


def test_what_never_worked_is_forgotten_when_it_is_hopeless_and_what_worked_long_ago_too(monkeypatch):
    book = AddressBook()
    book.hear(addr_of(IDS[1]), None)
    book.restore(addr_of(IDS[2]), int(time.time()), anchor=False)
    book.fix(addr_of(IDS[3]))
    for entry in list(book) * HOPELESS:
        book.failed(entry)
    assert {entry.peer for entry in book} == {IDS[2], IDS[3]}
    later = time.time() + FORGET + 10
    monkeypatch.setattr(rooms.time, "time", lambda: later)
    for entry in book:
        book.failed(entry)
    assert {entry.peer for entry in book} == {IDS[3]}


def test_an_address_that_has_not_worked_for_a_month_is_not_restored():
    book = AddressBook()
    book.restore(addr_of(IDS[1]), int(time.time()) - FORGET - 10, anchor=False)
    book.restore(addr_of(IDS[2]), int(time.time()) + 10**9, anchor=False)
    (entry,) = book
    assert entry.peer == IDS[2] and entry.worked <= time.time(), "a date in the future is no help for ever"


def test_an_hour_of_connection_is_noted_and_not_each_second_of_it():
    book = AddressBook()
    book.restore(addr_of(IDS[1]), int(time.time()) - 4_000, anchor=False)
    book.restore(addr_of(IDS[2]), int(time.time()) - 1_000, anchor=False)
    assert all(book.connected(entry.addr) for entry in book)
    stale, fresh = book
    assert time.time() - stale.worked < 10 and time.time() - fresh.worked > 900
    assert not book.connected(addr_of(IDS[3]))


@pytest.mark.parametrize(
    "addr", ["", "nonsense", "/ip4/1.2.3.4/tcp/1", f"/ip4/0.0.0.0/tcp/1/p2p/{IDS[1]}",
             f"/ip4/224.0.0.1/tcp/1/p2p/{IDS[1]}", f"/dns4/evil.example/tcp/1/p2p/{IDS[1]}"],
)  # fmt: skip
def test_nonsense_and_names_of_strangers_are_ignored(addr):
    book = AddressBook()
    book.hear(addr, None)
    assert not len(book)


def test_a_peer_has_a_few_addresses():
    book = AddressBook()
    for port in range(1, 9):
        book.hear(addr_of(IDS[1], port), None)
    assert len(book) == ADDRESSES


def test_one_teller_fills_a_small_part_and_one_network_too():
    book = AddressBook()
    for number in range(2 * FROM_ONE):
        book.hear(addr_of(some_id(number), ip=ip(number)), "a liar")
    assert len(book) == FROM_ONE
    for number in range(500, 500 + 2 * IN_GROUP):
        book.hear(addr_of(some_id(number), ip=f"203.1.{number % 200}.1"), f"teller {number}")
    assert len(book) == FROM_ONE + IN_GROUP


def test_a_flood_never_pushes_out_what_has_worked_nor_what_the_operator_named():
    book = AddressBook()
    book.fix(addr_of(IDS[1]))
    for number in range(100):
        book.restore(addr_of(some_id(number), ip=ip(number)), int(time.time()), anchor=False)
    kept = {entry.addr for entry in book}
    for number in range(1_000, 1_000 + 2 * KNOWN):
        book.hear(addr_of(some_id(number), ip=ip(number)), f"teller {number // FROM_ONE}")
    assert len(book) == KNOWN
    assert kept <= entries(book).keys()


def test_a_book_full_of_what_has_worked_takes_nothing_from_strangers():
    book = AddressBook()
    for number in range(KNOWN):
        book.restore(addr_of(some_id(number)), int(time.time()), anchor=False)
    book.hear(addr_of(IDS[1]), None)
    assert len(book) == KNOWN and addr_of(IDS[1]) not in entries(book)
