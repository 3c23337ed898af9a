"""Tasks: whose turn it is, the bar, and how it follows the median."""

import random
from dataclasses import replace

import pytest

from consensus.seal import GATE_PASSED, gate
from consensus.task import TaskState, after_block, bar, base_task, may_fall_back, specs
from deepblock.spec import ln_micro
from deepblock.types import Result, Score
from tests.unit.consensus.parts import FIRST, GUESSING, OTHER, PARAMS, SECOND, SPEC, named

RESULT = Result(named("model"), Score(900_000, 7))


def trained(loss: int, offset: int = 0) -> TaskState:
    return TaskState(named("before"), Score(loss, 5), offset, 3)


def test_tasks_are_known_by_their_cid():
    assert specs(PARAMS) == {FIRST: SPEC, SECOND: OTHER}


def test_base_tasks_take_turns_two_epochs_each():
    assert [base_task(PARAMS, epoch) for epoch in range(7)] == [
        FIRST,
        FIRST,
        SECOND,
        SECOND,
        FIRST,
        FIRST,
        SECOND,
    ]


def test_a_lone_base_task_has_every_turn():
    params = replace(PARAMS, base_tasks=(SPEC,))
    assert {base_task(params, epoch) for epoch in (0, 1, 2, 10**9, 2**60)} == {FIRST}


@pytest.mark.parametrize(("pause", "allowed"), [(79, False), (80, True), (81, True), (-5, False)])
def test_base_task_0_may_step_in_after_eight_block_times(pause, allowed):
    assert may_fall_back(PARAMS, 1_000 + pause, 1_000) is allowed


def test_before_a_model_the_bar_is_the_loss_of_guessing():
    assert ln_micro(3) == 1_098_612
    assert bar(SPEC, TaskState()) == GUESSING == 10 * 1_098_612
    assert bar(SPEC, TaskState(offset=1_000_000)) == GUESSING


def test_then_it_is_the_models_loss():
    assert bar(SPEC, trained(123)) == 123
    assert bar(SPEC, trained(0)) == 0


def test_a_block_leaves_its_model_behind():
    after = after_block(SPEC, trained(1_000_000), 1_000_000, RESULT)
    assert (after.model, after.score, after.blocks) == (RESULT.model, RESULT.score, 4)


@pytest.mark.parametrize(
    ("loss", "step"),
    [
        (1_000_050, 0),  # the bar itself passes
        (1_000_019, 0),
        (1_000_018, -1),
        (680_050, -10_000),
        (0, -31_251),
        (1_000_051, 1),  # a failing one always moves it
        (1_000_052, 1),
        (1_000_053, 2),
        (1_200_050, 100_000),
        (3_000_150, 1_000_050),
        (10**15, 1_000_050),  # to twice as much at most
    ],
)
def test_the_bar_moves_by_its_distance_from_the_blocks_own_session(loss, step):
    assert after_block(SPEC, trained(1_000_000, 50), loss, RESULT).offset == 50 + step


@pytest.mark.parametrize(
    ("loss", "model", "highest"), [(9, 7, 4_096), (5_000, 7, 20_000), (9, 6_000, 24_000)]
)
def test_the_offset_stays_within_bounds_of_the_new_model_and_the_session(loss, model, highest):
    result = Result(named("model"), Score(model, 7))
    assert after_block(SPEC, trained(10**9, 10**9), loss, result).offset == highest
    assert after_block(SPEC, trained(10**9, -(10**9)), loss, result).offset == -(model // 2)


def test_the_first_block_moves_it_from_the_loss_of_guessing():
    result = Result(named("model"), Score(GUESSING, 7))
    assert after_block(SPEC, TaskState(), GUESSING - 3_200, result).offset == -100
    assert after_block(SPEC, TaskState(), GUESSING + 3_200, result).offset == 1_600


@pytest.mark.parametrize(("centre", "spread"), [(0.8, 0.1), (1.0, 0.01), (1.5, 0.1), (3.0, 0.5)])
def test_about_half_of_all_sessions_pass_wherever_the_model_stands(centre, spread):
    """Sessions whose mean is `centre` times the model's loss: the bar finds that place by itself."""
    draw = random.Random(1)
    loss = 1_000_000
    task, passes = trained(loss), []
    result = Result(named("before"), Score(loss, 5))
    while task.blocks < 6_000:
        session = int(draw.gauss(centre, spread) * loss)
        passed = gate(SPEC, task, session) == GATE_PASSED
        passes.append(passed)
        if passed or draw.random() < 1 / 16:  # who fails wins 16 times less often
            task = after_block(SPEC, task, session, result)
    late = passes[len(passes) // 2 :]
    assert 0.47 < sum(late) / len(late) < 0.53
    assert abs((loss + task.offset) / (centre * loss) - 1) < 0.15


def test_a_perfect_model_does_not_freeze_the_bar():
    perfect = Result(named("m"), Score(0, 10))
    task, blocks = TaskState(perfect.model, perfect.score, 0, 1), 0
    while gate(SPEC, task, 900) != GATE_PASSED:
        task = after_block(SPEC, task, 900, perfect)
        blocks += 1
    assert blocks == 10, "half of what is missing each time"


def test_an_ensemble_that_no_session_comes_near_stops_nobody():
    """A model with a tenth of the sessions' loss: their bar is among them again after a few blocks."""
    good = Result(named("ensemble"), Score(100_000, 9))
    task, blocks = after_block(SPEC, trained(1_000_000), 1_000_000, good), 0
    while gate(SPEC, task, 1_000_000) != GATE_PASSED and blocks < 20:
        task = after_block(SPEC, task, 1_100_000, good)
        blocks += 1
    assert blocks <= 6


def test_what_a_diverged_model_did_to_the_bar_is_over_with_it():
    huge, usual = 10**15, 10**6
    diverged = after_block(SPEC, TaskState(), huge, Result(named("diverged"), Score(huge, 0)))
    healed = after_block(SPEC, diverged, usual, Result(named("healed"), Score(usual, 9)))
    assert healed.offset == -(usual // 2), "not the 1/32 of the huge loss by which a pass lowers it"
    blocks = 0
    while gate(SPEC, healed, usual) != GATE_PASSED:
        healed = after_block(SPEC, healed, usual + 1, Result(named("healed"), Score(usual, 9)))
        blocks += 1
    assert blocks <= 20
