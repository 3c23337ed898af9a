"""The HTTP backend against a real daemon, js-ipfs: a checkpoint out of the node and into another, under one CID."""

import asyncio
import os

import pytest

from deepblock.blockstore import Blockstore
from node.fetch import Fetcher
from node.ipfs.kubo import Kubo
from tests.interop.tools import js_ipfs
from tests.unit.node.ipfs_parts import embedded, fetch_file, serving
from tests.unit.node.p2p_parts import until
from tests.unit.node.test_fetch import ALONE
from tests.unit.node.test_kubo import running

SIZE = 20_000_000
"""Bytes: a checkpoint."""


@pytest.fixture
def daemon(tmp_path):
    with js_ipfs(tmp_path / "js-ipfs") as started:
        yield started


def backend_for(daemon, store, tmp_path, **kwargs):
    return Kubo(daemon.api, store, tmp_path / "pins.json", **kwargs)


def test_a_checkpoint_goes_out_and_comes_in(daemon, tmp_path):
    data = os.urandom(SIZE)
    ours, others = Blockstore(tmp_path / "ours"), Blockstore(tmp_path / "others")
    cid = ours.put_file(data)

    async def scene():
        async with running(backend_for(daemon, ours, tmp_path)) as backend:
            assert backend.state.startswith("up, version")
            await backend.keep([cid])
            assert backend._pinned == {cid}, backend.state
            await fetch_file(backend, others, cid)
            assert others.get_file(cid, SIZE) == data
            await backend.keep([])
            assert backend._pinned == set() and backend.state.startswith("up")

    asyncio.run(scene())


def test_a_daemon_killed_in_the_middle_is_named_and_another_source_ends_the_transfer(daemon, tmp_path):
    data = os.urandom(SIZE)
    ours, others = Blockstore(tmp_path / "ours"), Blockstore(tmp_path / "others")
    cid = ours.put_file(data)

    class Watched(Kubo):
        calls = 0

        async def blocks(self, file, cids):
            self.calls += 1
            if self.calls == 3:
                asyncio.get_running_loop().call_later(0.05, daemon.kill)
            return await super().blocks(file, cids[:8])

    async def scene():
        backend = Watched(daemon.api, ours, tmp_path / "pins.json")
        async with running(backend), serving(ours, others) as (sender, asker):
            await backend.keep([cid])
            second = embedded(asker, sender)
            await asker.connect(sender.addrs[0])
            fetcher = Fetcher(ALONE, None, others, (backend, second))
            async with asyncio.timeout(90):
                await fetcher.file(cid, SIZE)
            assert others.get_file(cid, SIZE) == data
            assert backend.calls >= 3
            await until(lambda: backend.state.startswith("down: "))

    asyncio.run(scene())
