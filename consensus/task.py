"""Tasks on the chain: which is scheduled, how far it is, and the bar a session has to pass (protocol: Tasks)."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from consensus.params import Params
from deepblock.cid import Cid
from deepblock.codec import I64, U64, cid_of
from deepblock.spec import TaskSpec, heldout_labels, ln_micro
from deepblock.types import Result, Score


@dataclass(frozen=True, slots=True)
class TaskState:
    """What a chain knows of a task. `model` and `score`: its current weights, None before its first block.

    `offset`: of the gate's bar, in units of the loss. `blocks`: how many trained it.
    """

    model: Cid | None = None
    score: Score | None = None
    offset: I64 = 0
    blocks: U64 = 0


@functools.cache
def specs(params: Params) -> Mapping[Cid, TaskSpec]:
    """The tasks of a network, by id."""
    return {cid_of(spec): spec for spec in params.base_tasks}


def scheduled(params: Params, height: int) -> Cid:
    """The task that the block at `height` trains: the base tasks take turns, an epoch each."""
    turn = height // params.epoch % len(params.base_tasks)
    return cid_of(params.base_tasks[turn])


def may_fall_back(params: Params, timestamp: int, parent_timestamp: int) -> bool:
    """After a long pause a block may train base task 0 instead: vanished data stops nobody."""
    return timestamp - parent_timestamp >= params.fallback_after * params.block_time


def bar(spec: TaskSpec, task: TaskState) -> int:
    """L: the loss of the task's model, and before there is one that of guessing, ln(classes) a label."""
    return task.score.loss if task.score else heldout_labels(spec) * ln_micro(spec.classes)


def after_block(spec: TaskSpec, task: TaskState, passed: bool, result: Result) -> TaskState:
    """The task after a block whose own session did or did not pass the gate.

    The offset follows the median of all sessions: a passing one lowers it by ⌊L/1024⌋, a failing one, which wins
    16 times less often, raises it by 16 times as much. At least by one, so that a perfect model cannot freeze it;
    never beyond −1/2 or +1 of the new model's loss, so that steps taken at a diverged one's cannot outlive it.
    """
    step = max(1, bar(spec, task) // 1024)
    moved = task.offset - step if passed else task.offset + 16 * step
    room = max(1024, result.score.loss)
    offset = max(-(room // 2), min(room, moved))
    return replace(task, model=result.model, score=result.score, offset=offset, blocks=task.blocks + 1)
