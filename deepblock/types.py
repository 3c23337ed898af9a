"""What blocks are made of (protocol: Header, body, seal, result; Ledger). One class per concept: the same
object is hashed and sent (DAG-CBOR, `deepblock.codec`), stored, and shown (JSON, by pydantic)."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from deepblock.cid import Cid
from deepblock.codec import U16, U32, U64, U128, Kept, cid_of, encode
from deepblock.primitives import Address, Hash32, Motes
from deepblock.transactions import Transaction


@dataclass(frozen=True, slots=True)
class Score:
    """Of a model on a task's held-out split. `loss`: Σ round_half_even(10^6 · cross-entropy); `correct`: labels."""

    loss: U64
    correct: U32


@dataclass(frozen=True)
class Header(Kept):
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
        """Rule X4. 32 bytes from which the whole session follows (protocol: Session)."""
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
class Block(Kept):
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


@dataclass(frozen=True)
class Share(Kept):
    """A session that did not win, carried by a later block."""

    header: Header
    seal: Seal

    @cached_property
    def id(self) -> Cid:
        return cid_of(self)


@dataclass(frozen=True)
class Body(Kept):
    """`signals`: CIDs of pending tasks whose data this miner holds."""

    transactions: tuple[Transaction, ...] = ()
    shares: tuple[Share, ...] = ()
    signals: tuple[Cid, ...] = ()

    def shares_of(self, task: Cid) -> tuple[Share, ...]:
        """Those that trained `task`, in the body's order."""
        return tuple(share for share in self.shares if share.header.task == task)

    @cached_property
    def cid(self) -> Cid:
        return cid_of(self)


# --- the ledger ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """`nonce`: how many transactions this account has sent."""

    balance: Motes = 0
    nonce: U64 = 0
