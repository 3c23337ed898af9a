"""From which states an audit replays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.jobs.perform import plan_runs


@pytest.mark.parametrize(
    ("segments", "here", "runs"),
    [
        ((4,), {3, 4}, [(3, 4)]),
        ((2, 4), {1, 2, 3, 4}, [(1, 2), (3, 4)]),
        ((3, 4), {1, 2, 3, 4}, [(2, 4)]),
        ((1, 2, 3, 4), {1, 2, 3, 4}, [(0, 4)]),
        ((4,), {1}, [(1, 4)]),
        ((4,), set(), [(0, 4)]),
        ((2, 4), {2}, [(0, 4)]),
        ((1,), {4}, [(0, 1)]),
        ((1,), {1}, [(0, 4)]),
        ((1,), {3}, [(0, 1), (3, 4)]),
        ((), {4}, []),
    ],
)
def test_each_replay_begins_at_the_nearest_state(segments, here, runs):
    assert plan_runs(segments, here.__contains__, 4) == runs


@given(st.data())
def test_every_planned_segment_is_replayed_once_from_a_state_that_is_here(data):
    count = data.draw(st.integers(1, 12))
    numbers = st.integers(1, count)
    segments, here = data.draw(st.sets(numbers)), data.draw(st.sets(numbers))
    runs = plan_runs(sorted(segments), here.__contains__, count)
    replayed = [segment for start, upto in runs for segment in range(start + 1, upto + 1)]
    assert len(replayed) == len(set(replayed))
    assert set(replayed) >= segments
    assert all(start == 0 or start in here for start, _ in runs)
    assert count in here or count in replayed
