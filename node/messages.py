"""What peers ask each other, one request a stream. Everything else is fetched by its CID.

| protocol                | request | reply   |                                                       |
|-------------------------|---------|---------|-------------------------------------------------------|
| /deepblock/status/1     | Status  | Status  | who stands where, and who else is there               |
| /deepblock/headers/1    | Locate  | Chain   | the blocks (without bodies) that follow a common one  |
| /deepblock/want/1       | Want    | blocks  | IPLD blocks by CID: bodies, transactions, parts of files |
| /deepblock/pool/1       | nothing | Pool    | the transactions that wait                            |

Each is canonical DAG-CBOR but the reply to Want: the blocks that are here, in the order asked, in a row (`node.car`).
There are fewer of them where the reply is full.

Gossip topics carry one Block, Batch (of transactions), Share or Accusation a message, and are named after the network.
"""

from dataclasses import dataclass
from typing import Final

from deepblock.cid import Cid
from deepblock.codec import U16, U64, U128
from deepblock.transactions import Transaction
from deepblock.types import Block

STATUS: Final = "/deepblock/status/1"
HEADERS: Final = "/deepblock/headers/1"
WANT: Final = "/deepblock/want/1"
POOL: Final = "/deepblock/pool/1"

MAX_ADDRESSES: Final = 32
"""Multiaddrs in a Status; more are ignored."""
MAX_LOCATOR: Final = 64
"""Blocks in a Locate."""
MAX_HEADERS: Final = 256
"""Blocks in a Chain."""
MAX_PIECES: Final = 64
"""CIDs in a Want."""
MAX_BATCH: Final = 64 << 10
"""Bytes of the transactions of a Batch, and one more of any size."""
MAX_REPLY: Final = 5 << 20
"""Bytes of a reply."""
PIECES_BUDGET: Final = 4 << 20
"""Bytes of pieces in one reply; the rest is asked for again."""


@dataclass(frozen=True, slots=True)
class Status:
    """`own`: multiaddrs at which the sender can be dialled; `others`: of peers it is connected to."""

    network: Cid
    head: Cid
    height: U64
    weight: U128
    own: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Locate:
    """`known`: blocks of the asker's chain, newest first; the answer begins above the first that both have."""

    known: tuple[Cid, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Blocks in order, each the parent of the next; none when the asker has all."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Want:
    cids: tuple[Cid, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """Ids, in the order in which they came: of one sender's, each can be paid after those before it."""

    ids: tuple[Cid, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """In an order in which they can be paid."""

    transactions: tuple[Transaction, ...]


@dataclass(frozen=True, slots=True)
class Accusation:
    """A block's training is false in this step: 1 … K a segment, K + 1 the average, K + 2 the score, K + 3 the
    result. Whoever hears it redoes that one step."""

    block: Cid
    step: U16


def topic_of(network: Cid, what: str) -> str:
    """The gossip topic for 'blocks', 'transactions', 'shares' or 'frauds' of a network."""
    return f"/deepblock/{network}/{what}/1"
