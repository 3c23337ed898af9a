"""The task's new model: the least loss of what several members give, the session's average and the model before it."""

from dataclasses import replace

import pytest

from consensus.ensemble import check_bound, check_result, members, required_result
from consensus.errors import WorseResult, WrongResult
from consensus.task import TaskState
from deepblock.types import Block, Body, Result, Score, Share
from tests.unit.consensus.parts import FIRST, SECOND, ancestry, header_on, named, seal_of

HEADER = header_on(ancestry())
SEAL = replace(seal_of(HEADER), average=named("own"), score=Score(500, 6))
OWN = Result(named("own"), Score(500, 6))


def before(loss: int, correct: int = 9) -> TaskState:
    return TaskState(named("before"), Score(loss, correct), 0, 1)


def block(result: Result) -> Block:
    return Block(HEADER, SEAL, result)


def share(name: str, task=FIRST, loss=500) -> Share:
    return Share(replace(HEADER, task=task), replace(SEAL, average=named(name), score=Score(loss, 6)))


# --- members ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([], ["own"]),
        ([share("worse", loss=900)], ["own", "worse"]),
        ([share("a", loss=501), share("b", loss=499)], ["b", "own", "a"]),
        ([share("a", loss=501), share("b", loss=499), share("c", loss=498)], ["c", "b", "own", "a"]),
        ([share(name, loss=loss) for loss, name in enumerate("abcde", 1)], ["a", "b", "c", "d"]),
        ([share(name) for name in "abcd"], ["own", "a", "b", "c"]),  # of equals the first
        ([share("other", SECOND, 1), share("a", loss=600), share("another", SECOND, 2)], ["own", "a"]),
    ],
)
def test_members_are_the_best_four_of_own_session_and_shares_of_the_same_task(shares, expected):
    found = members(block(OWN), Body((), tuple(shares)))
    assert [member.seal.average for member in found] == [named(name) for name in expected]


# --- the least loss ---------------------------------------------------------------------------------------------


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
def test_with_one_member_the_least_loss_is_required(task, required):
    check_result(block(required), Body(), task)
    for wrong in (
        replace(required, model=named("another")),
        replace(required, score=replace(required.score, loss=required.score.loss - 1)),
        replace(required, score=replace(required.score, correct=required.score.correct + 1)),
    ):
        with pytest.raises(WrongResult) as caught:
            check_result(block(wrong), Body(), task)
        assert (caught.value.found, caught.value.required) == (wrong.model, required.model)


def test_the_other_candidate_is_refused():
    with pytest.raises(WrongResult):
        check_result(block(OWN), Body(), before(499))
    with pytest.raises(WrongResult):
        check_result(block(Result(named("before"), Score(500, 9))), Body(), before(500))


def test_a_share_of_another_task_makes_no_ensemble():
    other = Body((), (share("a", SECOND),))
    with pytest.raises(WrongResult):
        check_result(block(Result(named("a"), Score(1, 1))), other, TaskState())
    check_result(block(Result(named("ensemble"), Score(1, 1))), Body((), (share("a"),)), TaskState())


@pytest.mark.parametrize(
    ("losses", "place"), [((), 0), ((500,), 0), ((501,), 1), ((499,), 0), ((501, 400), 1), ((400, 400), 0)]
)
def test_what_several_members_give_comes_first_of_equals(losses, place):
    derived = tuple(Result(named(f"derived {at}"), Score(loss, 0)) for at, loss in enumerate(losses))
    assert required_result(SEAL, before(502), derived) == (*derived, OWN)[place]


def test_the_model_before_comes_last_of_equals():
    ensemble = Result(named("ensemble"), Score(500, 0))
    assert required_result(SEAL, before(500), (ensemble,)) == ensemble
    assert required_result(SEAL, before(500)) == OWN
    assert required_result(SEAL, before(499), (ensemble,)).model == named("before")


# --- without the body -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "most"), [(TaskState(), 500), (before(501), 500), (before(400), 400)])
def test_no_model_is_worse_than_the_best_that_is_known(task, most):
    check_bound(block(Result(named("ensemble"), Score(most, 0))), task)
    with pytest.raises(WorseResult) as caught:
        check_bound(block(Result(named("ensemble"), Score(most + 1, 0))), task)
    assert (caught.value.found, caught.value.limit) == (most + 1, most)
