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
    after = after_block(SPEC, trained(1_000_000), True, RESULT)
    assert (after.model, after.score, after.blocks) == (RESULT.model, RESULT.score, 4)


@pytest.mark.parametrize(
    ("loss", "passed", "offset"),
    [
        (1_024_000, True, 50 - 1_000),
        (1_024_000, False, 50 + 16_000),
        (1_024_999, True, 50 - 1_000),
        (1_024_999, False, 50 + 16_000),
        (2_047, True, 49),
        (2_048, True, 48),
        (1_023, True, 49),  # at least one
        (0, True, 49),
        (0, False, 66),
    ],
)
def test_the_offset_moves_by_the_loss_of_the_parents_model(loss, passed, offset):
    assert after_block(SPEC, trained(loss, 50), passed, RESULT).offset == offset


@pytest.mark.parametrize(("loss", "room"), [(0, 1_024), (1_024, 1_024), (1_025, 1_025), (5_001, 5_001)])
def test_the_offset_stays_within_the_loss_of_the_new_model_or_1024(loss, room):
    result = Result(named("model"), Score(loss, 7))
    assert after_block(SPEC, trained(10**9), False, result).offset == room
    assert after_block(SPEC, trained(10**9), True, result).offset == -(room // 2)


def test_the_first_block_moves_it_by_the_loss_of_guessing():
    assert after_block(SPEC, TaskState(), True, RESULT).offset == -(GUESSING // 1024)
    assert after_block(SPEC, TaskState(), False, RESULT).offset == 16 * (GUESSING // 1024)


@pytest.mark.parametrize("centre", [0.8, 1.0, 1.5])
def test_about_half_of_all_sessions_pass_wherever_the_model_stands(centre):
    """Sessions of which half are better than `centre` times the model: the bar finds that place by itself."""
    draw = random.Random(1)
    loss = 1_000_000
    task, passes = trained(loss), []
    result = Result(named("before"), Score(loss, 5))
    while task.blocks < 6_000:
        session = int(draw.gauss(centre, 0.1) * loss)
        passed = gate(SPEC, task, session) == GATE_PASSED
        passes.append(passed)
        if passed or draw.random() < 1 / 16:  # who fails wins 16 times less often
            task = after_block(SPEC, task, passed, result)
    late = passes[len(passes) // 2 :]
    assert 0.47 < sum(late) / len(late) < 0.53
    assert abs((loss + task.offset) / (centre * loss) - 1) < 0.15


def test_a_perfect_model_does_not_freeze_the_bar():
    task = TaskState(named("m"), Score(0, 10), -40, 1)
    for _ in range(3):
        assert gate(SPEC, task, 0) != GATE_PASSED
        task = after_block(SPEC, task, False, Result(named("m"), Score(0, 10)))
    assert gate(SPEC, task, 0) == GATE_PASSED


def test_what_a_diverged_model_did_to_the_bar_is_over_with_it():
    huge, usual = 10**15, 10**6
    diverged = after_block(SPEC, TaskState(), True, Result(named("diverged"), Score(huge, 0)))
    healed = after_block(SPEC, diverged, True, Result(named("healed"), Score(usual, 9)))
    assert healed.offset == -(usual // 2), "not the 1/1024 of the huge loss by which a pass lowers it"
    blocks = 0
    while gate(SPEC, healed, usual) != GATE_PASSED:
        healed = after_block(SPEC, healed, False, Result(named("healed"), Score(usual, 9)))
        blocks += 1
    assert blocks <= 33

    for _ in range(200):
        healed = after_block(SPEC, healed, False, Result(named("healed"), Score(usual, 9)))
    assert healed.offset == usual
