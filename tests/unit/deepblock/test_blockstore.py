"""The block folder: what it keeps, what it says about damage, and several processes writing at once."""

import os
import subprocess
import sys
import time

import pytest

from deepblock import unixfs
from deepblock.blockstore import MAX_BLOCK, Blockstore, Corrupt, Missing
from deepblock.cid import DAG_CBOR, DAG_PB, RAW, cid_of_block
from deepblock.codec import Malformed

CHUNK = 262_144


@pytest.fixture
def store(tmp_path):
    return Blockstore(tmp_path / "blobs")


def blocks_on_disk(path):
    return sorted(file.name for file in path.glob("??/*"))


def test_a_block_is_kept_under_its_cid(store, tmp_path):
    cid = store.put_block(b"\xa0", DAG_CBOR)
    assert cid == cid_of_block(b"\xa0", DAG_CBOR)
    assert store.get_block(cid) == b"\xa0"
    assert Blockstore(tmp_path / "blobs").get_block(cid) == b"\xa0"
    assert blocks_on_disk(tmp_path / "blobs") == [str(cid)]


def test_the_codec_is_part_of_the_name(store):
    assert store.put_block(b"\xa0", RAW) != store.put_block(b"\xa0", DAG_CBOR)


def test_an_absent_block_is_named(store):
    cid = cid_of_block(b"absent", RAW)
    assert not store.has(cid)
    assert store.missing(cid) == [cid]
    with pytest.raises(Missing, match=str(cid)) as caught:
        store.get_block(cid)
    assert caught.value.cid == cid


def test_a_block_over_the_limit_is_refused(store):
    store.put_block(bytes(MAX_BLOCK), RAW)
    with pytest.raises(ValueError, match="1048577 bytes"):
        store.put_block(bytes(MAX_BLOCK + 1), RAW)


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty"])
def test_damage_is_noticed_and_heals_by_storing_again(store, tmp_path, damage):
    data = bytes(range(256)) * 8
    cid = store.put_block(data, RAW)
    (file,) = (tmp_path / "blobs").glob("??/*")
    bad = {"flip": data[:-1] + b"\0", "cut": data[:-1], "grow": data + b"\0", "empty": b""}[damage]
    file.write_bytes(bad)
    with pytest.raises(Corrupt, match="damaged"):
        store.get_block(cid)
    assert store.missing(cid) == [cid]
    store.put_block(data, RAW)
    assert store.get_block(cid) == data


@pytest.mark.parametrize("known", ["written", "read"])
def test_what_is_read_for_others_is_hashed_once_for_each_writing_of_its_file(store, tmp_path, known):
    data = bytes(range(256)) * 8
    cid = store.put_block(data, RAW)
    if known == "read":
        store = Blockstore(tmp_path / "blobs")
        assert store.get_block(cid, afresh=False) == data
    (file,) = (tmp_path / "blobs").glob("??/*")
    written = file.stat().st_mtime_ns
    other = data[:-1] + b"\0"
    file.write_bytes(other)
    os.utime(file, ns=(written, written))
    # As after a disk has lost a bit: it was not hashed again.
    assert store.get_block(cid, afresh=False) == other
    os.utime(file, ns=(written, written + 1))
    with pytest.raises(Corrupt, match="damaged"):
        store.get_block(cid, afresh=False)


def test_what_is_read_for_others_is_hashed_where_nobody_has_done_so(store, tmp_path):
    cid = store.put_block(b"a block", RAW)
    (file,) = (tmp_path / "blobs").glob("??/*")
    file.write_bytes(b"A block")
    with pytest.raises(Corrupt, match="damaged"):
        Blockstore(tmp_path / "blobs").get_block(cid, afresh=False)


def test_what_is_removed_is_not_remembered(store):
    cid = store.put_block(b"a block", RAW)
    store.remove_block(cid)
    assert not store._hashed


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 1_000_000])
def test_a_file_reads_back(store, size):
    data = os.urandom(size)
    cid = store.put_file(data)
    assert cid == unixfs.file_cid(data)
    assert store.has(cid)
    assert store.missing(cid) == []
    assert store.get_file(cid, size) == data


def test_a_file_over_the_limit_is_refused_before_its_leaves_are_read(store):
    cid = store.put_file(bytes(3 * CHUNK))
    for refuse in (store.get_file, store.missing):
        with pytest.raises(Malformed, match="786432 bytes; at most 786431"):
            refuse(cid, 3 * CHUNK - 1)


def test_a_file_is_fetched_level_by_level(store, tmp_path):
    """The loop that a node runs against its peers."""
    data = os.urandom(CHUNK * 175)
    far = Blockstore(tmp_path / "far")
    cid = far.put_file(data)
    rounds = []
    while missing := store.missing(cid):
        rounds.append(len(missing))
        for name in missing:
            assert store.put_block(far.get_block(name), name.codec) == name
    assert rounds == [1, 2, 175]
    assert store.get_file(cid, len(data)) == data


def test_a_file_without_a_leaf_is_missing_that_leaf(store):
    data = os.urandom(3 * CHUNK)
    cid = store.put_file(data)
    second = cid_of_block(data[CHUNK : 2 * CHUNK], RAW)
    store.remove(second)
    assert store.missing(cid) == [second]
    with pytest.raises(Missing) as caught:
        store.get_file(cid, len(data))
    assert caught.value.cid == second


def test_a_damaged_node_is_missing(store, tmp_path):
    cid = store.put_file(os.urandom(CHUNK * 175))
    (node,) = (
        child.cid
        for child in unixfs.parts(unixfs.whole(cid, store.get_block(cid)), store.get_block(cid))
        if child.size > CHUNK
    )
    (file,) = (tmp_path / "blobs").glob(f"*/{node}")
    file.write_bytes(b"damaged")
    assert store.missing(cid) == [node]


def test_a_file_laid_out_otherwise_is_refused(store):
    """As `ipfs add` with another chunk size would: the right content under another root."""
    leaves = [store.put_block(bytes([i]) * CHUNK, RAW) for i in range(2)]
    other = store.put_block(unixfs._node(2 * CHUNK, 1, leaves) + b"\x18\x01", DAG_PB)
    with pytest.raises(Malformed):
        store.get_file(other, 10 * CHUNK)
    with pytest.raises(Malformed):
        store.missing(other)


def test_a_leaf_of_the_wrong_length_is_refused(store):
    leaves = [store.put_block(b"short", RAW), store.put_block(bytes(CHUNK), RAW)]
    root = store.put_block(unixfs._node(2 * CHUNK, 1, leaves), DAG_PB)
    with pytest.raises(Malformed, match="not a leaf of 262144 bytes"):
        store.get_file(root, 2 * CHUNK)


def test_remove_takes_the_whole_file_and_nothing_else(store, tmp_path):
    kept = store.put_file(os.urandom(2 * CHUNK))
    before = blocks_on_disk(tmp_path / "blobs")
    gone = store.put_file(os.urandom(CHUNK * 174 + 1))
    store.remove(gone)
    assert blocks_on_disk(tmp_path / "blobs") == before
    assert store.missing(kept) == []
    store.remove(gone)  # again: nothing happens


def test_a_dag_cbor_block_is_complete_by_itself(store):
    cid = store.put_block(b"\xa0", DAG_CBOR)
    assert store.missing(cid) == []
    store.remove(cid)
    assert store.missing(cid) == [cid]


def test_opening_clears_what_dead_writers_left_but_not_what_is_being_written(store, tmp_path):
    unfinished = tmp_path / "blobs" / "unfinished"
    (unfinished / "old").write_bytes(b"x")
    (unfinished / "fresh").write_bytes(b"x")
    two_hours_ago = time.time() - 7200
    os.utime(unfinished / "old", (two_hours_ago, two_hours_ago))
    Blockstore(tmp_path / "blobs")
    assert [file.name for file in unfinished.iterdir()] == ["fresh"]


WRITER = """
import hashlib, sys
from pathlib import Path
from deepblock.blockstore import Blockstore
store = Blockstore(Path(sys.argv[1]))
for i in range(50):
    data = hashlib.shake_256(bytes([i])).digest(300_000)
    cid = store.put_file(data)
    assert store.get_file(cid, len(data)) == data
"""


def test_processes_share_a_folder(store, tmp_path):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "blobs")]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(blocks_on_disk(tmp_path / "blobs")) == 150  # a root and two leaves each
    assert list((tmp_path / "blobs" / "unfinished").iterdir()) == []
