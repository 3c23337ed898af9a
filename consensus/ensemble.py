"""The task's new model (protocol: Model and ensemble).

Of a block's own session and the shares of its own task that it carries, those with the best averages are its members.
Means of these, the *ensembles*, are candidates for the task's new model; others are the own average and the model
before it. To compute a mean takes the members' files, so with more than one member the choice is judged by the audit.
"""

from collections.abc import Sequence
from typing import Final

from consensus.errors import WorseResult, WrongResult
from consensus.task import TaskState
from deepblock.types import Block, Body, Result, Seal, Share

MOST_MEMBERS: Final = 4
"""Each costs whoever checks the block a file to fetch, and an evaluation more of the held-out split."""


def members(block: Block, body: Body) -> tuple[Block | Share, ...]:
    """Rule E1. Whose averages make the ensembles: the block and the carried shares of its task in the order of their
    averages' held-out loss, the four with the least; of equals the block first, then the body's order."""
    sessions: tuple[Block | Share, ...] = (block, *body.shares_of(block.header.task))
    return tuple(sorted(sessions, key=lambda session: session.seal.score.loss)[:MOST_MEMBERS])


def required_result(seal: Seal, task: TaskState, derived: Sequence[Result] = ()) -> Result:
    """Rule E2. The candidate with the least held-out loss, the first of those that tie: first `derived`, the models
    that follow from several members, then the own average, then the model before. `task`: its state after the parent.

    With one member there is no ensemble. A task's first model has none before it to fall back on.
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
