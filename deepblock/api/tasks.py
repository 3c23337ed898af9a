"""Tasks, offers of them, and the models that they made."""

from dataclasses import dataclass
from typing import Literal

from deepblock.api.scores import HeldOut
from deepblock.cid import Cid
from deepblock.codec import U128
from deepblock.primitives import Address, Motes
from deepblock.spec import TaskSpec

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
class TaskInfo(TaskSummary):
    """A task, with what `TaskSummary` says of it. `bar`: the loss sum up to which the next session passes the gate,
    and `bar_loss` the same an example. `parameters`: numbers in its model. `epoch_ends`: the height of the last block
    of the epoch in which the next block is. `contract`: None for a base task."""

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
