"""Files as IPLD blocks: UnixFS, so that any IPFS client can fetch them (https://specs.ipfs.tech/unixfs/).

A file of up to 262,144 bytes is one raw block. A longer one is cut into leaves of that size under a balanced
tree of dag-pb nodes, 174 links each, all leaves at one depth (protocol: Encoding). The layout leaves no
freedom: the shape of the tree, and every byte of a node but its links' hashes, follow from the file's length.
So a node is checked by writing it again, and a file that is laid out otherwise is refused at its topmost
block, before its leaves are fetched.
"""

from dataclasses import dataclass
from functools import lru_cache

from deepblock.cid import DAG_PB, RAW, Cid, cid_of_block
from deepblock.codec import Malformed
from deepblock.protobuf import fields, head, number, string

CHUNK = 262_144
"""Bytes in every leaf but the last."""
LINKS = 174
"""Children of every full node."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file: the `size` bytes below `cid`, from byte `start` on, its leaves `height` levels down
    (0: it is one)."""

    cid: Cid
    size: int
    height: int
    start: int = 0


def split_file(data: bytes) -> tuple[Cid, dict[Cid, bytes]]:
    """The file's CID and its blocks, children before their parents."""
    blocks: dict[Cid, bytes] = {}

    def add(start: int, size: int, height: int) -> Cid:
        if height == 0:
            block, codec = data[start : start + size], RAW
        else:
            step = _capacity(height - 1)
            cids = [
                add(start + i * step, part, height - 1) for i, part in enumerate(_part_sizes(size, height))
            ]
            block, codec = _node(size, height, cids), DAG_PB
        cid = cid_of_block(block, codec)
        blocks[cid] = block
        return cid

    root = add(0, len(data), _height(len(data)))
    return root, blocks


def file_cid(data: bytes) -> Cid:
    """The file's CID: what `ipfs add` would call it."""
    return split_file(data)[0]


def whole(cid: Cid, block: bytes) -> Part:
    """The whole file that `cid` names, from its topmost block. Raises Malformed."""
    size = len(block) if cid.codec == RAW else _stated_size(block)
    return Part(cid, size, _height(size))


def parts(part: Part, block: bytes) -> list[Part]:
    """The pieces right below `part` (none for a leaf); `block` is its block, whose hash is checked.

    Raises Malformed unless it is, byte for byte, the block that the layout puts there.
    """
    if part.height == 0:
        if part.cid.codec != RAW or len(block) != part.size:
            raise Malformed(f"{part.cid}: not a leaf of {part.size} bytes")
        return []
    _, holes = _frame(part.size, part.height)
    try:
        cids = [Cid(block[hole : hole + Cid.SIZE]) for hole in holes]
    except ValueError as error:
        raise Malformed(f"{part.cid}, as a UnixFS node over {part.size} bytes: {error}") from error
    canonical = (
        part.cid.codec == DAG_PB
        and {cid.codec for cid in cids} == {DAG_PB if part.height > 1 else RAW}
        and block == _node(part.size, part.height, cids)
    )
    if not canonical:
        raise Malformed(f"{part.cid}: not the canonical UnixFS node over {part.size} bytes")
    return [
        Part(cid, size, part.height - 1, part.start + at * _capacity(part.height - 1))
        for at, (cid, size) in enumerate(zip(cids, _part_sizes(part.size, part.height), strict=True))
    ]


# The shape of the tree, which follows from the length alone


def _capacity(height: int) -> int:
    """Bytes under a full node of this height."""
    size: int = CHUNK * LINKS**height
    return size


def _height(size: int) -> int:
    height = 0
    while _capacity(height) < size:
        height += 1
    return height


def _part_sizes(size: int, height: int) -> list[int]:
    step = _capacity(height - 1)
    return [min(step, size - start) for start in range(0, size, step)]


@lru_cache(maxsize=1024)
def _stored_size(size: int, height: int) -> int:
    """Bytes of all blocks of a part together, nodes included: what dag-pb calls Tsize."""
    if height == 0:
        return size
    frame, _ = _frame(size, height)
    return len(frame) + sum(_stored_size(part, height - 1) for part in _part_sizes(size, height))


# dag-pb is PBNode {1: Data, 2: repeated PBLink {1: Hash, 2: Name, 3: Tsize}}, links first;
# UnixFS, as its Data, is {1: Type (2 means file), 3: filesize, 4: repeated blocksizes}.


def _node(size: int, height: int, cids: list[Cid]) -> bytes:
    frame, holes = _frame(size, height)
    node = bytearray(frame)
    for hole, cid in zip(holes, cids, strict=True):
        node[hole : hole + Cid.SIZE] = cid
    return bytes(node)


@lru_cache(maxsize=64)
def _frame(size: int, height: int) -> tuple[bytes, tuple[int, ...]]:
    """The node over these bytes with a hole for each link's CID, and where the holes are."""
    below = _part_sizes(size, height)
    node, holes = bytearray(), []
    for part in below:
        after = string(2, b"") + number(3, _stored_size(part, height - 1))
        cid = head(1, Cid.SIZE)
        node += head(2, len(cid) + Cid.SIZE + len(after)) + cid
        holes.append(len(node))
        node += bytes(Cid.SIZE) + after
    unixfs = number(1, 2) + number(3, size) + b"".join(number(4, part) for part in below)
    return bytes(node + string(1, unixfs)), tuple(holes)


def _stated_size(node: bytes) -> int:
    for field, value in fields(node):
        if field == 1 and isinstance(value, bytes):
            for inner, size in fields(value):
                if inner == 3 and isinstance(size, int):
                    return size
    raise Malformed("a dag-pb node that is no UnixFS file")
