"""What people sign (protocol: Ledger and rewards; Tasks). Every payload begins with the network, the sender, the
sender's next nonce and the fee; `kind` says which it is, in DAG-CBOR and in JSON."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Discriminator, Tag

from deepblock.cid import Cid
from deepblock.codec import U16, U64, Kept, Tagged, cid_of, encode, kind_of
from deepblock.primitives import Address, Motes, PublicKey, Signature
from deepblock.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class Transfer(Kept, Tagged):
    """Money from the signer to an address."""

    kind: ClassVar[str] = "transfer"
    network: Cid
    sender: PublicKey
    nonce: U64
    fee: Motes
    to: Address
    amount: Motes


@dataclass(frozen=True, slots=True)
class OpenTask(Kept, Tagged):
    """A task that the signer wants to be trained, and `escrow` for it. `pay`: for each block that trains it.
    `target`: the held-out loss, in units of the score, at which it is done; None: whatever the money gives."""

    kind: ClassVar[str] = "open_task"
    network: Cid
    sender: PublicKey
    nonce: U64
    fee: Motes
    spec: TaskSpec
    pay: Motes
    escrow: Motes
    target: U64 | None


@dataclass(frozen=True, slots=True)
class FundTask(Kept, Tagged):
    """More escrow for an open task, from anybody."""

    kind: ClassVar[str] = "fund_task"
    network: Cid
    sender: PublicKey
    nonce: U64
    fee: Motes
    task: Cid
    amount: Motes


@dataclass(frozen=True, slots=True)
class CloseTask(Kept, Tagged):
    """No more training of a task, by who opened it; the rest of the escrow goes back."""

    kind: ClassVar[str] = "close_task"
    network: Cid
    sender: PublicKey
    nonce: U64
    fee: Motes
    task: Cid


@dataclass(frozen=True, slots=True)
class FraudProof(Kept, Tagged):
    """A carried share is false. `share`: its id; `height`: of the block that carries it. `step`: 1 … K a segment,
    K + 1 the average, K + 2 the score."""

    kind: ClassVar[str] = "fraud_proof"
    network: Cid
    sender: PublicKey
    nonce: U64
    fee: Motes
    share: Cid
    height: U64
    step: U16


Payload = Annotated[
    Annotated[Transfer, Tag("transfer")]
    | Annotated[OpenTask, Tag("open_task")]
    | Annotated[FundTask, Tag("fund_task")]
    | Annotated[CloseTask, Tag("close_task")]
    | Annotated[FraudProof, Tag("fraud_proof")],
    Discriminator(kind_of),
]


@dataclass(frozen=True)
class Transaction(Kept):
    """What a sender signed, and the signature over `signing_bytes`."""

    payload: Payload
    signature: Signature

    @cached_property
    def id(self) -> Cid:
        return cid_of(self)

    @cached_property
    def size(self) -> int:
        """Bytes on the wire; the fee is reckoned by them."""
        return len(encode(self))


def signing_bytes(payload: Payload) -> bytes:
    return b"deepblock/transaction/1" + encode(payload)
