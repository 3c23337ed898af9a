"""What a header owes to its parent: each fault has its error, and a header without fault passes."""

from dataclasses import replace

import pytest

from consensus.errors import (
    FromTheFuture,
    ParentUnknown,
    TaskNotScheduled,
    TooEarly,
    WrongDifficulty,
    WrongHeight,
    WrongNetwork,
    WrongStateRoot,
    WrongVersion,
)
from consensus.header import check_header, median_time, required_difficulty
from consensus.task import base_task
from deepblock.primitives import Hash32
from tests.unit.consensus.parts import (
    FIRST,
    FLOOR,
    NETWORK,
    NOBODY,
    PARAMS,
    SECOND,
    ancestry,
    header_on,
    named,
)

STAMPS = (1_000_050, 1_000_043, 1_000_030, 1_000_024, 1_000_010)
"""Seconds, newest first: the last block came after 7, so the next is harder."""
BELOW = ancestry(height=9, timestamps=STAMPS, difficulty=10 * FLOOR, parent=named("parent"))
NOW = 1_000_060
HEADER = header_on(BELOW, NOW)


def check(header=HEADER, below=BELOW, now=NOW):
    scheduled = base_task(PARAMS, (below.height + 1) // PARAMS.epoch)
    check_header(PARAMS, NETWORK, header, below, scheduled, now)


def test_an_honest_header_passes():
    check()
    check(replace(HEADER, nonce=2**64 - 1, body=named("body"), miner=NOBODY))  # what a miner may choose


@pytest.mark.parametrize(
    ("change", "error", "numbers"),
    [
        ({"version": 0}, WrongVersion, (0, 1)),
        ({"version": 2}, WrongVersion, (2, 1)),
        ({"network": named("n")}, WrongNetwork, (named("n"), NETWORK)),
        ({"parent": named("p")}, ParentUnknown, (named("p"),)),
        ({"height": 9}, WrongHeight, (9, 10)),
        ({"height": 11}, WrongHeight, (11, 10)),
        ({"state_root": Hash32(b"x" * 32)}, WrongStateRoot, (Hash32(b"x" * 32), BELOW.state_root)),
        ({"timestamp": 1_000_030}, TooEarly, (1_000_030, 1_000_030)),
        ({"timestamp": 0}, TooEarly, (0, 1_000_030)),
        ({"timestamp": 2**64 - 1}, FromTheFuture, (2**64 - 1, NOW, 20)),
        ({"timestamp": NOW + 21}, FromTheFuture, (NOW + 21, NOW, 20)),
        ({"difficulty": HEADER.difficulty + 1}, WrongDifficulty, (HEADER.difficulty + 1, HEADER.difficulty)),
        ({"difficulty": HEADER.difficulty - 1}, WrongDifficulty, (HEADER.difficulty - 1, HEADER.difficulty)),
        ({"difficulty": 2**128 - 1}, WrongDifficulty, (2**128 - 1, HEADER.difficulty)),
        ({"task": FIRST}, TaskNotScheduled, (FIRST, SECOND)),
        ({"task": named("t")}, TaskNotScheduled, (named("t"), SECOND)),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_each_fault_has_its_error(change, error, numbers):
    with pytest.raises(error) as caught:
        check(replace(HEADER, **change))
    assert type(caught.value) is error
    assert tuple(vars(caught.value).values()) == numbers


@pytest.mark.parametrize("timestamp", [1_000_031, NOW - 1, NOW, NOW + 20])
def test_time_may_be_anything_after_the_median_and_not_far_ahead(timestamp):
    check(replace(HEADER, timestamp=timestamp))


def test_the_clock_decides_what_is_the_future():
    early = replace(HEADER, timestamp=NOW)
    check(early, now=NOW - 20)
    with pytest.raises(FromTheFuture):
        check(early, now=NOW - 21)


@pytest.mark.parametrize(
    ("stamps", "median"),
    [
        ((7,), 7),
        ((9, 5), 9),  # of an even number the upper
        ((5, 9), 9),
        ((1, 9, 5), 5),
        ((4, 1, 3, 2), 3),
        ((50, 10, 40, 20, 30), 30),
        ((50, 10, 40, 20, 30, 1000, 1000), 30),  # only the window counts, the newest five
        ((1000, 1000, 40, 20, 30, 1, 1), 40),
    ],
)
def test_the_median_of_the_last_blocks(stamps, median):
    assert median_time(PARAMS, ancestry(timestamps=stamps)) == median


def test_the_median_is_in_order_of_time_and_not_of_height():
    below = replace(BELOW, timestamps=(1_000_001, 1_000_090, 1_000_080, 1_000_002, 1_000_003))
    with pytest.raises(TooEarly):
        check(header_on(below, timestamp=1_000_003), below)


def test_difficulty_is_measured_between_parent_and_grandparent():
    assert required_difficulty(PARAMS, BELOW) > BELOW.difficulty  # 7 s in place of 10
    slow = replace(BELOW, timestamps=(1_000_063, *STAMPS[1:]))
    assert required_difficulty(PARAMS, slow) < BELOW.difficulty
    on_time = replace(BELOW, timestamps=(1_000_053, *STAMPS[1:]))
    assert required_difficulty(PARAMS, on_time) == BELOW.difficulty


def test_a_blocks_own_timestamp_does_not_change_its_difficulty():
    """So nobody is tempted to lie about the time for an easier ticket."""
    for timestamp in (1_000_031, NOW + 20):
        check(replace(HEADER, timestamp=timestamp))


def test_on_the_genesis_the_schedule_is_met():
    assert required_difficulty(PARAMS, ancestry()) == FLOOR
    assert required_difficulty(PARAMS, ancestry(difficulty=3 * FLOOR)) == 3 * FLOOR
    second = ancestry(1, (1_000_001, 1_000_000), 3 * FLOOR)
    assert required_difficulty(PARAMS, second) > 3 * FLOOR


@pytest.mark.parametrize("pause", [79, 80])
def test_base_task_0_steps_in_after_a_pause(pause):
    late = replace(HEADER, timestamp=STAMPS[0] + pause, task=FIRST)
    if pause >= 80:
        check(late, now=late.timestamp)
    else:
        with pytest.raises(TaskNotScheduled):
            check(late, now=late.timestamp)
    check(replace(late, task=SECOND), now=late.timestamp)  # the scheduled one may always be trained


def test_only_base_task_0_steps_in():
    below = ancestry(height=15, timestamps=STAMPS)
    header = header_on(below, STAMPS[0] + 1_000)
    assert header.task == FIRST
    with pytest.raises(TaskNotScheduled):
        check(replace(header, task=SECOND), below, header.timestamp)
