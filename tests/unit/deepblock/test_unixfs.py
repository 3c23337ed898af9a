"""UnixFS against vectors made by another implementation, and against files laid out in other ways."""

import hashlib
import json
from pathlib import Path

import pytest

from deepblock import unixfs
from deepblock.cid import DAG_CBOR, DAG_PB, RAW, Cid, cid_of_block
from deepblock.codec import Malformed

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "unixfs.json").read_text())["files"]
CHUNK = 262_144


def content(size: int) -> bytes:
    return hashlib.shake_256(b"unixfs").digest(size)


def read_back(cid: Cid, blocks: dict[Cid, bytes]) -> bytes:
    def read(part: unixfs.Part) -> bytes:
        block = blocks[part.cid]
        return b"".join(map(read, unixfs.parts(part, block))) if part.height else block

    return read(unixfs.whole(cid, blocks[cid]))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["size"]))
def test_cid_and_blocks_are_those_of_the_reference(vector):
    cid, blocks = unixfs.split_file(content(vector["size"]))
    assert str(cid) == vector["cid"]
    assert len(blocks) == vector["blocks"]
    assert all(cid_of_block(block, name.codec) == name for name, block in blocks.items())


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK, 174 * CHUNK + 1])
def test_a_file_reads_back_from_its_blocks(size):
    data = content(size)
    cid, blocks = unixfs.split_file(data)
    assert read_back(cid, blocks) == data
    assert unixfs.file_cid(data) == cid


def test_a_piece_says_where_in_the_file_it_stands():
    size = 176 * CHUNK - 7
    cid, blocks = unixfs.split_file(content(size))
    file = unixfs.whole(cid, blocks[cid])
    nodes = unixfs.parts(file, blocks[cid])
    leaves = [leaf for node in nodes for leaf in unixfs.parts(node, blocks[node.cid])]
    assert file.start == 0 and [node.start for node in nodes] == [0, 174 * CHUNK]
    assert [leaf.start for leaf in leaves] == list(range(0, size, CHUNK))


def test_children_come_before_their_parents():
    cid, blocks = unixfs.split_file(content(176 * CHUNK))
    order = {name: place for place, name in enumerate(blocks)}
    part = unixfs.whole(cid, blocks[cid])
    for child in unixfs.parts(part, blocks[cid]):
        assert order[child.cid] < order[cid]
        assert all(order[leaf.cid] < order[child.cid] for leaf in unixfs.parts(child, blocks[child.cid]))


def node_of(size: int) -> tuple[unixfs.Part, bytes]:
    cid, blocks = unixfs.split_file(content(size))
    return unixfs.whole(cid, blocks[cid]), blocks[cid]


def test_any_changed_byte_of_a_node_outside_its_hashes_is_refused():
    part, block = node_of(3 * CHUNK - 5)
    starts = [block.index(child.cid) + 4 for child in unixfs.parts(part, block)]
    hashes = {place for start in starts for place in range(start, start + 32)}
    for place in set(range(len(block))) - hashes:
        changed = block[:place] + bytes([block[place] ^ 1]) + block[place + 1 :]
        with pytest.raises(Malformed):
            unixfs.parts(unixfs.whole(cid_of_block(changed, DAG_PB), changed), changed)


def test_a_truncated_node_is_refused():
    _, block = node_of(3 * CHUNK)
    for end in range(len(block)):
        cut = block[:end]
        with pytest.raises(Malformed):
            unixfs.parts(unixfs.whole(cid_of_block(cut, DAG_PB), cut), cut)


def test_bytes_after_the_node_are_refused():
    _, block = node_of(3 * CHUNK)
    longer = block + b"\x18\x01"
    with pytest.raises(Malformed, match="canonical"):
        unixfs.parts(unixfs.whole(cid_of_block(longer, DAG_PB), longer), longer)


def test_a_node_that_claims_an_enormous_file_is_refused_at_once():
    part, block = node_of(2 * CHUNK)
    huge = unixfs.Part(part.cid, 2**62, unixfs._height(2**62))
    with pytest.raises(Malformed, match="over 4611686018427387904 bytes"):
        unixfs.parts(huge, block)


def test_a_short_file_under_a_node_is_refused():
    leaf = cid_of_block(b"abc", RAW)
    node = unixfs._node(3, 1, [leaf])
    with pytest.raises(Malformed, match="leaf"):
        unixfs.parts(unixfs.whole(cid_of_block(node, DAG_PB), node), node)


def test_a_leaf_of_another_length_is_refused():
    part, block = node_of(2 * CHUNK)
    first = unixfs.parts(part, block)[0]
    with pytest.raises(Malformed, match="262144 bytes"):
        unixfs.parts(first, b"short")


@pytest.mark.parametrize("leaves", [2, 175])
def test_a_link_to_the_wrong_kind_of_block_is_refused_before_it_is_fetched(leaves):
    part, block = node_of(leaves * CHUNK)
    children = [child.cid for child in unixfs.parts(part, block)]
    for other in {RAW, DAG_PB, DAG_CBOR} - {children[0].codec}:
        wrong = unixfs._node(part.size, part.height, [cid_of_block(b"x", other), *children[1:]])
        with pytest.raises(Malformed, match="canonical"):
            unixfs.parts(unixfs.whole(cid_of_block(wrong, DAG_PB), wrong), wrong)


def test_an_unknown_kind_of_link_is_refused():
    part, block = node_of(2 * CHUNK)
    sha1 = block.replace(b"\x01\x55\x12\x20", b"\x01\x55\x11\x20")
    with pytest.raises(Malformed, match="not a CIDv1"):
        unixfs.parts(unixfs.Part(cid_of_block(sha1, DAG_PB), part.size, part.height), sha1)
