"""The task's new model: the least loss of the session's average and the model before it."""

from dataclasses import replace

import pytest

from consensus.ensemble import check_result, least_loss
from consensus.errors import WrongResult
from consensus.task import TaskState
from deepblock.types import Block, Result, Score
from tests.unit.consensus.parts import ancestry, header_on, named, seal_of

HEADER = header_on(ancestry())
SEAL = replace(seal_of(HEADER), average=named("own"), score=Score(500, 6))
OWN = Result(named("own"), Score(500, 6))


def before(loss: int, correct: int = 9) -> TaskState:
    return TaskState(named("before"), Score(loss, correct), 0, 1)


def block(result: Result) -> Block:
    return Block(HEADER, SEAL, result)


@pytest.mark.parametrize(
    ("task", "required"),
    [
        (TaskState(), OWN),
        (before(501), OWN),
        (before(500), OWN),  # of equals the new one
        (before(499), Result(named("before"), Score(499, 9))),
        (before(499, correct=0), Result(named("before"), Score(499, 0))),  # the loss decides, not the count
    ],
)
def test_the_least_loss_is_required(task, required):
    check_result(block(required), task)
    for wrong in (
        replace(required, model=named("another")),
        replace(required, score=replace(required.score, loss=required.score.loss - 1)),
        replace(required, score=replace(required.score, correct=required.score.correct + 1)),
    ):
        with pytest.raises(WrongResult) as caught:
            check_result(block(wrong), task)
        assert (caught.value.found, caught.value.required) == (wrong.model, required.model)


def test_the_other_candidate_is_refused():
    with pytest.raises(WrongResult):
        check_result(block(OWN), before(499))
    with pytest.raises(WrongResult):
        check_result(block(Result(named("before"), Score(500, 9))), before(500))


def test_the_first_of_equals():
    results = [Result(named(str(number)), Score(loss, 0)) for number, loss in enumerate((3, 2, 2, 5))]
    assert least_loss(*results) == results[1]
    assert least_loss(results[3]) == results[3]
