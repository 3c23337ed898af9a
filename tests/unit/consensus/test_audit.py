"""What is replayed of a session, and the verdict."""

import pytest

from consensus.audit import Findings, Plan, judge, plan_all, plan_sample
from consensus.errors import Fraud
from deepblock.types import Score, Seal
from tests.unit.consensus.parts import named

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
    with pytest.raises(Fraud, match="false average"):
        judge(plan_all(5), SEAL, findings(average=named("true"), score=Score(0, 0)))
    for score in (Score(101, 7), Score(99, 7), Score(100, 8)):
        with pytest.raises(Fraud, match="false score"):
            judge(plan_all(5), SEAL, findings(score=score))


def test_a_worker_that_skips_a_planned_segment_is_a_bug_and_not_a_verdict():
    with pytest.raises(KeyError):
        judge(plan_all(5), SEAL, findings({5: STATES[4]}))
