"""Whatever the value and whatever the bytes: one value has one encoding, and nothing else is ever read or thrown."""

import contextlib

import libipld
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepblock.cid import DAG_CBOR, DAG_PB, RAW, cid_of_block
from deepblock.codec import Malformed, decode, encode
from deepblock.primitives import Address, Hash32, PublicKey, Signature
from deepblock.transactions import CloseTask, FraudProof, FundTask, OpenTask, Transaction, Transfer
from deepblock.types import Block, Body, Header, Result, Score, Seal, Share
from tests.unit.consensus.parts import SPEC


def uint(bits):
    return st.integers(0, 2**bits - 1)


def fixed(cls):
    return st.binary(min_size=cls.SIZE, max_size=cls.SIZE).map(cls)


CIDS = st.builds(cid_of_block, st.binary(max_size=4), st.sampled_from((RAW, DAG_PB, DAG_CBOR)))
SCORES = st.builds(Score, uint(64), uint(32))
HEADERS = st.builds(
    Header,
    uint(16),
    CIDS,
    uint(64),
    CIDS,
    fixed(Hash32),
    uint(64),
    uint(128),
    CIDS,
    CIDS,
    fixed(Address),
    uint(64),
)
SEALS = st.builds(Seal, st.lists(CIDS, max_size=5).map(tuple), CIDS, SCORES)
SIGNED = (CIDS, fixed(PublicKey), uint(64), uint(64))
PAYLOADS = st.one_of(
    st.builds(Transfer, *SIGNED, fixed(Address), uint(64)),
    st.builds(OpenTask, *SIGNED, st.just(SPEC), uint(64), uint(64), st.none() | uint(64)),
    st.builds(FundTask, *SIGNED, CIDS, uint(64)),
    st.builds(CloseTask, *SIGNED, CIDS),
    st.builds(FraudProof, *SIGNED, CIDS, uint(64), uint(16)),
)
TRANSACTIONS = st.builds(Transaction, PAYLOADS, fixed(Signature))
BLOCKS = st.builds(Block, HEADERS, SEALS, st.builds(Result, CIDS, SCORES))
BODIES = st.builds(
    Body,
    st.lists(TRANSACTIONS, max_size=3).map(tuple),
    st.lists(st.builds(Share, HEADERS, SEALS), max_size=2).map(tuple),
    st.lists(CIDS, max_size=3).map(tuple),
)
VALUES = st.one_of(SCORES, HEADERS, SEALS, TRANSACTIONS, BLOCKS, BODIES)
CLASSES = (Score, Header, Seal, Transfer, OpenTask, FraudProof, Transaction, Block, Body)


@given(VALUES)
@settings(max_examples=200)
def test_a_value_comes_back(value):
    data = encode(value)
    assert decode(type(value), data) == value


@given(VALUES)
@settings(max_examples=100)
def test_another_library_reads_it_and_writes_it_again(value):
    data = encode(value)
    assert libipld.encode_dag_cbor(libipld.decode_dag_cbor(data)) == data


@given(VALUES, st.data())
@settings(max_examples=300)
def test_changed_bytes_are_refused_or_are_another_value(value, data):
    good = encode(value)
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, min(len(good), start + 6)))
    changed = good[:start] + data.draw(st.binary(max_size=6)) + good[end:]
    try:
        found = decode(type(value), changed)
    except Malformed:
        return
    assert encode(found) == changed
    assert (found == value) is (changed == good)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.text(max_size=4)
    | st.binary(max_size=40)
    | CIDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(CLASSES), st.binary(max_size=200) | PLAIN.map(libipld.encode_dag_cbor))
@settings(max_examples=500)
@example(Seal, b"")
def test_any_bytes_are_malformed_or_a_value(cls, data):
    with contextlib.suppress(Malformed):
        assert encode(decode(cls, data)) == data


@given(VALUES, st.data())
@settings(max_examples=300)
def test_any_value_in_the_place_of_another_is_malformed_or_a_value(value, data):
    """A structure of the right fields, one of which is anything at all."""
    plain = libipld.decode_dag_cbor(encode(value))
    inside = plain
    while True:
        name = data.draw(st.sampled_from(sorted(inside)))
        if not isinstance(inside[name], dict) or data.draw(st.booleans()):
            break
        inside = inside[name]
    inside[name] = data.draw(PLAIN)
    changed = libipld.encode_dag_cbor(plain)
    with contextlib.suppress(Malformed):
        assert encode(decode(type(value), changed)) == changed
