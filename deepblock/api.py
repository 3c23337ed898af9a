"""What a node answers over JSON-RPC. One definition is the node's answer, its schema and what the client
returns.

In JSON: CIDs are base32, addresses bech32m, amounts decimal strings of motes, difficulties and weights
decimal strings of MACs with 16 fractional bits, times Unix seconds.
"""

from dataclasses import dataclass
from typing import Final, Literal

from deepblock.cid import Cid
from deepblock.codec import U128
from deepblock.primitives import Address, Motes
from deepblock.spec import TaskSpec
from deepblock.transactions import Transaction
from deepblock.types import Block, Body, Header, Result, Score, Seal

DEFAULT_URL: Final = "http://127.0.0.1:8645"
"""Where a node listens unless it is told otherwise."""

MAX_HEADERS: Final = 256
"""Headers in one answer."""

MAX_LINEAGE: Final = 256
"""Blocks of a model's lineage in one answer."""

REFUSED: Final = -32000
"""Error code: a rule refuses what was sent. `data` names the rule and carries its fields, as text."""
NOT_FOUND: Final = -32001
"""Error code: this node does not know what was asked for."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How a model does on its task's held-out split. `loss`: mean cross-entropy, nats; `examples`: how many
    were predicted, where each token of a text counts as one;
    `loss_sum`: what the rules compare, Σ round_half_even(10^6 · loss)."""

    loss: float
    accuracy: float
    loss_sum: int
    correct: int
    examples: int

    @classmethod
    def of(cls, score: Score, examples: int) -> "HeldOut":
        return cls(
            loss=score.loss / (10**6 * examples),
            accuracy=score.correct / examples,
            loss_sum=score.loss,
            correct=score.correct,
            examples=examples,
        )


@dataclass(frozen=True, slots=True)
class Sync:
    """`state`: starting, syncing, synced, or alone (no peer). `target`: the greatest height that a peer has shown."""

    state: str
    height: int
    target: int


@dataclass(frozen=True, slots=True)
class IpfsInfo:
    """A way into IPFS. `name`: 'embedded' (this node itself) or 'kubo' (a daemon). `state`: 'off', 'up' and with whom,
    or 'down: ' and why."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class Pinned:
    """What a node was asked to keep. `stored`: bytes of all files in its block store at the last look, and `quota`: how
    many there may be before what nobody needs is removed."""

    files: tuple[Cid, ...]
    stored: int
    quota: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """`network`: the genesis's CID, which transactions name. `addrs`: multiaddrs for `--bootstrap`.
    `block_time`: seconds; `maturity`: blocks until a reward can be spent; `pending`: transactions in the
    pool. `min_train`: the fewest training examples of a task, `max_session_macs`: what its sessions may cost, and
    `base_session_macs`: what they count at most. `audit`: what the node replays of others' training, a sample, all or
    nothing ('headers'); `replayed`: of the last `replayable` blocks, how many it has replayed whole. `ipfs`: its ways
    into IPFS."""

    version: str
    network_name: str
    network: Cid
    peer_id: str
    addrs: tuple[str, ...]
    peers: int
    sync: Sync
    pending: int
    block_time: int
    maturity: int
    fee_per_byte: Motes
    min_train: int
    max_session_macs: U128
    base_session_macs: U128
    audit: str
    replayed: int
    replayable: int
    ipfs: tuple[IpfsInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer that is connected now, or remembered for what it did.

    `direction`: who dialled, "in" or "out", and `connected`: seconds, both None where it is not connected.
    `score`: penalty points left, `reason`: of the last ones; `banned_until`: Unix seconds.
    """

    id: str
    addr: str | None
    direction: str | None
    connected: float | None
    score: float
    reason: str | None
    banned_until: float | None


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


TaskStatus = Literal["base", "pending", "active", "closing", "closed"]
"""Pending: until enough miners have signalled that they hold its data. Closing: its sponsor has ended it."""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """`scheduled`: whether the next block trains it; `next`: whether the epoch after that block's does. `blocks`: how
    many have. `session_macs`: what a session costs, `counted_macs`: what it counts. `pay`: for a block, and `closed`:
    why it is (target, plateau, idle, budget, sponsor, expired, outbid); None for a base task, and while it is open."""

    id: Cid
    name: str
    status: TaskStatus
    scheduled: bool
    next: bool
    blocks: int
    model: Cid | None
    held_out: HeldOut | None
    session_macs: U128
    counted_macs: U128
    pay: Motes | None
    closed: str | None


@dataclass(frozen=True, slots=True)
class ContractInfo:
    """What a sponsor agreed to, and how far it is.

    `escrow`: what is free, `reserved`: what is set aside for an epoch. `target`, `best`: loss sums, `target_loss` an
    example; `stale`: blocks since the last gain, of `plateau` after which the task closes. `signals` of the last
    `signal_window` blocks named it, where `signals_needed` make it active. `since`: the height at which it was opened
    or, once active, became so; None once closed. `expires`: from which height on a pending task is given up."""

    sponsor: Address
    pay: Motes
    escrow: Motes
    reserved: Motes
    target: int | None
    target_loss: float | None
    best: int | None
    stale: int
    plateau: int
    signals: int
    signals_needed: int
    signal_window: int
    since: int | None
    expires: int | None


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task, with what `TaskSummary` says of it. `bar`: the loss sum up to which the next session passes the gate,
    and `bar_loss` the same an example. `parameters`: numbers in its model. `epoch_ends`: the height of the last block
    of the epoch in which the next block is. `contract`: None for a base task."""

    id: Cid
    name: str
    status: TaskStatus
    scheduled: bool
    next: bool
    blocks: int
    model: Cid | None
    held_out: HeldOut | None
    session_macs: U128
    counted_macs: U128
    pay: Motes | None
    closed: str | None
    bar: int
    bar_loss: float
    parameters: int
    epoch_ends: int
    contract: ContractInfo | None
    spec: TaskSpec


@dataclass(frozen=True, slots=True)
class Quote:
    """What a task would cost, and get, if it were opened now.

    `session_macs`: what a session costs, at most `max_macs`; `counted_macs`: what it counts, at most `base_macs`, those
    of base task 0. `sessions_per_block`: how many it takes on average at the `difficulty` of now. `pay`: for a block,
    at least `least_pay`; `min_escrow`: an epoch's. `share`: of the sponsored epochs (every second one at most), in
    proportion to pay per MAC, beside the tasks that are open, pending ones too (`rivals`).
    """

    task: Cid
    session_macs: U128
    max_macs: U128
    counted_macs: U128
    base_macs: U128
    difficulty: U128
    sessions_per_block: float
    pay: Motes
    least_pay: Motes
    min_escrow: Motes
    share: float
    rivals: tuple[TaskSummary, ...]
    block_time: int
    epoch: int
    signals_needed: int
    signal_window: int
    pending_blocks: int
    plateau: int
    fee_per_byte: Motes


@dataclass(frozen=True, slots=True)
class LineageEntry:
    """The model that a block left behind."""

    height: int
    block: Cid
    model: Cid
    held_out: HeldOut


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A task's current model, a safetensors file named by its CID. `size`: its bytes. `lineage`: newest
    first."""

    task: Cid
    task_name: str
    model: Cid
    size: int
    held_out: HeldOut
    lineage: tuple[LineageEntry, ...]


@dataclass(frozen=True, slots=True)
class MinerInfo:
    """The session under way (None and zeros without one), and what came of those before it. `height`: of
    the block it may become; `step` of `steps` and `segment` of `segments` are done; `last_loss`: the loss
    sum of the last session that ended."""

    mining: bool
    address: Address
    height: int | None
    task: Cid | None
    segment: int
    segments: int
    step: int
    steps: int
    sessions: int
    blocks: int
    last_loss: int | None
