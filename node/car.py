"""Blocks in a row, each behind its CID: the sections of a CAR file (https://ipld.io/specs/transport/car/carv1/).

A reply full of blocks is copied once to write it and once to read it; as a structure of DAG-CBOR, seven times in all.
"""

from collections.abc import Iterable

from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.protobuf import read_varint, varint


def write(blocks: Iterable[tuple[Cid, bytes]]) -> bytes:
    return b"".join(piece for cid, data in blocks for piece in (varint(Cid.SIZE + len(data)), cid, data))


def read(row: bytes) -> dict[Cid, bytes]:
    """What is in it is not compared with its CIDs. Raises Malformed."""
    blocks: dict[Cid, bytes] = {}
    at = 0
    while at < len(row):
        length, at = read_varint(row, at)
        if not Cid.SIZE <= length <= len(row) - at:
            raise Malformed(f"a section of {length} bytes where {len(row) - at} are left")
        try:
            cid = Cid(row[at : at + Cid.SIZE])
        except ValueError as error:
            raise Malformed(str(error)) from None
        blocks[cid] = row[at + Cid.SIZE : at + length]
        at += length
    return blocks
