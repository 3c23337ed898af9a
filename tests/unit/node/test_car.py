"""Blocks in a row: what was written is read, and a row that is none is refused."""

import pytest

from deepblock.cid import DAG_CBOR, RAW, cid_of_block
from deepblock.codec import Malformed
from deepblock.protobuf import varint
from node import car

LEAF, EMPTY, BODY = b"leaf" * 100, b"", b"\xa0"
BLOCKS = {
    cid_of_block(LEAF, RAW): LEAF,
    cid_of_block(EMPTY, RAW): EMPTY,
    cid_of_block(BODY, DAG_CBOR): BODY,
}
ROW = car.write(BLOCKS.items())


def test_what_was_written_is_read_in_the_same_order():
    assert list(car.read(ROW).items()) == list(BLOCKS.items())
    assert car.read(car.write([])) == {}


def test_a_section_is_as_a_car_file_has_it():
    """https://ipld.io/specs/transport/car/carv1/#data"""
    cid, data = next(iter(BLOCKS.items()))
    assert car.write([(cid, data)]) == b"\xb4\x03" + cid + data  # 436 = 36 + 400, seven bits a byte


def test_a_row_that_is_cut_anywhere_is_refused():
    ends = {len(car.write(list(BLOCKS.items())[:count])) for count in range(len(BLOCKS) + 1)}
    for end in set(range(len(ROW))) - ends:
        with pytest.raises(Malformed):
            car.read(ROW[:end])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (varint(35) + bytes(35), "a section of 35 bytes"),
        (varint(2**62) + bytes(100), "where 100 are left"),
        (varint(40) + b"\x01\x55\x11\x20" + bytes(36), "not a CIDv1"),
        (b"\xff" * 20, "does not end"),
    ],
)
def test_a_section_that_is_none_is_refused(row, reason):
    with pytest.raises(Malformed, match=reason):
        car.read(row)
