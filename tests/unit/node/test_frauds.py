"""Which segments an idle node replays next."""

from dataclasses import replace
from random import Random

from node.frauds import CHUNK, draw_missed
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import named

LINE = Line()
FIRST, SECOND, THIRD = (LINE.grow() for _ in range(3))
COUNT = len(FIRST.seal.states)
LONG = replace(FIRST, seal=replace(FIRST.seal, states=tuple(named(f"state {i}") for i in range(12))))


def drawn(recent, seed):
    found = draw_missed(recent, Random(seed))
    assert found is not None
    return found


def test_what_no_replay_has_hit_is_drawn_by_chance():
    blocks = {drawn([(FIRST, set()), (SECOND, set()), (THIRD, set())], seed)[0].id for seed in range(50)}
    assert blocks == {FIRST.id, SECOND.id, THIRD.id}
    draws = [drawn([(LONG, {2, 5, 12})], seed)[1] for seed in range(200)]
    for segments in draws:
        assert len(segments) == CHUNK and list(segments) == sorted(set(segments))
    assert set().union(*draws) == set(range(1, 12)) - {2, 5}
    last_but_one = sum(11 in segments for segments in draws)
    assert 200 * CHUNK / 9 * 0.7 < last_but_one < 200 * CHUNK / 9 * 1.3, "as often as any other"


def test_of_which_the_fewest_are_replayed_comes_first_however_old_it_is():
    for seed in range(50):
        block, _ = drawn([(THIRD, {1, 4}), (SECOND, {1, 3, 4}), (FIRST, {4})], seed)
        assert block == FIRST


def test_in_the_end_all_are_replayed():
    done = {FIRST.id: set(), SECOND.id: {1}, THIRD.id: {1, 2}}
    recent = [(block, done[block.id]) for block in (FIRST, SECOND, THIRD)]
    while found := draw_missed(recent, Random(1)):
        block, segments = found
        assert not done[block.id] & set(segments)
        done[block.id] |= set(segments)
    assert all(replayed == set(range(1, COUNT + 1)) for replayed in done.values())
