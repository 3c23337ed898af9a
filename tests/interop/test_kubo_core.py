"""A checkpoint from us to Kubo and from Kubo to us, by bitswap, under one CID."""

import asyncio
import os

import pytest

from deepblock.blockstore import Blockstore
from deepblock.unixfs import file_cid
from tests.interop.tools import address, forwarded, kubo_core, pulled
from tests.unit.node.ipfs_parts import embedded, fetch_file, serving
from tests.unit.node.p2p_parts import until

SIZE = 20_000_000
"""Bytes: a checkpoint."""
LARGE = "/x/large/1.0"
"""Kubo forwards only protocols that begin so."""


@pytest.fixture
def core(tmp_path):
    with kubo_core(tmp_path / "kubo") as running:
        yield running


def test_a_checkpoint_goes_to_kubo_and_comes_from_it(core, tmp_path):
    data = os.urandom(SIZE)
    stores = [Blockstore(tmp_path / name) for name in ("first", "second")]
    cid = stores[0].put_file(data)

    async def scene():
        async with serving(stores[0]) as (first,):
            assert await asyncio.to_thread(core.ask, do="connect", addr=first.addrs[0])
            got = tmp_path / "got"
            async with asyncio.timeout(60):
                assert await asyncio.to_thread(core.ask, do="get", cid=str(cid), to=str(got))
            assert file_cid(got.read_bytes()) == cid
        async with serving(stores[1]) as (second,):  # the first is gone: only Kubo has it now
            source = embedded(second)
            await second.connect(address(core))
            async with asyncio.timeout(60):
                await fetch_file(source, stores[1], cid)
        assert stores[1].get_file(cid, SIZE) == data

    asyncio.run(scene())


def test_a_node_that_kubo_has_dialled_asks_it_too(core, tmp_path):
    """Whoever is connected and speaks bitswap is asked, without a line of configuration."""
    data = os.urandom(600_000)
    stores = [Blockstore(tmp_path / name) for name in ("first", "second")]
    cid = stores[0].put_file(data)

    async def scene():
        async with serving(stores[0]) as (first,):
            assert await asyncio.to_thread(core.ask, do="connect", addr=first.addrs[0])
            assert await asyncio.to_thread(core.ask, do="pin", cid=str(cid))
        async with serving(stores[1]) as (second,):
            assert await asyncio.to_thread(core.ask, do="connect", addr=second.addrs[0])
            await until(second.peers)
            await fetch_file(embedded(second), stores[1], cid)
        assert stores[1].get_file(cid, len(data)) == data

    asyncio.run(scene())


def test_a_large_answer_to_kubo_arrives_whole(core, tmp_path):
    """Its yamux forgets credit whenever its window grows: who waits for room for a whole frame waits for ever."""
    answer = os.urandom(SIZE)

    async def large(peer: str, request: bytes) -> bytes:
        return answer

    async def scene():
        async with serving(Blockstore(tmp_path / "store"), handlers={LARGE: large}) as (door,):
            assert await asyncio.to_thread(core.ask, do="connect", addr=door.addrs[0])
            port = await asyncio.to_thread(forwarded, core, LARGE, door.peer_id)
            async with asyncio.timeout(30):
                assert await asyncio.to_thread(pulled, port) == answer

    asyncio.run(scene())


def test_kubo_asks_again_for_what_was_not_there_and_gets_it(core, tmp_path):
    """It does so after half a minute; we need not remember whom a block that comes later would please."""
    store = Blockstore(tmp_path / "store")
    data = b"later" * 1000

    async def scene():
        async with serving(store) as (door,):
            assert await asyncio.to_thread(core.ask, do="connect", addr=door.addrs[0])
            getting = asyncio.create_task(
                asyncio.to_thread(core.ask, do="get", cid=str(file_cid(data)), to=str(tmp_path / "got"))
            )
            await asyncio.sleep(1)
            assert not getting.done()
            store.put_file(data)
            assert await asyncio.wait_for(getting, 120)
            assert (tmp_path / "got").read_bytes() == data

    asyncio.run(scene())
