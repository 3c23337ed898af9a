"""Which segments an idle node replays next."""

from random import Random

from node.frauds import CHUNK, draw_missed


def test_what_no_replay_has_hit_is_drawn_by_chance():
    draws = [draw_missed(12, {2, 5, 12}, Random(seed)) for seed in range(200)]
    for drawn in draws:
        assert len(drawn) == CHUNK and list(drawn) == sorted(set(drawn))
    assert set().union(*draws) == set(range(1, 12)) - {2, 5}
    last_but_one = sum(11 in drawn for drawn in draws)
    assert 200 * CHUNK / 9 * 0.7 < last_but_one < 200 * CHUNK / 9 * 1.3, "as often as any other"


def test_in_the_end_all_are_replayed():
    done: set[int] = {9}
    while drawn := draw_missed(9, done, Random(1)):
        assert not done & set(drawn)
        done |= set(drawn)
    assert done == set(range(1, 10))
