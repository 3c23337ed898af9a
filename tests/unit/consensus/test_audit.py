"""What is replayed of a session, and the verdict."""

import pytest

from consensus.audit import (
    Findings,
    Plan,
    accusations,
    is_false,
    judge,
    judge_accusation,
    judge_result,
    plan_accusation,
    plan_all,
    plan_sample,
    step_name,
    step_number,
)
from consensus.errors import Fraud
from consensus.task import TaskState
from deepblock.transactions import FraudProof
from deepblock.types import Block, Body, Result, Score, Seal
from tests.unit.consensus.parts import (
    ALICE,
    BOB,
    CAROL,
    NETWORK,
    NOBODY,
    ancestry,
    header_on,
    named,
    transfer,
)

STATES = tuple(named(f"state {segment}") for segment in range(1, 6))
SEAL = Seal(STATES, named("average"), Score(100, 7))
HONEST = Findings(dict(enumerate(STATES, 1)), named("average"), Score(100, 7))


@pytest.mark.parametrize("draws", [(0, 0, 0), (1, 2, 3), (2**62, 2**61 + 1, 7)])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 20])
def test_the_last_segment_always_and_others_by_the_draws(count, draws):
    segments = plan_sample(count, 3, draws).segments
    assert segments == tuple(sorted(set(segments)))
    assert segments[-1] == count
    assert segments[0] >= 1
    assert len(segments) == min(count, 4)


def test_every_segment_is_drawn_as_often_as_another():
    hits = dict.fromkeys(range(1, 6), 0)
    for first in range(4):
        for second in range(3):
            for segment in plan_sample(5, 2, (first, second)).segments:
                hits[segment] += 1
    assert hits == {1: 6, 2: 6, 3: 6, 4: 6, 5: 12}


def test_known_draws():
    assert plan_sample(5, 2, (0, 0)).segments == (1, 2, 5)
    assert plan_sample(5, 2, (3, 2)).segments == (3, 4, 5)
    assert plan_sample(5, 2, (4, 3)).segments == (1, 2, 5)  # around
    assert plan_sample(5, 1, (2, 0)).segments == (3, 5)
    assert plan_sample(5, 0, (2, 0)).segments == (5,)


def test_all_are_all():
    assert plan_all(5).segments == (1, 2, 3, 4, 5)
    assert plan_all(1).segments == (1,)


def findings(states=HONEST.states, average=HONEST.average, score=HONEST.score) -> Findings:
    return Findings(states, average, score)


def test_an_honest_seal_passes():
    judge(plan_all(5), SEAL, HONEST)
    judge(Plan((2, 5)), SEAL, findings({2: STATES[1], 5: STATES[4]}))


@pytest.mark.parametrize("segment", [1, 3, 5])
def test_a_false_segment_is_named_with_both_states(segment):
    found = findings({**HONEST.states, segment: named("true")})
    with pytest.raises(Fraud) as caught:
        judge(plan_all(5), SEAL, found)
    fraud = caught.value
    assert (fraud.step, fraud.claimed, fraud.found) == (
        f"segment {segment}",
        str(STATES[segment - 1]),
        str(named("true")),
    )


def test_the_first_false_one_is_named():
    found = findings({5: named("x"), 4: named("y"), 2: named("z")}, named("w"), Score(0, 0))
    with pytest.raises(Fraud, match="false segment 2"):
        judge(Plan((2, 4, 5)), SEAL, found)


def test_a_segment_that_was_replayed_on_the_way_counts_too():
    found = findings({4: named("true"), 5: STATES[4]})
    with pytest.raises(Fraud, match="false segment 4"):
        judge(Plan((5,)), SEAL, found)


def test_states_then_average_then_score():
    with pytest.raises(Fraud, match="false average") as caught:
        judge(plan_all(5), SEAL, findings(average=named("true"), score=Score(0, 0)))
    assert (caught.value.claimed, caught.value.found) == (str(SEAL.average), str(named("true")))
    for score in (Score(101, 7), Score(99, 7), Score(100, 8)):
        with pytest.raises(Fraud, match="false score") as caught:
            judge(plan_all(5), SEAL, findings(score=score))
        assert (caught.value.claimed, caught.value.found) == (str(SEAL.score), str(score))


def test_a_worker_that_skips_a_planned_segment_is_a_bug_and_not_a_verdict():
    with pytest.raises(KeyError):
        judge(plan_all(5), SEAL, findings({5: STATES[4]}))


# --- the model of several members -------------------------------------------------------------------------------

HEADER = header_on(ancestry())
ENSEMBLE = Result(named("ensemble"), Score(90, 8))


def test_the_result_is_that_of_the_least_loss():
    before = TaskState(named("before"), Score(95, 1), 0, 1)
    judge_result(Block(HEADER, SEAL, ENSEMBLE), before, (ENSEMBLE,))
    for false in (
        Result(SEAL.average, SEAL.score),
        Result(named("another"), ENSEMBLE.score),
        Result(ENSEMBLE.model, Score(89, 8)),
        Result(ENSEMBLE.model, Score(90, 9)),
        Result(named("before"), Score(95, 1)),
    ):
        with pytest.raises(Fraud, match="false result") as caught:
            judge_result(Block(HEADER, SEAL, false), before, (ENSEMBLE,))
        assert str(false.model) in caught.value.claimed
        assert caught.value.found == f"{ENSEMBLE.model} with a loss of 90 and 8 correct"


# --- accusations ------------------------------------------------------------------------------------------------


def accusation(step: int, by=ALICE) -> FraudProof:
    return FraudProof(NETWORK, by.key, 0, 10_000, named("share"), 4, step)


def test_the_accusations_of_a_body_are_its_fraud_proofs():
    one, two = accusation(1), accusation(2, BOB)
    body = Body((ALICE.sign(one), transfer(CAROL, NOBODY, 1), BOB.sign(two)))
    assert accusations(body) == (one, two)
    assert accusations(Body()) == ()


def test_steps_have_names():
    assert [step_name(5, step) for step in range(10)] == [
        None, "segment 1", "segment 2", "segment 3", "segment 4", "segment 5", "average", "score", "result", None,
    ]  # fmt: skip


def test_a_name_is_that_of_one_step():
    assert [step_number(5, step_name(5, step)) for step in range(1, 9)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert step_number(5, "segment 6") is None
    assert step_number(5, "accusation of share 1") is None


def test_all_segments_up_to_the_step_refute_it():
    assert plan_accusation(5, 3).segments == (1, 2, 3)
    assert plan_accusation(5, 5) == plan_accusation(5, 6) == plan_accusation(5, 7) == plan_all(5)


def verdict(step: int, found: Findings) -> bool:
    try:
        judge_accusation(accusation(step), SEAL, found)
    except Fraud as fraud:
        assert fraud.step == f"accusation of share {named('share')}"
        assert fraud.claimed == f"a false {step_name(5, step) or f'step {step}'}"
        assert fraud.found == "none up to there"
        assert not is_false(SEAL, found, step)
        return False
    assert is_false(SEAL, found, step)
    return True


@pytest.mark.parametrize("step", [*range(1, 8)])
def test_a_true_share_is_falsely_accused(step):
    assert not verdict(step, HONEST)


@pytest.mark.parametrize(
    ("false", "step"),
    [
        ({"states": {**HONEST.states, 3: named("x")}}, 3),
        ({"average": named("x")}, 6),
        ({"score": Score(1, 1)}, 7),
    ],
)
def test_an_accusation_is_true_from_the_first_false_step_on(false, step):
    found = findings(**false)
    assert [verdict(accused, found) for accused in range(1, 8)] == [
        accused >= step for accused in range(1, 8)
    ]


def test_one_mismatch_is_enough_and_one_segment_may_show_it():
    assert verdict(3, findings({3: named("x")}))
    assert not verdict(2, findings({3: named("x")}))


@pytest.mark.parametrize("step", [0, 8, 9, 65_535])
def test_a_share_has_no_such_step(step):
    """It has no result of its own, either."""
    assert not verdict(step, findings({3: named("x")}, named("y"), Score(1, 1)))
