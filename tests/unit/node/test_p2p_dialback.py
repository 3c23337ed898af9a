"""Dialling back: only whoever asks, only where it comes from, and not too often."""

import asyncio

import pytest

from deepblock import codec
from node.p2p.dialback import AT_ONCE, PAUSE, DialBack, DialBacks, DialledBack
from node.p2p.events import Refusal, Unreachable
from tests.unit.node.p2p_parts import doors, make_door
from tests.unit.node.peers_parts import IDS, Clock, addr_of

REQUEST = codec.encode(DialBack(4001))


class Dials:
    """Every dial waits until it is let; nobody is there unless said."""

    def __init__(self, addr: str | None = "/ip4/20.1.1.1/tcp/50000") -> None:
        self.addr = addr
        self.dialled: list[str] = []
        self.there = False
        self.let = asyncio.Event()
        self.clock = Clock()
        self.backs = DialBacks(self._dial, lambda peer: self.addr, self.clock)

    async def _dial(self, addr: str, seconds: float) -> None:
        self.dialled.append(addr)
        await self.let.wait()
        if not self.there:
            raise Unreachable(addr)

    async def answer(self, peer: str, request: bytes = REQUEST) -> DialledBack:
        return codec.decode(DialledBack, await self.backs.answer(peer, request))


@pytest.mark.parametrize(
    ("addr", "dialled"),
    [
        ("/ip4/20.1.1.1/tcp/50000", "/ip4/20.1.1.1/tcp/4001"),
        ("/ip6/2a00::1/tcp/50000", "/ip6/2a00::1/tcp/4001"),
        ("/ip6/::ffff:20.1.1.1/tcp/50000", "/ip4/20.1.1.1/tcp/4001"),
    ],
)
def test_the_asker_is_dialled_where_it_comes_from(addr, dialled):
    async def scene():
        for there in (True, False):
            dials = Dials(addr)
            dials.let.set()
            dials.there = there
            where = f"{dialled}/p2p/{IDS[1]}"
            assert await dials.answer(IDS[1]) == DialledBack(where, there)
            assert dials.dialled == [where]

    asyncio.run(scene())


def test_one_asker_is_dialled_once_in_a_while():
    async def scene():
        dials = Dials()
        first = asyncio.create_task(dials.answer(IDS[1]))
        await asyncio.sleep(0)
        with pytest.raises(Refusal, match="ask again"):
            await dials.answer(IDS[1])
        dials.let.set()
        await first
        with pytest.raises(Refusal, match="ask again"):
            await dials.answer(IDS[1])
        dials.clock.now += PAUSE
        await dials.answer(IDS[1])
        assert len(dials.dialled) == 2

    asyncio.run(scene())


def test_a_crowd_is_not_dialled_all_at_once():
    async def scene():
        dials = Dials()
        tasks = [asyncio.create_task(dials.answer(peer)) for peer in IDS[1:10]]
        await asyncio.sleep(0)
        assert len(dials.dialled) == AT_ONCE
        dials.let.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(answer, DialledBack) for answer in done) == AT_ONCE
        await dials.answer(IDS[11])

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("addr", "request_"),
    [
        ("/ip4/20.1.1.1/tcp/1", b"nonsense"),
        ("/ip4/20.1.1.1/tcp/1", codec.encode(DialBack(0))),
        ("/ip4/20.1.1.1/tcp/1", b"\xa1dport\x1a\x00\x01\x11\x70"),  # port 70,000
        (None, REQUEST),
    ],
)
def test_other_questions_are_refused(addr, request_):
    async def scene():
        dials = Dials(addr)
        with pytest.raises(Refusal):
            await dials.answer(IDS[1], request_)
        assert dials.dialled == []

    asyncio.run(scene())


def test_a_probe_finds_the_peer_that_it_looks_for_and_leaves_no_connection():
    async def scene():
        async with doors(2) as (one, other):
            await one.probe(other.addrs[0], 5)  # there is a connection already
            assert len(one._host.network.get_connections()) == 1
            stranger = make_door()
            await stranger.start()
            await one.probe(stranger.addrs[0], 5)
            assert stranger.peer_id not in {peer.id for peer in one.peers()}
            address = stranger.addrs[0].rpartition("/")[0]
            for wrong in (f"{address}/{other.peer_id}", addr_of(other.peer_id, 1), "nonsense", one.addrs[0]):
                with pytest.raises(Unreachable):
                    await one.probe(wrong, 5)
            await stranger.stop()
            await one.ping(other.peer_id, 5)

    asyncio.run(scene())


def test_what_never_speaks_is_given_up():
    async def scene():
        server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
        async with doors(1) as (one,):
            with pytest.raises(Unreachable, match=r"did not answer within 0\.3 s"):
                await one.probe(addr_of(IDS[1], server.sockets[0].getsockname()[1]), 0.3)
        server.close()

    asyncio.run(scene())
