"""Tasks on the chain: what is known of each, and the bar a session has to pass (protocol: Tasks).

What sponsors do with tasks is in `market`, whose turn it is in `schedule`, and where their money is in `escrow`.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from consensus.params import Params
from deepblock.cid import Cid
from deepblock.codec import I64, U16, U32, U64, U128, cid_of
from deepblock.primitives import Address, Motes
from deepblock.spec import TaskSpec, heldout_labels, ln_micro
from deepblock.types import Result, Score


@dataclass(frozen=True, slots=True)
class Contract:
    """What a sponsor agreed to, and how far it is.

    `pay`: motes for each block. `escrow`: motes that are free, `reserved`: those of an epoch that is decided.
    `target`: the loss at which it is done. `best`: the loss that later ones have to beat, None before the first block;
    `stale`: blocks since. `position`: in the stride scheduling. `turn`: how many blocks had trained it when its last
    epoch was decided. `closing`: the sponsor wants to end it. `closed`: "" while it is open, then why: target, plateau,
    idle, budget, sponsor, expired, outbid.
    """

    sponsor: Address
    pay: Motes
    escrow: Motes
    reserved: Motes
    target: U64 | None
    best: U64 | None = None
    stale: U32 = 0
    position: U128 = 0
    turn: U64 = 0
    closing: bool = False
    closed: str = ""


@dataclass(frozen=True, slots=True)
class TaskState:
    """What a chain knows of a task. `model` and `score`: its current weights, None before its first block.

    `offset`: of the gate's bar, in units of the loss. `blocks`: how many trained it. `contract`: of a sponsored task.
    """

    model: Cid | None = None
    score: Score | None = None
    offset: I64 = 0
    blocks: U64 = 0
    contract: Contract | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """An open task. `signals`: a bit for each of the last blocks, the newest lowest, set where its miner held the data.
    `active`: it may be scheduled. `since`: the height at which it was opened, and once it is active, became so."""

    task: Cid
    signals: U16
    active: bool
    since: U64


@dataclass(frozen=True, slots=True)
class OpenTasks:
    """The tasks that are open, in the order in which they were opened."""

    items: tuple[Listed, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """`current`: what the next block trains; `next`: the task of the epoch after that block's. `virtual`: the stride
    position of the sponsored task that was chosen last, from which new ones start."""

    current: Cid
    next: Cid
    virtual: U128 = 0


@functools.cache
def specs(params: Params) -> Mapping[Cid, TaskSpec]:
    """The base tasks of a network, by id. `State.spec` knows those that were opened later too."""
    return {cid_of(spec): spec for spec in params.base_tasks}


def base_task(params: Params, epoch: int) -> Cid:
    """Rule T8. The base task of an epoch: they take turns, two epochs each, the second of which may be sponsored."""
    turn = epoch // 2 % len(params.base_tasks)
    return cid_of(params.base_tasks[turn])


def may_fall_back(params: Params, timestamp: int, parent_timestamp: int) -> bool:
    """After a long pause a block may train base task 0 instead: vanished data stops nobody."""
    return timestamp - parent_timestamp >= params.fallback_after * params.block_time


def bar(spec: TaskSpec, task: TaskState) -> int:
    """Rule G1. L: the loss of the task's model, and before there is one that of guessing, ln(classes) a label."""
    return task.score.loss if task.score else heldout_labels(spec) * ln_micro(spec.classes)


def after_block(spec: TaskSpec, task: TaskState, loss: int, result: Result) -> TaskState:
    """Rule G4. The task after a block whose own session had this `loss`.

    The gate follows the mean of all sessions: one that passes lowers it by 1/16 of what it is better; one that fails,
    which wins 16 times less often, raises it to its own loss, but to twice as much at most, so that one that diverged
    counts for little. And it stays within 1/2 and 3/2 of the losses at hand, so that it is soon where sessions are.
    """
    before, after = bar(spec, task) + task.offset, result.score.loss
    passed = loss <= before
    moved = before - (before - loss) // 16 if passed else min(loss, max(1024, 2 * before))
    gate = max(after // 2, min(moved, 3 * max(loss, after) // 2))
    return replace(task, model=result.model, score=result.score, offset=gate - after, blocks=task.blocks + 1)
