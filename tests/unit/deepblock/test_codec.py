"""Canonical DAG-CBOR: the bytes are those of other implementations, and no other bytes decode."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

import libipld
import pytest
from pydantic import TypeAdapter, ValidationError

from consensus.task import TaskState
from deepblock import transactions, types
from deepblock.cid import Cid, cid_of_block
from deepblock.codec import I64, MAX_SIZE, U8, U16, U32, U64, U128, Malformed, cid_of, decode, encode
from deepblock.primitives import Hash32, Motes
from deepblock.spec import TaskSpec
from deepblock.types import Score, Seal

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "codec.json").read_text())["structures"]
CLASSES = {**vars(transactions), **vars(types), "TaskSpec": TaskSpec, "TaskState": TaskState}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["type"])
def test_bytes_and_cid_are_those_of_another_implementation(vector):
    cls, data = CLASSES[vector["type"]], bytes.fromhex(vector["bytes"])
    value = TypeAdapter(cls).validate_json(json.dumps(vector["value"]))
    assert encode(value) == data
    assert decode(cls, data) == value
    assert str(cid_of(value)) == vector["cid"]
    assert TypeAdapter(cls).dump_python(value, mode="json") == vector["value"]


@dataclass(frozen=True, slots=True)
class Apple:
    kind: ClassVar[str] = "apple"
    seeds: U8


@dataclass(frozen=True, slots=True)
class Pear:
    kind: ClassVar[str] = "pear"


@dataclass(frozen=True, slots=True)
class Everything:
    """A field of each sort. (Their names are not in the order of their encoding.)"""

    fruit: Apple | Pear
    b: bool
    byte: U8
    long: U64
    wide: U128
    signed: I64
    text: str
    raw: bytes
    digest: Hash32
    link: Cid
    items: tuple[U16, ...]
    inner: Score
    maybe: Score | None
    either: Apple | Pear | None


LINK = cid_of_block(b"x")
SAMPLE = Everything(
    fruit=Apple(3),
    b=True,
    byte=7,
    long=2**40,
    wide=2**100,
    signed=-500,
    text="ä",
    raw=b"abc",
    digest=Hash32(b"d" * 32),
    link=LINK,
    items=(1, 1000),
    inner=Score(1, 2),
    maybe=None,
    either=Pear(),
)
NAMES = sorted((field.name for field in fields(Everything)), key=lambda name: (len(name), name))


def text(value: str) -> bytes:
    return bytes((0x60 | len(value.encode()),)) + value.encode()


def parts() -> dict[str, bytes]:
    """The encoding of each field of the sample, by another library."""
    plain = {
        "fruit": {"kind": "apple", "seeds": 3},
        "b": True,
        "byte": 7,
        "long": 2**40,
        "wide": (2**100).to_bytes(16, "big"),
        "signed": -500,
        "text": "ä",
        "raw": b"abc",
        "digest": b"d" * 32,
        "link": bytes(LINK),  # libipld writes bytes that are a CID as a link
        "items": [1, 1000],
        "inner": {"loss": 1, "correct": 2},
        "maybe": None,
        "either": {"kind": "pear"},
    }
    return {name: libipld.encode_dag_cbor(value) for name, value in plain.items()}


def joined(values: dict[str, bytes], names: list[str] | None = None) -> bytes:
    names = NAMES if names is None else names
    return bytes((0xA0 | len(names),)) + b"".join(text(name) + values[name] for name in names)


def test_every_sort_of_field_is_written_as_libipld_writes_it():
    assert encode(SAMPLE) == joined(parts())
    assert decode(Everything, joined(parts())) == SAMPLE


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x00"


SCORE = libipld.encode_dag_cbor({"loss": 1, "correct": 2})
LINK_BYTES = b"\xd8\x2a\x58\x25\x00" + LINK
WRONG_FIELDS = [
    # integers
    ("byte", "1807", "in more bytes than needed"),
    ("byte", "190007", "in more bytes than needed"),
    ("byte", "1a00000007", "in more bytes than needed"),
    ("byte", "1b0000000000000007", "in more bytes than needed"),
    ("byte", "190100", "above its range"),
    ("byte", "20", "below its range"),
    ("byte", "f4", "false for 0"),
    ("byte", "f6", "null for a number"),
    ("byte", "f90000", "a float of 16 bits"),
    ("byte", "fa40e00000", "a float of 32 bits"),
    ("byte", "fb401c000000000000", "a float of 64 bits, though it is 7.0"),
    ("byte", "6137", "the text '7'"),
    ("byte", "c24107", "a bignum"),
    ("byte", "c107", "a tag"),
    ("byte", "1c", "a reserved length"),
    ("byte", "1f", "an indefinite length"),
    ("long", "c249010000000000000000", "2^64 as a bignum"),
    ("signed", "3b8000000000000000", "-2^63 - 1"),
    ("signed", "1b8000000000000000", "2^63"),
    ("signed", "3801", "-2 in two bytes"),
    # 128 bits
    ("wide", "4f" + "01" * 15, "15 bytes"),
    ("wide", "51" + "01" * 17, "17 bytes"),
    ("wide", "07", "a number for 16 bytes"),
    ("wide", "c250" + "01" * 16, "a bignum"),
    ("wide", "70" + "61" * 16, "text of 16 bytes"),
    # bools, null, text
    ("b", "01", "1 for true"),
    ("b", "f6", "null for a bool"),
    ("b", "f7", "undefined"),
    ("b", "e0", "another simple value"),
    ("b", "f815", "true in two bytes"),
    ("text", "42c3a4", "bytes for text"),
    ("text", "62fffe", "not UTF-8"),
    ("text", "63eda080", "a lone surrogate"),
    ("text", "7802c3a4", "a length in more bytes than needed"),
    ("text", "7f62c3a4ff", "text of indefinite length"),
    ("text", "7b7fffffffffffffff", "a length of 2^63"),
    ("text", "63c3a4", "longer than what follows"),
    # bytes and links
    ("raw", "63616263", "text for bytes"),
    ("raw", "5f43616263ff", "bytes of indefinite length"),
    ("raw", "5803616263", "a length in more bytes than needed"),
    ("raw", "5bffffffffffffffff", "a length of 2^64 - 1"),
    ("raw", "83186118621863", "a list of bytes"),
    ("raw", LINK_BYTES.hex(), "a link for bytes"),
    ("digest", "581f" + "64" * 31, "31 bytes"),
    ("digest", "5821" + "64" * 33, "33 bytes"),
    ("digest", "7820" + "64" * 32, "text of 32 letters"),
    ("digest", "f6", "null for a digest"),
    ("digest", "80", "a list for a digest"),
    ("link", "5824" + LINK.hex(), "bytes for a link"),
    ("link", "5825" + "00" + LINK.hex(), "bytes for a link, with the prefix"),
    ("link", "782462" + "61" * 35, "text for a link"),
    ("link", "6161", "short text for a link"),
    ("link", "80", "a list for a link"),
    ("link", "8101", "a list of one for a link"),
    ("link", "9824" + "01" * 36, "a list of 36 for a link"),
    ("link", "a0", "a map for a link"),
    ("link", "f6", "null for a link"),
    ("link", "05", "a number for a link"),
    ("link", "d82a5824" + LINK.hex(), "a link without its prefix"),
    ("link", "d82a582501" + LINK.hex(), "a link with another prefix"),
    ("link", "d82a5826" + "00" + LINK.hex() + "00", "a link with a byte too many"),
    ("link", "d82a5825" + "00" + "0172" + LINK.hex()[4:], "a link of another codec"),
    ("link", "d82a5825" + "00" + "01711320" + LINK.hex()[8:], "a link of another hash"),
    ("link", "d82a40", "an empty link"),
    ("link", "d9002a5825" + "00" + LINK.hex(), "tag 42 in three bytes"),
    ("link", "d82b5825" + "00" + LINK.hex(), "another tag"),
    ("link", "d82ad82a5825" + "00" + LINK.hex(), "a tagged tag"),
    # lists
    ("items", "9f011903e8ff", "a list of indefinite length"),
    ("items", "9802011903e8", "a length in more bytes than needed"),
    ("items", "9bffffffffffffffff", "a length of 2^64 - 1"),
    ("items", "9a10000000", "a length of 2^28"),
    ("items", "83011903e8", "longer than what follows"),
    ("items", "82011a00010000", "an item above its range"),
    ("items", "8201f6", "null among the items"),
    ("items", "420103", "bytes for a list"),
    ("items", "a0", "a map for a list"),
    ("items", nested(100).hex(), "lists in lists"),
    ("items", nested(200_000).hex(), "lists in lists in lists …"),
    # maps
    ("inner", "f6", "null for a structure"),
    ("inner", "820102", "a list for a structure"),
    ("inner", "a0", "no fields"),
    ("inner", "a1646c6f737301", "a field missing"),
    ("inner", "a3616100646c6f73730167636f727265637402", "a field too many"),
    ("inner", "a2646c6f73730167636f727265637302", "a field of another name"),
    ("inner", "a267636f727265637402646c6f737301", "fields in another order"),
    ("inner", "a2646c6f737301646c6f737301", "the same field twice"),
    ("inner", "a3646c6f737301646c6f73730167636f727265637402", "the same field twice, and all"),
    ("inner", "bf646c6f73730167636f727265637402ff", "a map of indefinite length"),
    ("inner", "b802646c6f73730167636f727265637402", "a length in more bytes than needed"),
    ("inner", "a2446c6f73730167636f727265637402", "a name that is bytes"),
    ("inner", "a2010167636f727265637402", "a name that is a number"),
    ("inner", "bb7fffffffffffffff", "a length of 2^63"),
    ("maybe", "00", "a number for a structure or null"),
    ("maybe", "f4", "false for null"),
    # unions
    ("fruit", "a1646b696e646561" + "70706c65", "a field of the kind missing"),
    ("fruit", "a1657365656473" + "03", "no kind"),
    ("fruit", "a2646b696e646470656172657365656473" + "03", "another kind's field"),
    ("fruit", "a1646b696e64646b697769", "an unknown kind"),
    ("fruit", "a1646b696e6401", "a kind that is a number"),
    ("fruit", "a1646b696e6481646b697769", "a kind that is a list"),
    ("fruit", "f6", "null where there is no None"),
    ("either", "a0", "an empty map"),
    ("either", "f5", "true"),
]


@pytest.mark.parametrize(
    ("name", "data", "why"), WRONG_FIELDS, ids=[f"{name}: {why}" for name, _, why in WRONG_FIELDS]
)
def test_a_wrong_field_is_refused(name, data, why):
    with pytest.raises(Malformed, match="Everything"):
        decode(Everything, joined({**parts(), name: bytes.fromhex(data)}))


def test_a_wrong_whole_is_refused():
    good = joined(parts())
    extra = {**parts(), "zzzzzz": b"\x00"}
    for data in (
        b"",
        good[:-1],
        good + b"\x00",
        good + good,
        b"\x81" + good,
        b"\xd9\xd9\xf7" + good,  # the tag of 'this is CBOR'
        joined(parts(), NAMES[:-1]),
        joined(extra, [*NAMES, "zzzzzz"]),
        joined(parts(), sorted(NAMES)),  # alphabetical, not the shorter first
        joined(parts(), [*NAMES[:1], *NAMES[:-1]]),
        b"\xf6",
        b"\x00",
    ):
        with pytest.raises(Malformed):
            decode(Everything, data)


def test_every_other_byte_means_something_else_or_nothing():
    """Flip any bit: the bytes are refused, or they are the canonical bytes of another value."""
    good = encode(SAMPLE)
    for place in range(len(good)):
        for bit in range(8):
            changed = good[:place] + bytes((good[place] ^ 1 << bit,)) + good[place + 1 :]
            try:
                found = decode(Everything, changed)
            except Malformed:
                continue
            assert found != SAMPLE
            assert encode(found) == changed


@pytest.mark.parametrize(
    "data", [b"\x81" * MAX_SIZE, b"\xa1\x61a" * (MAX_SIZE // 3), b"\xd8\x2a" * (MAX_SIZE // 2)]
)
def test_bottomless_nesting_is_only_malformed(data):
    with pytest.raises(Malformed):
        decode(Score, data)


def test_the_size_is_looked_at_first():
    data = encode(SAMPLE)
    assert decode(Everything, data, len(data)) == SAMPLE
    with pytest.raises(Malformed, match=f"{len(data)} bytes, more than {len(data) - 1}"):
        decode(Everything, data, len(data) - 1)
    with pytest.raises(Malformed, match=f"more than {MAX_SIZE}"):
        decode(Everything, bytes(MAX_SIZE + 1))


def test_a_refusal_does_not_repeat_all_that_was_sent():
    """Reasons are logged and kept; a peer must not choose how long they are."""
    with pytest.raises(Malformed) as caught:
        decode(Score, libipld.encode_dag_cbor({"x" * 100_000: 1}))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("byte", 256),
        ("byte", -1),
        ("long", 2**64),
        ("wide", 2**128),
        ("wide", -1),
        ("signed", 2**63),
        ("signed", -(2**63) - 1),
        ("items", (65536,)),
    ],
)
def test_what_is_out_of_range_is_not_written(name, value):
    with pytest.raises(ValueError, match="is not between"):
        encode(replace(SAMPLE, **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("byte", 255),
        ("long", 2**64 - 1),
        ("wide", 2**128 - 1),
        ("wide", 0),
        ("signed", -(2**63)),
        ("signed", 2**63 - 1),
    ]
    + [("long", number) for number in (23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32)]
    + [("signed", number) for number in (-1, -24, -25, -256, -257, -65537, -(2**32), -(2**32) - 1)],
)
def test_the_ends_of_each_range_are_written_as_libipld_writes_them(name, value):
    sample = replace(SAMPLE, **{name: value})
    plain = value.to_bytes(16, "big") if name == "wide" else value
    assert encode(sample) == joined({**parts(), name: libipld.encode_dag_cbor(plain)})
    assert decode(Everything, encode(sample)) == sample


def test_a_digest_that_looks_like_a_link_stays_bytes():
    """A general library guesses; the schema knows."""
    sample = replace(SAMPLE, raw=bytes(LINK))
    assert encode(sample) == joined({**parts(), "raw": b"\x58\x24" + LINK})
    assert type(decode(Everything, encode(sample)).raw) is bytes


def test_a_link_is_a_cid_again():
    seal = Seal((LINK, LINK), LINK, Score(1, 2))
    assert all(type(state) is Cid for state in decode(Seal, encode(seal)).states)


def test_a_hint_without_a_meaning_is_a_bug():
    @dataclass(frozen=True)
    class Odd:
        number: float

    with pytest.raises(TypeError, match="float"):
        encode(Odd(1.5))


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (U8, "255", 255),
        (Motes, '"18446744073709551615"', 2**64 - 1),
        (Motes, "5", 5),
        (U128, f'"{2**128 - 1}"', 2**128 - 1),
        (I64, "-5", -5),
        (U32, "0", 0),
    ],
)
def test_integers_in_json(hint, text, value):
    assert TypeAdapter(hint).validate_json(text) == value


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (U8, "256"),
        (U8, "-1"),
        (U8, "1.0"),
        (U8, '"1"'),
        (U8, "true"),
        (Motes, '"18446744073709551616"'),
        (Motes, '"-1"'),
        (Motes, '"01"'),
        (Motes, '"1 "'),
        (Motes, '"1_0"'),
        (Motes, '"١"'),
        (Motes, "1.5"),
        (U128, f'"{2**128}"'),
        (U128, f'"{"1" * 5000}"'),
    ],
)
def test_other_integers_in_json_are_refused(hint, text):
    with pytest.raises(ValidationError):
        TypeAdapter(hint).validate_json(text)


def test_large_amounts_are_text_in_json_and_numbers_in_python():
    assert TypeAdapter(Motes).dump_json(5) == b'"5"'
    assert TypeAdapter(Motes).dump_python(5) == 5
    assert TypeAdapter(U64).dump_json(5) == b"5"
