"""Making room: what goes, in which order, and what stays whatever the quota."""

import os
import time

import pytest

from deepblock.blockstore import Blockstore
from node.ipfs.collection import Collected, collect
from node.ipfs.policy import Kept

SIZE = 600_000
"""Of a file: three leaves and a node."""
NODE = 300
"""More than the bytes of that node."""


@pytest.fixture
def store(tmp_path):
    return Blockstore(tmp_path / "blobs")


def make(store, seed):
    return store.put_file(bytes([seed]) + os.urandom(SIZE - 1))


def kept(needed=(), useful=()):
    return Kept(frozenset(needed), tuple(useful))


def test_below_the_quota_nothing_goes(store):
    file = make(store, 0)
    found = collect(store, kept(), SIZE + NODE, time.time() + 1)
    assert found == Collected(found.stored) and SIZE < found.stored <= SIZE + NODE
    assert not store.missing(file)


def test_the_unkept_go_first_then_the_useful_in_their_order(store):
    needed, loose, early, late = (make(store, seed) for seed in range(4))
    policy = kept([needed], [early, late])
    for quota, gone in ((3.5, {loose}), (2.5, {loose, early}), (1.5, {loose, early, late})):
        found = collect(store, policy, int(quota * SIZE), time.time() + 1)
        assert found.freed and found.stored <= quota * SIZE
        assert {file for file in (needed, loose, early, late) if store.missing(file)} == gone


def test_what_is_needed_stays_whatever_the_quota(store):
    needed = [make(store, seed) for seed in range(3)]
    found = collect(store, kept(needed, needed), 1, time.time() + 1)
    assert (found.freed, found.blocks) == (0, 0) and found.stored > 3 * SIZE
    assert not any(map(store.missing, needed))


def test_the_young_stay(store):
    young = make(store, 0)
    assert collect(store, kept(), 1, time.time() - 60).freed == 0
    assert not store.missing(young)
    assert collect(store, kept(), 1, time.time() + 1).stored == 0


def test_blocks_that_files_share_stay_with_the_last_of_them(store):
    """As frozen layers do, at the beginning of every model of their task."""
    frozen = os.urandom(2 * 262_144)
    needed, other = store.put_file(frozen + b"needed"), store.put_file(frozen + os.urandom(262_144))
    early, late = (store.put_file(bytes(262_144) + rest) for rest in (os.urandom(262_144), b"late"))
    collect(store, kept([needed], [other, early, late]), 1_000_000, time.time() + 1)
    assert not store.missing(needed) and not store.missing(late)
    assert store.missing(other) and store.missing(early)


def test_a_damaged_file_is_no_obstacle(store, tmp_path):
    file = make(store, 0)
    name = str(file)
    (tmp_path / "blobs" / name[-3:-1] / name).write_bytes(b"damaged")
    (tmp_path / "blobs" / "notes.txt").write_text("not ours")
    (tmp_path / "blobs" / name[-3:-1] / "notes.txt").write_text("not ours")
    found = collect(store, kept([file]), 1, time.time() + 1)
    assert found.freed == SIZE and not store.has(file)  # its leaves are nobody's now
