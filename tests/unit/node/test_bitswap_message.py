"""Messages of bitswap: the same as protobuf's own classes write and read, and bounded whatever is in them."""

import pytest
from libp2p.bitswap.pb.bitswap_pb2 import Message as Reference

from deepblock.cid import DAG_CBOR, DAG_PB, RAW, cid_of_block
from deepblock.codec import Malformed
from deepblock.protobuf import number, read_varint, string
from node.p2p.bitswap_message import MAX_CID, MAX_WANTS, Message, Want, decode

BLOCKS = tuple(
    (cid_of_block(data, codec), data) for data, codec in ((b"one", RAW), (b"", DAG_PB), (b"\xa0", DAG_CBOR))
)
FULL = Message(
    wants=(
        Want(BLOCKS[0][0]),
        Want(BLOCKS[1][0], have=True, tell=True),
        Want(b"\x12\x20" + bytes(32), cancel=True),
    ),
    full=True,
    blocks=BLOCKS,
    presences=((BLOCKS[0][0], True), (BLOCKS[1][0], False)),
)


def body_of(message: Message) -> bytes:
    data = message.encode()
    size, start = read_varint(data, 0)
    assert len(data) == start + size
    return data[start:]


@pytest.mark.parametrize("message", [Message(), FULL, Message(full=True), Message(wants=FULL.wants)])
def test_a_message_is_read_as_it_was_written(message):
    assert decode(body_of(message)) == message


def test_protobufs_own_classes_read_what_we_write():
    read = Reference.FromString(body_of(FULL))
    wants = [(w.block, w.wantType, w.sendDontHave, w.cancel) for w in read.wantlist.entries]
    assert wants == [(w.cid, w.have, w.tell, w.cancel) for w in FULL.wants]
    assert read.wantlist.full
    assert [(b.prefix, b.data) for b in read.payload] == [(cid[:4], data) for cid, data in BLOCKS]
    assert [(p.cid, p.type) for p in read.blockPresences] == [(BLOCKS[0][0], 0), (BLOCKS[1][0], 1)]


def test_we_read_what_protobufs_own_classes_write():
    theirs = Reference(pendingBytes=5)
    theirs.wantlist.entries.add(block=BLOCKS[0][0], priority=-7, wantType=1, sendDontHave=True)
    theirs.payload.add(prefix=BLOCKS[0][0][:4], data=b"one")
    theirs.blockPresences.add(cid=BLOCKS[1][0], type=1)
    assert decode(theirs.SerializeToString()) == Message(
        wants=(Want(BLOCKS[0][0], have=True, tell=True),),
        blocks=(BLOCKS[0],),
        presences=((BLOCKS[1][0], False),),
    )


def test_blocks_of_other_shapes_are_counted_and_not_hashed():
    theirs = Reference(blocks=[b"of version 1.0"])
    theirs.payload.add(prefix=b"\x01\x55\x13\x40", data=b"sha2-512")
    assert decode(theirs.SerializeToString()) == Message(strange=2)


def test_wants_beyond_the_limit_are_ignored():
    wants = tuple(Want(cid_of_block(str(n).encode(), RAW)) for n in range(MAX_WANTS + 5))
    assert decode(body_of(Message(wants=wants))).wants == wants[:MAX_WANTS]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (number(5, 1) * 100_000, "more than 16384 fields"),
        (string(1, number(9, 1) * 100_000), "more than 16384 fields"),
        (string(1, string(1, number(9, 1) * 100_000)), "more than 16384 fields"),
        (string(1, string(1, string(1, bytes(MAX_CID + 1)))), "names no CID"),
        (string(1, string(1, number(1, 7))), "names no CID"),
        (string(4, b""), "names no CID"),
        (b"\xff" * 64, "does not end"),
        (b"\x0a\xff\x01", "not a protocol buffer"),
        (b"\x0b\x01", "not a protocol buffer"),
    ],
)
def test_what_is_no_message_is_malformed(body, reason):
    with pytest.raises(Malformed, match=reason):
        decode(body)
