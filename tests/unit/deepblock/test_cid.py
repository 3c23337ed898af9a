"""CIDs: one shape, one text, and no crash on any other."""

import base64
import hashlib

import pytest
from pydantic import TypeAdapter, ValidationError

from deepblock.cid import DAG_CBOR, DAG_PB, RAW, Cid, cid_of_block

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
"""Of 'hello world', by the Python package multiformats 0.3.1."""


def test_a_known_cid():
    cid = cid_of_block(b"hello world", RAW)
    assert str(cid) == HELLO
    assert Cid.parse(HELLO) == cid
    assert cid == b"\x01\x55\x12\x20" + hashlib.sha256(b"hello world").digest()


def test_the_codecs_are_those_of_the_multicodec_table():
    assert (RAW, DAG_PB, DAG_CBOR) == (0x55, 0x70, 0x71)


def test_a_structure_is_dag_cbor_unless_said_otherwise():
    assert cid_of_block(b"\xa0").codec == DAG_CBOR
    assert str(cid_of_block(b"\xa0")) == "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"


@pytest.mark.parametrize("codec", [RAW, DAG_PB, DAG_CBOR])
def test_text_comes_back(codec):
    cid = cid_of_block(b"x", codec)
    assert (Cid.parse(str(cid)), cid.codec, len(cid)) == (cid, codec, Cid.SIZE)
    assert repr(cid) == f"Cid({cid})"


GOOD = cid_of_block(b"x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\0",
        b"\x00" + GOOD[1:],  # version 0
        b"\x02" + GOOD[1:],
        GOOD[:1] + b"\x72" + GOOD[2:],  # another codec
        GOOD[:2] + b"\x13" + GOOD[3:],  # sha2-512
        GOOD[:3] + b"\x1f" + GOOD[4:],  # a shortened digest
        str(GOOD),
        "x" * 36,
        list(GOOD),
        None,
        36,
    ],
    ids=repr,
)
def test_anything_else_is_refused_as_a_value(data):
    """ValueError, never another error: these come from the wire, and `codec.decode` relies on it."""
    with pytest.raises(ValueError, match="CID"):
        Cid(data)


def loose_bits() -> str:
    """The same 36 bytes, with a one among the two bits that base32 has left over."""
    return (
        HELLO[:-1]
        + "abcdefghijklmnopqrstuvwxyz234567"["abcdefghijklmnopqrstuvwxyz234567".index(HELLO[-1]) + 1]
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        HELLO[:-1],
        HELLO + "a",
        HELLO.upper(),
        "B" + HELLO[1:],
        "z" + HELLO[1:],
        HELLO[:-1] + "1",
        HELLO[:-1] + "=",
        HELLO[:-1] + "ı",  # small letters whose capital is I, or SS
        HELLO[:-1] + "ß",
        loose_bits(),
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnsXPb",
        "b" + base64.b32encode(bytes(36)).decode().lower().rstrip("="),
    ],
)
def test_another_text_is_refused(text):
    with pytest.raises(ValueError):
        Cid.parse(text)


def test_json_is_the_text():
    adapter = TypeAdapter(Cid)
    assert adapter.dump_json(GOOD) == f'"{GOOD}"'.encode()
    assert adapter.validate_json(f'"{GOOD}"') == GOOD
    assert adapter.validate_python(GOOD) is GOOD
    with pytest.raises(ValidationError):
        adapter.validate_json('"bafy"')
