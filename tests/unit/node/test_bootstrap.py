"""A node that only introduces: whom it tells of whom. With real doors."""

import asyncio

import pytest

from deepblock import codec
from deepblock.cid import Cid, cid_of_block
from node import bootstrap as rooms
from node.bootstrap import BootstrapNode, Introductions
from node.config import NodeConfig
from node.messages import MAX_ADDRESSES, STATUS, Status
from node.p2p.door import Door
from node.peers import Peers
from tests.unit.node.p2p_parts import make_door, until
from tests.unit.node.peers_parts import IDS, Loopback, addr_of, some_id

NETWORK, OTHER = cid_of_block(b"a network"), cid_of_block(b"another")


class Peer:
    """One that stands somewhere, has addresses, and knows others."""

    def __init__(self, network: Cid = NETWORK, others: tuple[str, ...] = ()) -> None:
        self.network, self.others = network, others
        self.reply: bytes | None = None
        self.door: Door = make_door(handlers={STATUS: self._status}, topics={})

    def status(self) -> Status:
        return Status(self.network, self.network, 7, 70, tuple(self.door.addrs), self.others)

    async def _status(self, peer: str, request: bytes) -> bytes:
        return self.reply if self.reply is not None else codec.encode(self.status())

    async def ask(self, peer: str) -> Status:
        reply = await self.door.ask(peer, STATUS, codec.encode(self.status()), timeout=5, max_reply=100_000)
        return codec.decode(Status, reply)


def play(tmp_path, scene):
    """`scene(node, running, address)`: with a bootstrap node of the devnet."""

    async def whole():
        config = NodeConfig(network="devnet", data_dir=tmp_path, p2p_host="127.0.0.1", p2p_port=0)
        node = BootstrapNode(config)
        running = asyncio.create_task(node.run())
        await until((tmp_path / "node.json").exists)
        try:
            await scene(node)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert not (tmp_path / "node.json").exists()

    asyncio.run(whole())


def test_newcomers_hear_of_each_other_and_nothing_of_themselves(tmp_path):
    async def scene(node):
        network = node._introductions._head.network
        peers = [Peer(network) for _ in range(3)]
        try:
            for peer in peers:
                await peer.door.start()
                await peer.door.connect(node._door.addrs[0])
            await until(lambda: len(node._introductions._known) == 3)
            for peer in peers:
                status = await peer.ask(node._door.peer_id)
                assert (status.network, status.head, status.height, status.weight) == (network, network, 0, 0)
                assert set(status.own) == set(node._door.addrs)
                assert set(status.others) == {a for p in peers if p is not peer for a in p.door.addrs}
            await peers[0].door.stop()
            await until(lambda: len(node._introductions._known) == 2)
            known = {known.addr for known in node._peers.remembered().addresses}
            assert known == {addr for peer in peers for addr in peer.door.addrs}
        finally:
            for peer in peers:
                await peer.door.stop()

    play(tmp_path, scene)


def test_peers_of_another_network_and_those_that_talk_nonsense_are_banned(tmp_path):
    async def scene(node):
        stranger, babbler = Peer(OTHER), Peer(NETWORK)
        babbler.reply = b"nonsense"
        for peer, reason in ((stranger, "is on another network"), (babbler, "undecodable status")):
            await peer.door.start()
            await peer.door.connect(node._door.addrs[0])
            await until(lambda peer=peer: not peer.door.peers())
            row = next(row for row in node._peers.table() if row.id == peer.door.peer_id)
            assert row.reason.startswith(reason) and row.banned_until
            await peer.door.stop()
        assert node._introductions._known == {}

    play(tmp_path, scene)


def test_when_it_is_full_the_oldest_make_room(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "FULL", 2)
    monkeypatch.setattr(rooms, "POLL", 0.2)

    async def scene(node):
        peers = [Peer(node._introductions._head.network) for _ in range(4)]
        for peer in peers:
            await peer.door.start()
            await peer.door.connect(node._door.addrs[0])
            await asyncio.sleep(0.05)
        newest = {peer.door.peer_id for peer in peers[2:]}
        await until(lambda: {peer.id for peer in node._door.peers() if not peer.outbound} == newest)
        for peer in peers:
            await peer.door.stop()

    play(tmp_path, scene)


def test_of_many_peers_everybody_hears_another_choice():
    door = Loopback()
    introductions = Introductions(door, Peers(door, []), Status(NETWORK, NETWORK, 0, 0, (), ()))
    introductions._known = {some_id(number): (addr_of(some_id(number)),) for number in range(500)}
    told = [set(introductions.status(IDS[1]).others) for _ in range(2)]
    assert [len(one) for one in told] == [MAX_ADDRESSES] * 2 and told[0] != told[1]


@pytest.mark.parametrize("said", [addr_of(IDS[5]), "nonsense"])
def test_nobody_speaks_for_another(said):
    class Asked(Loopback):
        async def ask(self, peer, protocol, request, *, timeout, max_reply):
            return codec.encode(Status(NETWORK, NETWORK, 0, 0, (said, addr_of(IDS[1])), ()))

    door = Asked()
    introductions = Introductions(door, Peers(door, []), Status(NETWORK, NETWORK, 0, 0, (), ()))
    asyncio.run(introductions.ask(IDS[1]))
    assert introductions.status(IDS[2]).others == (addr_of(IDS[1]),)
