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
    ("loss", "gate"),
    [
        (1_000_050, 1_000_050),  # the gate itself passes
        (1_000_035, 1_000_050),
        (1_000_034, 1_000_049),
        (840_050, 990_050),
        (1_000_051, 1_000_051),  # a failing one takes it along
        (1_900_000, 1_900_000),
        (2_000_101, 2_000_100),  # to twice as much at most
        (10**15, 2_000_100),
    ],
)
def test_the_gate_moves_towards_the_blocks_own_session(loss, gate):
    after = after_block(SPEC, trained(1_000_000, 50), loss, RESULT)
    assert after.offset + RESULT.score.loss == gate


@pytest.mark.parametrize(
    ("before", "loss", "model", "gate"),
    [
        (10**9, 9, 7, 13),
        (10**9, 5_001, 7, 7_501),
        (10**9, 9, 6_001, 9_001),
        (3_000, 2_000, 6_001, 3_000),
        (2_999, 2_999, 6_001, 3_000),
        (0, 2_000, 0, 1_024),  # from nothing
    ],
)
def test_the_gate_stays_near_the_new_model_and_the_session(before, loss, model, gate):
    result = Result(named("model"), Score(model, 7))
    assert after_block(SPEC, trained(before), loss, result).offset == gate - model


def test_the_first_block_moves_it_from_the_loss_of_guessing():
    result = Result(named("model"), Score(GUESSING, 7))
    assert after_block(SPEC, TaskState(), GUESSING - 1_600, result).offset == -100
    assert after_block(SPEC, TaskState(), GUESSING + 1_600, result).offset == 1_600


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
    assert 0.44 < sum(late) / len(late) < 0.56
    assert abs((loss + task.offset) / (centre * loss) - 1) < 0.15


def test_a_perfect_model_does_not_freeze_the_gate():
    perfect = Result(named("m"), Score(0, 10))
    task = TaskState(perfect.model, perfect.score, 0, 1)
    assert gate(SPEC, task, 900) != GATE_PASSED
    assert gate(SPEC, after_block(SPEC, task, 900, perfect), 900) == GATE_PASSED


def test_an_ensemble_that_no_session_comes_near_stops_nobody():
    """A model with a tenth of the sessions' loss."""
    good = Result(named("ensemble"), Score(100_000, 9))
    task, blocks = TaskState(good.model, good.score, 0, 1), 0
    while gate(SPEC, task, 1_000_000) != GATE_PASSED:
        task = after_block(SPEC, task, 1_000_000, good)
        blocks += 1
    assert blocks == 4


def test_what_a_diverged_model_did_to_the_gate_is_over_with_it():
    huge, usual = 10**15, 10**6
    diverged = TaskState()
    for _ in range(2):
        diverged = after_block(SPEC, diverged, huge, Result(named("diverged"), Score(huge, 0)))
    assert gate(SPEC, diverged, huge) == GATE_PASSED
    healed = after_block(SPEC, diverged, usual, Result(named("healed"), Score(usual, 9)))
    assert gate(SPEC, healed, usual) == GATE_PASSED
    assert gate(SPEC, healed, 2 * usual) != GATE_PASSED
