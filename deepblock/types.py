"""What blocks are made of (protocol: Header, body, seal, result; Ledger). One class per concept: the same
object is hashed and sent (DAG-CBOR, `deepblock.codec`), stored, and shown (JSON, by pydantic)."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from deepblock import bech32m
from deepblock.cid import Cid
from deepblock.codec import U16, U32, U64, U128, Integer, cid_of, encode

ADDRESS_PREFIX: Final = "dbk"

DBK: Final = 10**8
"""Motes in one DBK."""

Motes = Annotated[int, Integer(0, 2**64 - 1, text=True)]
"""An amount of money; a decimal string in JSON."""


class FixedBytes(bytes):
    """Bytes of one length; hexadecimal in JSON. Raises ValueError for any other length."""

    SIZE: ClassVar[int]

    def __new__(cls, data: bytes) -> Self:
        if not isinstance(data, bytes) or len(data) != cls.SIZE:
            found = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
            raise ValueError(f"{cls.__name__} is {cls.SIZE} bytes, not {found}")
        return super().__new__(cls, data)

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        parsed = core_schema.no_info_after_validator_function(cls.parse, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=parsed,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), parsed]),
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )


class Hash32(FixedBytes):
    SIZE = 32


class PublicKey(FixedBytes):
    """Ed25519 (RFC 8032)."""

    SIZE = 32

    @property
    def address(self) -> "Address":
        return Address(hashlib.sha256(self).digest()[: Address.SIZE])


class Signature(FixedBytes):
    """Ed25519 (RFC 8032)."""

    SIZE = 64


class Address(FixedBytes):
    """SHA-256(public key)[:20]; bech32m text 'dbk1…'."""

    SIZE = 20

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(bech32m.decode(ADDRESS_PREFIX, text))

    def __str__(self) -> str:
        return bech32m.encode(ADDRESS_PREFIX, self)


# --- transactions ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money from the signer to an address."""

    kind: ClassVar[str] = "transfer"
    network: Cid
    sender: PublicKey
    nonce: U64
    fee: Motes
    to: Address
    amount: Motes


@dataclass(frozen=True)
class Transaction:
    """What a sender signed, and the signature over `signing_bytes`."""

    payload: Transfer
    signature: Signature

    @cached_property
    def id(self) -> Cid:
        return cid_of(self)

    @cached_property
    def size(self) -> int:
        """Bytes on the wire; the fee is reckoned by them."""
        return len(encode(self))


def signing_bytes(payload: Transfer) -> bytes:
    return b"deepblock/transaction/1" + encode(payload)


# --- blocks ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Score:
    """Of a model on a task's held-out split. `loss`: Σ round_half_even(10^6 · cross-entropy); `correct`: labels."""

    loss: U64
    correct: U32


@dataclass(frozen=True)
class Header:
    """What is fixed before the training begins, and so what the training is bound to.

    `state_root`: of the state *after the parent*. `timestamp`: Unix seconds when the session began.
    `difficulty`: MACs per block with 16 fractional bits. `miner`: where the reward goes.
    """

    version: U16
    network: Cid
    height: U64
    parent: Cid
    state_root: Hash32
    timestamp: U64
    difficulty: U128
    body: Cid
    task: Cid
    miner: Address
    nonce: U64

    @cached_property
    def cid(self) -> Cid:
        return cid_of(self)

    @cached_property
    def seed(self) -> bytes:
        """32 bytes from which the whole session follows (protocol: Session)."""
        return hashlib.sha256(b"deepblock/session/1" + encode(self)).digest()


@dataclass(frozen=True, slots=True)
class Seal:
    """What a finished session shows. `states`: K CIDs of state files; `average`: CID of the SWA average."""

    states: tuple[Cid, ...]
    average: Cid
    score: Score


@dataclass(frozen=True, slots=True)
class Result:
    """The task's new model and its score."""

    model: Cid
    score: Score


@dataclass(frozen=True)
class Block:
    """Header, seal and result. Its id commits to all three; the body hangs on the header."""

    header: Header
    seal: Seal
    result: Result

    @cached_property
    def id(self) -> Cid:
        return cid_of(self)

    @property
    def height(self) -> int:
        return self.header.height


@dataclass(frozen=True, slots=True)
class Share:
    """A session that did not win, carried by a later block."""

    header: Header
    seal: Seal


@dataclass(frozen=True)
class Body:
    """`signals`: CIDs of pending tasks whose data this miner holds."""

    transactions: tuple[Transaction, ...] = ()
    shares: tuple[Share, ...] = ()
    signals: tuple[Cid, ...] = ()

    @cached_property
    def cid(self) -> Cid:
        return cid_of(self)


# --- the ledger ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """`nonce`: how many transactions this account has sent."""

    balance: Motes = 0
    nonce: U64 = 0
