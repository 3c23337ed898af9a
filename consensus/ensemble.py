"""The task's new model (protocol: Model and ensemble)."""

from consensus.errors import WrongResult
from consensus.task import TaskState
from deepblock.types import Block, Result, Seal


def least_loss(*candidates: Result) -> Result:
    """The candidate with the least held-out loss; the first of those that tie."""
    return min(candidates, key=lambda candidate: candidate.score.loss)


def required_result(seal: Seal, task: TaskState) -> Result:
    """The model that the rule gives. `task`: its state after the parent.

    Without carried shares the ensemble *is* the session's own average. A task's first model is its first
    average: there is none before it to fall back on.
    """
    own = Result(seal.average, seal.score)
    before = [Result(task.model, task.score)] if task.model and task.score else []
    return least_loss(own, *before)


def check_result(block: Block, task: TaskState) -> None:
    """The block names the model that the rule gives. `task`: its state after the parent."""
    required = required_result(block.seal, task)
    if block.result != required:
        raise WrongResult(block.result.model, required.model)
