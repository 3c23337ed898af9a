"""What blocks are made of: what is bound to what, and how it is shown."""

import hashlib
import json
from dataclasses import fields, replace

import pytest
from pydantic import TypeAdapter, ValidationError

from deepblock import bech32m
from deepblock.cid import cid_of_block
from deepblock.codec import cid_of, decode, encode
from deepblock.primitives import Address, Hash32, PublicKey, Signature
from deepblock.transactions import (
    CloseTask,
    FraudProof,
    FundTask,
    OpenTask,
    Transaction,
    Transfer,
    signing_bytes,
)
from deepblock.types import Block, Body, Header, Result, Score, Seal, Share
from tests.unit.consensus.parts import SPEC

LINK, OTHER_LINK = cid_of_block(b"x"), cid_of_block(b"y")
HEADER = Header(1, LINK, 2, LINK, Hash32(b"s" * 32), 3, 4, LINK, LINK, Address(b"m" * 20), 5)
SEAL = Seal((LINK,), LINK, Score(6, 7))
BLOCK = Block(HEADER, SEAL, Result(LINK, Score(8, 9)))
TRANSFER = Transfer(LINK, PublicKey(b"k" * 32), 0, 1, Address(b"t" * 20), 2)


def another(value):
    """A value of the same sort, but not the same."""
    if isinstance(value, int):
        return value + 1
    if isinstance(value, tuple):
        return (*value, OTHER_LINK)
    if isinstance(value, Score):
        return Score(value.loss + 1, value.correct)
    return type(value)(bytes(OTHER_LINK)) if len(value) == 36 else type(value)(bytes(len(value)))


@pytest.mark.parametrize("name", [field.name for field in fields(Header)])
def test_the_seed_is_bound_to_every_field_of_the_header(name):
    changed = replace(HEADER, **{name: another(getattr(HEADER, name))})
    assert changed.seed != HEADER.seed
    assert changed.cid != HEADER.cid
    assert replace(BLOCK, header=changed).id != BLOCK.id


def test_the_seed_is_the_hash_that_the_protocol_names():
    assert HEADER.seed == hashlib.sha256(b"deepblock/session/1" + encode(HEADER)).digest()
    assert signing_bytes(TRANSFER) == b"deepblock/transaction/1" + encode(TRANSFER)


@pytest.mark.parametrize("part", ["seal", "result"])
def test_a_blocks_id_is_bound_to_seal_and_result(part):
    whole = getattr(BLOCK, part)
    for field in fields(whole):
        changed = replace(whole, **{field.name: another(getattr(whole, field.name))})
        assert replace(BLOCK, **{part: changed}).id != BLOCK.id


def test_ids_are_cids_of_the_encoding():
    transaction = Transaction(TRANSFER, Signature(bytes(64)))
    body = Body((transaction,), (Share(HEADER, SEAL),), (LINK,))
    assert BLOCK.id == cid_of(BLOCK)
    assert HEADER.cid == cid_of(HEADER)
    assert body.cid == cid_of(body) != Body().cid
    assert body.shares[0].id == cid_of(body.shares[0])
    assert transaction.id == cid_of(transaction)
    assert transaction.size == len(encode(transaction))
    assert BLOCK.height == 2


@pytest.mark.parametrize(("cls", "size"), [(Hash32, 32), (PublicKey, 32), (Signature, 64), (Address, 20)])
def test_fixed_bytes_have_one_length(cls, size):
    assert cls(bytes(size)) == bytes(size)
    for wrong in (bytes(size - 1), bytes(size + 1), "x" * size, [0] * size, None, size):
        with pytest.raises(ValueError, match=f"{cls.__name__} is {size} bytes"):
            cls(wrong)


def test_an_address_is_the_beginning_of_the_keys_hash():
    key = PublicKey(b"k" * 32)
    assert key.address == hashlib.sha256(b"k" * 32).digest()[:20]


def test_hashes_are_shown_in_hexadecimal_and_addresses_in_bech32m():
    address = Address(bytes(20))
    assert str(address) == "dbk1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqg6rmda"
    assert Address.parse(str(address)) == address
    assert repr(address) == f"Address({address})"
    assert str(Hash32(b"\xab" * 32)) == "ab" * 32
    assert Hash32.parse("ab" * 32) == b"\xab" * 32


def test_an_address_of_another_length_or_network_is_refused():
    for text in (
        bech32m.encode("dbk", bytes(19)),
        bech32m.encode("dbk", bytes(32)),
        bech32m.encode("tdbk", bytes(20)),
    ):
        with pytest.raises(ValueError):
            Address.parse(text)


def test_a_block_goes_through_json():
    adapter = TypeAdapter(Block)
    shown = json.loads(adapter.dump_json(BLOCK))
    assert shown["header"]["miner"] == str(HEADER.miner)
    assert shown["header"]["difficulty"] == "4"
    assert shown["header"]["parent"] == str(LINK)
    assert shown["seal"]["states"] == [str(LINK)]
    assert adapter.validate_json(json.dumps(shown)).id == BLOCK.id
    with pytest.raises(ValidationError):
        adapter.validate_json(json.dumps({**shown, "seal": {**shown["seal"], "average": "b"}}))


PAYLOADS = (
    TRANSFER,
    OpenTask(LINK, TRANSFER.sender, 0, 1, SPEC, 2, 3, None),
    OpenTask(LINK, TRANSFER.sender, 0, 1, SPEC, 2, 3, 2**63),
    FundTask(LINK, TRANSFER.sender, 0, 1, LINK, 2),
    CloseTask(LINK, TRANSFER.sender, 0, 1, LINK),
    FraudProof(LINK, TRANSFER.sender, 0, 1, LINK, 2, 3),
)


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.kind)
def test_every_transaction_goes_through_json_and_through_bytes(payload):
    transaction = Transaction(payload, Signature(bytes(64)))
    adapter = TypeAdapter(Transaction)
    shown = json.loads(adapter.dump_json(transaction))
    assert shown["payload"]["kind"] == payload.kind
    assert adapter.validate_json(json.dumps(shown)) == transaction
    assert decode(Transaction, encode(transaction)) == transaction


def test_a_payload_is_of_one_of_the_kinds():
    adapter = TypeAdapter(Transaction)
    shown = json.loads(adapter.dump_json(Transaction(TRANSFER, Signature(bytes(64)))))
    for kind in ({"kind": "gift"}, {"kind": "fund_task"}):
        with pytest.raises(ValidationError):
            adapter.validate_json(json.dumps({**shown, "payload": {**shown["payload"], **kind}}))
