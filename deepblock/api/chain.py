"""Blocks, what addresses hold, transactions."""

from dataclasses import dataclass
from typing import Literal

from deepblock.api.scores import HeldOut
from deepblock.cid import Cid
from deepblock.codec import U128
from deepblock.primitives import Address, Motes
from deepblock.transactions import Transaction
from deepblock.types import Block, Body, Header, Result, Seal


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block of the heaviest chain. `model` and `held_out` (None at the genesis): what the block
    made of its task's model. `age`: seconds by the node's clock."""

    height: int
    id: Cid
    parent: Cid
    timestamp: int
    age: int
    difficulty: U128
    weight: U128
    task: Cid
    task_name: str
    model: Cid | None
    held_out: HeldOut | None


@dataclass(frozen=True, slots=True)
class BlockInfo:
    """A block. `confirmations`: 1 for the head, 0 for a block that is not on the head's chain.
    `starts_from`: the model its session began with (None: the initial weights of the task). `held_out`: of
    its result. `body` and `transactions` (its transactions' ids): None where this node does not have the
    body. `rejected`: why it is no block of any chain, where it turned out false; its weight is 0 then."""

    id: Cid
    confirmations: int
    weight: U128
    header: Header
    seal: Seal
    result: Result
    task_name: str
    starts_from: Cid | None
    held_out: HeldOut | None
    transactions: tuple[Cid, ...] | None
    body: Body | None
    rejected: str | None = None

    @property
    def block(self) -> Block:
        return Block(self.header, self.seal, self.result)


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A finished session that won no block: a share. `state`: 'waiting' for a block that carries it, 'carried' by
    `carrier`, 'too old', or what in it is false."""

    id: Cid
    height: int
    parent: Cid
    miner: Address
    task: Cid
    task_name: str
    held_out: HeldOut
    state: str
    carrier: Cid | None


@dataclass(frozen=True, slots=True)
class HeaderInfo:
    """A header, and the id of its block."""

    id: Cid
    header: Header


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """`immature`: rewards that cannot be spent yet. `nonce`: transactions sent, on the chain; `next_nonce`:
    for the next one, those in the pool counted."""

    address: Address
    balance: Motes
    immature: Motes
    nonce: int
    next_nonce: int


@dataclass(frozen=True, slots=True)
class StateProof:
    """What an account had after the parent of `header`'s block. `value`: canonical bytes of the account in hex, None
    where there is none. `nodes`: of the state's tree, in hex, from `header.state_root` on (`deepblock.state_proof`)."""

    address: Address
    header: Header
    value: str | None
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TransactionInfo:
    """`block`, `height` and `index` (in the body): None while pending."""

    id: Cid
    status: Literal["pending", "confirmed"]
    confirmations: int
    block: Cid | None
    height: int | None
    index: int | None
    transaction: Transaction
