"""The Kubo backend against a daemon that is there, away, slow, or lying. (Real ones: tests/interop.)"""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager, suppress

import pytest

from deepblock import unixfs
from deepblock.blockstore import MAX_BLOCK, Blockstore
from deepblock.cid import DAG_PB, RAW, cid_of_block
from deepblock.unixfs import file_cid, split_file
from node.backoff import LONGEST_PAUSE
from node.ipfs import daemon, kubo
from node.ipfs.kubo import Kubo
from node.ipfs.pause import Pause
from tests.unit.node.ipfs_parts import fetch_file, standing_in
from tests.unit.node.p2p_parts import until


@pytest.fixture
def store(tmp_path):
    return Blockstore(tmp_path / "blobs")


@asynccontextmanager
async def running(backend):
    """Up, or down for a reason of its own."""
    task = asyncio.create_task(backend.run())
    try:
        await until(lambda: backend.state != "down: not asked yet")
        yield backend
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def backend_for(addr, store, tmp_path, **kwargs):
    return Kubo(addr, store, tmp_path / "pins.json", **kwargs)


def begun(fake, store):
    """A file of four leaves that the daemon has, and of which the topmost block is here."""
    data = os.urandom(1_000_000)
    cid = fake.hold(data)
    store.put_block(split_file(data)[1][cid], cid.codec)
    return data, cid


def test_a_file_comes_in_by_its_blocks(store, tmp_path):
    async def scene(fake):
        data = os.urandom(1_000_000)
        cid = fake.hold(data)
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            assert backend.state == "up, version 0.99.0"
            await fetch_file(backend, store, cid)
            assert store.get_file(cid, len(data)) == data
            assert await backend.blocks(cid, [cid, file_cid(b"nobody has it")]) == {cid: store.get_block(cid)}

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_leaves_side_by_side_are_one_request(store, tmp_path):
    async def scene(fake):
        data = os.urandom(3_000_000)
        cid = fake.hold(data)
        _, blocks = split_file(data)
        for here in (name for at, name in enumerate(blocks) if at in (4, 5)):
            store.put_block(blocks[here], here.codec)
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            await fetch_file(backend, store, cid)
            assert store.get_file(cid, len(data)) == data
            assert [path for path in fake.asked if path != "/version"] == ["/block/get", "/cat", "/cat"]

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_what_a_stream_breaks_off_before_comes_block_by_block(store, tmp_path):
    async def scene(fake):
        data, cid = begun(fake, store)
        leaves = store.missing(cid)
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            for stream in (data[:300_000], b""):
                fake.answer = lambda path, stream=stream: stream if path == "/cat" else None
                assert list(await backend.blocks(cid, leaves)) == leaves
            del fake.files[str(leaves[2])]
            assert list(await backend.blocks(cid, leaves)) == leaves[:2]
            assert backend.state.startswith("up")

    with standing_in() as fake:
        asyncio.run(scene(fake))


@pytest.mark.parametrize("silence", [0, 2])
@pytest.mark.parametrize("sent", [300_000, 600_000])
def test_a_daemon_that_lacks_a_leaf_in_the_middle_is_up_and_what_came_counts(
    store, tmp_path, monkeypatch, silence, sent
):
    """As Kubo does it: what it has comes in chunks, then it searches, or ends the connection."""
    monkeypatch.setattr(daemon, "SEARCH_TIME", 1)

    async def scene(fake):
        data, cid = begun(fake, store)
        leaves = store.missing(cid)
        lacking = leaves[sent // 262_144]
        del fake.files[str(lacking)]
        fake.streams["/cat"] = data[:sent], silence
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            assert list(await backend.blocks(cid, leaves)) == leaves[: leaves.index(lacking)]
            assert backend.state.startswith("up")

    with standing_in() as fake:
        asyncio.run(scene(fake))


@pytest.mark.parametrize("change", [lambda data: bytes(len(data)), lambda data: data + b"more"])
def test_a_stream_of_other_bytes_brings_nothing_and_its_blocks_are_asked_for_by_name(store, tmp_path, change):
    async def scene(fake):
        data, cid = begun(fake, store)
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            fake.answer = lambda path: change(data) if path == "/cat" else None
            await fetch_file(backend, store, cid)
            assert store.get_file(cid, len(data)) == data
            fake.answer = lambda path: {"/cat": change(data), "/block/get": b"other"}.get(path)
            store.remove_block(last := store.tree(cid)[-1])
            assert await backend.blocks(cid, [last]) == {}
            assert backend.state == f"down: it sent other bytes for block {last}"

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_an_honest_daemon_is_no_liar_over_a_file_that_is_laid_out_badly(store, tmp_path):
    async def scene(fake):
        leaves = {cid_of_block(data, RAW): data for data in (b"too short", os.urandom(262_144))}
        root = unixfs._node(2 * 262_144, 1, list(leaves))
        cid = store.put_block(root, DAG_PB)
        fake.files |= {str(name): data for name, data in leaves.items()}
        fake.whole[str(cid)] = b"".join(leaves.values())
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            assert await backend.blocks(cid, list(leaves)) == leaves
            assert backend.state.startswith("up")

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_what_is_kept_is_pinned_and_what_is_not_any_more_unpinned(store, tmp_path):
    async def scene(fake):
        one, two = store.put_file(os.urandom(600_000)), store.put_file(b"small")
        absent = file_cid(b"not in the store")
        fake.pins.add("somebody else's")
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            await backend.keep([one, two, absent])
            assert fake.pins == {str(one), str(two), "somebody else's"}
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:  # it remembers
            await backend.keep([two, absent])
            assert fake.pins == {str(two), "somebody else's"}
            assert fake.asked.count("/add") == 2
        fake.pins.clear()  # the operator has unpinned it by hand
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            await backend.keep([])
            assert backend.state.startswith("up")
            assert json.loads((tmp_path / "pins.json").read_text())["pins"] == []

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_notes_for_another_daemon_and_notes_that_are_none_count_for_nothing(store, tmp_path):
    async def scene(fake):
        cid = store.put_file(b"small")
        for notes in ("{", "[]", '{"api": "/ip4/192.0.2.1/tcp/5001", "pins": ["x"]}', '{"api": 1}'):
            (tmp_path / "pins.json").write_text(notes)
            fake.pins.clear()
            async with running(backend_for(fake.addr, store, tmp_path)) as backend:
                await backend.keep([cid])
                assert fake.pins == {str(cid)}

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_without_an_address_it_is_off(store, tmp_path):
    async def scene():
        backend = backend_for("", store, tmp_path)
        await backend.run()
        await backend.keep([file_cid(b"x")])
        assert await backend.blocks(file_cid(b"x"), [file_cid(b"x")]) == {}
        assert backend.state == "off"

    asyncio.run(scene())


def test_a_daemon_that_goes_is_down_and_comes_back(store, tmp_path, monkeypatch):
    monkeypatch.setattr("node.backoff.FIRST_PAUSE", 0.05)

    async def scene(fake):
        cid = fake.hold(os.urandom(300_000))
        async with running(backend_for(fake.addr, store, tmp_path, looks=0.1)) as backend:
            assert await backend.blocks(cid, [cid])
            fake.close()
            assert await backend.blocks(cid, [cid]) == {}
            await until(lambda: backend.state == "down: nothing answers there")
            began = time.monotonic()
            assert await backend.blocks(cid, [cid]) == {}
            assert time.monotonic() - began < 0.1  # a daemon that is down is not asked
            with standing_in(port=int(fake.addr.rpartition("/")[2])):
                await until(lambda: backend.state == "up, version 0.99.0")

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_a_change_of_state_is_logged_once(store, tmp_path, monkeypatch):
    monkeypatch.setattr("node.backoff.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("node.ipfs.pause.LONGEST_PAUSE", 0.02)
    logged = []
    monkeypatch.setattr(
        kubo.log, "info", lambda event, **fields: logged.append(fields["state"]), raising=False
    )

    async def scene():
        async with running(backend_for("/ip4/127.0.0.1/tcp/9", store, tmp_path)):
            await asyncio.sleep(0.5)

    asyncio.run(scene())
    assert logged == ["down: nothing answers there"]


LIES = {
    "another block": ("/block/get", b"other bytes", "it sent other bytes for block bafk"),
    "an endless block": ("/block/get", bytes(MAX_BLOCK + 1), "it sent more than 1048576 bytes"),
    "another name": (
        "/add",
        json.dumps({"Hash": "bafkother", "Name": "x"}).encode(),
        "it calls the file bafk",
    ),
    "no JSON": ("/add", b"<html>", "Error"),
    "nothing at all": ("/add", b"", "Error"),
    "a list": ("/add", b"[1]", "Error"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_seen_and_named_and_changes_nothing(store, tmp_path, name):
    path, instead, reason = LIES[name]

    async def scene(fake):
        wanted, kept = fake.hold(b"wanted"), store.put_file(b"kept")
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            fake.answer = lambda asked: instead if asked == path else None
            if path == "/add":
                await backend.keep([kept])
                assert backend._pinned == set()
            else:
                assert await backend.blocks(wanted, [wanted]) == {}
                assert not store.has(wanted)
            assert backend.state.startswith("down: ") and reason in backend.state

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_a_slow_daemon_holds_up_nobody_for_longer_than_its_time(store, tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "SILENCE", 0.5)

    def slow(path):
        if path == "/block/get":
            time.sleep(3)

    async def scene(fake):
        cid = fake.hold(b"slow")
        async with running(backend_for(fake.addr, store, tmp_path)) as backend:
            fake.answer = slow
            began = time.monotonic()
            assert await backend.blocks(cid, [cid]) == {}
            assert time.monotonic() - began < 2
            assert backend.state == "down: it takes too long to answer"

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_calls_that_never_end_take_no_more_than_a_few_threads(store, tmp_path, monkeypatch):
    """As with a daemon that sends a byte now and then for ever."""
    monkeypatch.setattr(kubo, "BLOCKS_TIME", 0.1)
    began = []

    def stuck(_):
        began.append(1)
        time.sleep(5)

    async def scene(fake):
        backend = backend_for(fake.addr, store, tmp_path)
        for _ in range(2 * kubo.THREADS):
            with pytest.raises(kubo.Unanswered):
                await backend._ask(stuck, within=0.05)
        assert len(began) == kubo.THREADS
        assert backend.state == f"down: {kubo.THREADS} earlier requests are still unanswered"

    with standing_in() as fake:
        asyncio.run(scene(fake))


def test_pauses_grow_up_to_a_limit_and_begin_again():
    pause = Pause()
    assert 0.75 <= pause.longer() <= 1.25
    assert 1.5 <= pause.longer() <= 2.5
    for _ in range(30):
        longest = pause.longer()
    assert 0.75 * LONGEST_PAUSE <= longest <= 1.25 * LONGEST_PAUSE
    pause.reset()
    assert pause.longer() <= 1.25
