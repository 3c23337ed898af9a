"""The task's new model (protocol: Model and ensemble).

A block's members are the averages of its own session and of the shares of its own task that it carries. Their mean,
the *ensemble*, is one candidate for the task's new model; the others are the own average and the model before it. To
compute it takes the members' files, so with more than one member the choice is judged by the audit.
"""

from collections.abc import Sequence

from consensus.errors import WorseResult, WrongResult
from consensus.task import TaskState
from deepblock.cid import Cid
from deepblock.types import Block, Body, Result, Seal


def members(block: Block, body: Body) -> tuple[Cid, ...]:
    """Rule E1. The averages whose mean is the ensemble: the block's own first, then those of the carried shares that
    trained the same task, in the body's order, with equal weights."""
    return (block.seal.average, *(share.seal.average for share in body.shares_of(block.header.task)))


def required_result(seal: Seal, task: TaskState, derived: Sequence[Result] = ()) -> Result:
    """Rule E2. The candidate with the least held-out loss, the first of those that tie: first `derived`, the models
    that follow from several members, then the own average, then the model before. `task`: its state after the parent.

    With one member the ensemble *is* the own average. A task's first model has none before it to fall back on.
    """
    own = Result(seal.average, seal.score)
    before = [Result(task.model, task.score)] if task.model and task.score else []
    return min((*derived, own, *before), key=lambda candidate: candidate.score.loss)


def check_bound(block: Block, task: TaskState) -> None:
    """Rule E3. Whatever it carries, a block names no model with a greater loss than the best that is known without its
    body. `task`: its state after the parent."""
    known = required_result(block.seal, task).score.loss
    if block.result.score.loss > known:
        raise WorseResult(block.result.score.loss, known)


def check_result(block: Block, body: Body, task: TaskState) -> None:
    """Rule E4. A block with one member names the model that rule E2 gives. `task`: its state after the parent."""
    required = required_result(block.seal, task)
    if len(members(block, body)) == 1 and block.result != required:
        raise WrongResult(block.result.model, required.model)
