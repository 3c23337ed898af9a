"""mDNS with the real zeroconf on loopback: who finds whom, and what strangers may say."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop
from zeroconf import ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from deepblock.cid import cid_of_block
from node.addresses import Scope
from node.peers import neighbours as rooms
from node.peers.neighbours import LOOPBACK, TELLER, Neighbours, addresses_in, nearest
from tests.unit.node.p2p_parts import until
from tests.unit.node.peers_parts import IDS, addr_of

CHAIN, OTHER_CHAIN = cid_of_block(b"a chain"), cid_of_block(b"another")


@asynccontextmanager
async def node(number, chain=CHAIN):
    """What it has learned, while it runs."""
    learned = []
    neighbours = Neighbours(chain, [addr_of(IDS[number])], lambda *said: learned.append(said))
    running = asyncio.create_task(neighbours.run())
    try:
        yield learned
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def text(*lines):
    return b"".join(bytes([len(line)]) + line for line in lines)


def of(addr):
    return (addr, TELLER)


def test_nodes_of_one_chain_find_each_other_and_no_others():
    async def play():
        async with node(1) as first, node(2, OTHER_CHAIN) as stranger, node(3) as late:
            await until(lambda: of(addr_of(IDS[3])) in first and of(addr_of(IDS[1])) in late)
            async with node(4) as last:
                await until(
                    lambda: of(addr_of(IDS[4])) in first and {of(addr_of(IDS[n])) for n in (1, 3)} <= {*last}
                )
            assert {*stranger} <= {of(addr_of(IDS[2]))}

    uvloop.run(play())


def test_a_stranger_that_says_nonsense_is_passed_over():
    """Addresses of other machines too: a node that listens on loopback alone is not to dial them."""
    service = Neighbours(CHAIN, [], print)._service
    lines = [
        text(*(b"dnsaddr=" + addr_of(IDS[5], ip=ip).encode() for ip in ("192.168.1.7", "8.8.8.8"))),
        text(b"dnsaddr=/dnsaddr/somewhere.example", b"dnsaddr=", b"\xff\xfe", b"id=1"),
        b"\xffdnsaddr=cut off",
    ]  # fmt: skip

    async def play():
        async with AsyncZeroconf([LOOPBACK]) as stranger, node(1) as learned:
            for number, line in enumerate(lines):
                name = f"stranger{number}.{service}"
                card = ServiceInfo(service, name, 0, properties=line, server="stranger.local.")
                await stranger.async_register_service(card)
            async with node(2):
                await until(lambda: of(addr_of(IDS[2])) in learned)
            assert {*learned} <= {of(addr_of(IDS[number])) for number in (1, 2)}

    uvloop.run(play())


def test_a_machine_without_multicast_is_tried_again(monkeypatch):
    tries = []

    def broken(*args):
        tries.append(args)
        raise OSError(19, "No such device")

    monkeypatch.setattr(rooms, "AsyncZeroconf", broken)
    monkeypatch.setattr(rooms, "PAUSE", 0.01)

    async def play():
        async with node(1):
            await until(lambda: len(tries) > 2)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        (["127.0.0.1"], (Scope.MACHINE, ["127.0.0.1"])),
        (["127.0.0.1", "10.1.2.3", "192.168.0.2", "8.8.8.8"], (Scope.SITE, ["10.1.2.3", "192.168.0.2"])),
        (["127.0.0.1", "8.8.8.8"], (Scope.MACHINE, ["127.0.0.1"])),
        (["8.8.8.8"], (Scope.MACHINE, [])),
    ],
)
def test_neighbours_are_told_of_the_house_and_of_nothing_beyond(ips, expected):
    scope, wanted = expected
    assert nearest(addr_of(IDS[1], ip=ip) for ip in ips) == (scope, [addr_of(IDS[1], ip=ip) for ip in wanted])


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b"", []),
        (b"\0", []),
        (b"\0\0\0", []),
        (text(b"dnsaddr=a", b"", b"other=b", b"dnsaddr=c"), ["a", "c"]),
        (text(b"dnsaddr=a") + b"\x20dnsaddr=cut", ["a", "cut"]),
        (text(b"dnsaddr=\xff"), ["�"]),
        (b"\xff", []),
    ],
)
def test_a_txt_record_is_strings_with_their_lengths(record, expected):
    assert list(addresses_in(record)) == expected
