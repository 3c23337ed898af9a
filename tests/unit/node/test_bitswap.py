"""Bitswap through the door: between two of ours, and with strangers who do as they like."""

import asyncio
import os
from dataclasses import replace
from functools import partial

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.utils.varint import encode_uvarint

from deepblock.blockstore import MAX_BLOCK, Blockstore
from deepblock.cid import RAW, cid_of_block
from deepblock.unixfs import file_cid
from node.p2p import bitswap
from node.p2p.bitswap_message import MAX_CID, MAX_MESSAGE, MAX_WANTS, Message, Want, decode
from node.p2p.events import Blocks, Fault, Limits, PeerGone, Refused
from tests.unit.node.ipfs_parts import embedded, fetch_file, serving
from tests.unit.node.p2p_parts import Log, hostile, sending, until

PROTOCOL = "/ipfs/bitswap/1.2.0"


@pytest.fixture
def stores(tmp_path):
    return [Blockstore(tmp_path / str(number)) for number in range(3)]


async def met(one, other):
    await one.connect(other.addrs[0])
    await until(lambda: one.peers() and other.peers())


def test_a_file_comes_over_and_what_is_missing_is_told_at_once(stores):
    async def scene():
        data = os.urandom(3_000_000)
        cid, absent = stores[0].put_file(data), cid_of_block(b"absent", RAW)
        async with serving(*stores[:2]) as (a, b):
            await met(b, a)
            async with asyncio.timeout(10):
                await fetch_file(embedded(b, a), stores[1], cid)
                assert stores[1].get_file(cid, len(data)) == data
                assert await b.fetch(a.peer_id, [absent, cid], patience=60) == {cid: stores[0].get_block(cid)}
            assert not b._host.bitswap._asking[a._host.id]
            await until(lambda: not a._host.bitswap._queues)

    asyncio.run(scene())


def test_a_peer_without_bitswap_says_so(stores):
    async def scene():
        async with serving(stores[0]) as (a,):

            async def act(host, victim):
                while not a.peers():
                    await trio.sleep(0.02)
                asked.append(
                    await trio.to_thread.run_sync(lambda: ask(str(host.get_id())), abandon_on_cancel=True)
                )

            def ask(peer):
                fetching = a.fetch(peer, [cid_of_block(b"x", RAW)], patience=5)
                return asyncio.run_coroutine_threadsafe(fetching, loop).exception(10)

            loop, asked = asyncio.get_running_loop(), []
            await hostile(a.addrs[0], act)
            assert isinstance(asked[0], Refused)
            with pytest.raises(PeerGone):
                await a.fetch("12D3KooWMe", [], patience=1)

    asyncio.run(scene())


FAULTS = {
    "oversized message": (encode_uvarint(MAX_MESSAGE + 1), "announced 4,194,305 bytes where 4,194,304"),
    "endless length": (b"\xff" * 16, "a length of more than 4 bytes"),
    "undecodable message": (encode_uvarint(64) + b"\xff" * 64, "does not end"),
    "a block unasked": (Message(blocks=((cid_of_block(b"x", RAW), b"x"),)).encode(), "was not asked for"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_hostile_message_is_a_fault_and_others_are_served_on(stores, name):
    data, reason = FAULTS[name]

    async def scene():
        cid = stores[0].put_file(b"served")
        async with serving(*stores[:2]) as (victim, friend):
            await met(friend, victim)
            log = Log(victim)
            enemy = await hostile(victim.addrs[0], sending(PROTOCOL, data))
            await until(lambda: log.of(Fault))
            assert [fault.peer for fault in log.of(Fault)] == [enemy]
            assert reason in log.of(Fault)[0].reason
            await until(lambda: len(victim.peers()) == 1)
            assert await friend.fetch(victim.peer_id, [cid], patience=5) == {cid: b"served"}

    asyncio.run(scene())


def test_half_a_message_and_an_empty_stream_harm_nobody(stores):
    async def scene():
        async with serving(stores[0]) as (victim,):
            log = Log(victim)
            for data in (b"", b"\x00", encode_uvarint(1000) + b"x", b"\x80"):
                await hostile(victim.addrs[0], sending(PROTOCOL, data))
            await until(lambda: not victim.peers())
            assert log.of(Fault) == []

    asyncio.run(scene())


def answers(of: list[Message]):
    """Reads what the victim sends on streams of its own."""

    async def read(stream):
        try:
            while True:
                size = shift = 0
                while True:
                    (byte,) = await stream.read(1)
                    size |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                body = b""
                while len(body) < size:
                    body += await stream.read(size - len(body))
                of.append(decode(body))
        except Exception:
            await stream.close()

    return read


def test_each_kind_of_want_has_its_answer(stores):
    here, absent = cid_of_block(b"here", RAW), cid_of_block(b"absent", RAW)
    strange, large = b"\x12\x20" + bytes(32), bytes(300_000)
    wants = (
        Want(here),
        Want(absent, tell=True),
        Want(cid_of_block(b"silence", RAW)),
        Want(strange, tell=True),
        Want(cid_of_block(b"asked", RAW), have=True, tell=True),
        Want(root := file_cid(large), have=True),
    )
    got: list[Message] = []

    async def act(host, victim):
        host.set_stream_handler(TProtocol(PROTOCOL), answers(got))
        stream = await host.new_stream(victim, [TProtocol(PROTOCOL)])
        await stream.write(Message(wants=wants).encode())
        with trio.fail_after(5):
            while len(got) < 2:
                await trio.sleep(0.02)

    async def scene():
        stores[0].put_block(b"here", RAW)
        asked = stores[0].put_block(b"asked", RAW)
        stores[0].put_file(large)
        async with serving(stores[0]) as (victim,):
            await hostile(victim.addrs[0], act)
            assert got == [
                Message(presences=((absent, False), (strange, False), (asked, True))),
                Message(blocks=((here, b"here"), (root, stores[0].get_block(root)))),
            ]

    asyncio.run(scene())


def test_a_peer_that_does_not_read_is_cut_and_holds_no_more_than_its_queue(stores):
    names = [cid_of_block(str(number).encode(), RAW) for number in range(2 * MAX_WANTS)]

    async def act(host, victim):
        async def deaf(stream):
            await trio.sleep(20)

        host.set_stream_handler(TProtocol(PROTOCOL), deaf)
        queues = door._host.bitswap._queues
        for wanted in (names[:MAX_WANTS], names[MAX_WANTS:]):
            stream = await host.new_stream(victim, [TProtocol(PROTOCOL)])
            await stream.write(Message(wants=tuple(map(Want, wanted))).encode())
            await trio.sleep(0.1)
            seen.extend(len(queue.wants) for queue in queues.values())
        with trio.fail_after(8):
            while queues:
                await trio.sleep(0.05)

    async def endless(cids, budget):
        return [bytes(MAX_BLOCK)]

    seen = []

    async def scene():
        nonlocal door
        async with serving(stores[0], limits=Limits(stall=1.0)) as (door,):
            serving_ = door._host.bitswap
            serving_._blocks = replace(serving_._blocks, read=endless)
            await hostile(door.addrs[0], act)
            assert MAX_WANTS - 100 < max(seen) <= MAX_WANTS

    door = None
    asyncio.run(scene())


def test_what_is_cancelled_is_not_sent(stores):
    wanted = [stores[0].put_block(os.urandom(300_000), RAW) for _ in range(8)]
    got: list[Message] = []

    async def act(host, victim):
        host.set_stream_handler(TProtocol(PROTOCOL), answers(got))
        wants = (*map(Want, wanted), *(Want(cid, cancel=True) for cid in wanted[1:]))
        stream = await host.new_stream(victim, [TProtocol(PROTOCOL)])
        await stream.write(Message(wants=wants).encode())
        await trio.sleep(0.5)

    async def scene():
        async with serving(stores[0]) as (victim,):
            await hostile(victim.addrs[0], act)
            assert [cid for message in got for cid, _ in message.blocks] == wanted[:1]

    asyncio.run(scene())


def test_a_peer_that_goes_ends_the_question(stores):
    async def scene():
        async with serving(*stores[:2]) as (a, b):
            await met(b, a)
            blocks = a._host.bitswap._blocks
            a._host.bitswap._blocks = replace(blocks, read=lambda cids, budget: trio.sleep_forever())
            asking = asyncio.create_task(b.fetch(a.peer_id, [cid_of_block(b"x", RAW)], patience=60))
            await asyncio.sleep(0.3)
            assert not asking.done()
            await a.stop()
            assert await asyncio.wait_for(asking, 5) == {}

    asyncio.run(scene())


def test_a_source_that_dies_half_way_is_followed_by_another(stores):
    async def scene():
        data = os.urandom(6_000_000)
        cid = stores[0].put_file(data)
        assert stores[1].put_file(data) == cid
        async with serving(*stores) as (dying, other, asker):
            for door in (dying, other):
                await met(asker, door)
            sent = 0
            read = dying._blocks.read

            async def dies(cids, budget):
                nonlocal sent
                sent += 1
                if sent == 3:  # the node, two messages, and then nothing more
                    asyncio.get_running_loop().create_task(dying.stop())
                    await asyncio.Event().wait()
                return await read(cids, budget)

            call_back = dying._bridge.call_back
            dying._host.bitswap._blocks = Blocks(dying._blocks.has, partial(call_back, dies))
            source = embedded(asker, dying)
            async with asyncio.timeout(30):
                await fetch_file(source, stores[2], cid)
            assert sent == 3
            assert stores[2].get_file(cid, len(data)) == data
            assert source.state == "up, 0 of 1 ipfs_peers connected"

    asyncio.run(scene())


def test_the_limits_fit_each_other():
    assert max(MAX_BLOCK, bitswap.ANSWER_BYTES) + bitswap.ANSWERS * (MAX_CID + 32) < MAX_MESSAGE
