"""Difficulty: published integers, the shape of 2^x, the floor and the cap."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.difficulty import FRACTION_BITS, exp2, floor, next_difficulty
from deepblock.spec import session_macs
from tests.unit.consensus.parts import FLOOR, OTHER, PARAMS, SPEC

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "aserti.json").read_text())
LARGE = 10**30
T, HALF_LIFE = PARAMS.block_time, PARAMS.difficulty_half_life


@pytest.mark.parametrize(
    "vector", VECTORS["exp2"], ids=lambda vector: f"{vector['value']}, {vector['exponent']}"
)
def test_powers_of_two_are_the_published_integers(vector):
    assert exp2(int(vector["value"]), vector["exponent"]) == int(vector["result"])


@pytest.mark.parametrize("vector", VECTORS["next"], ids=str)
def test_the_next_difficulty_is_the_published_integer(vector):
    params = replace(PARAMS, block_time=vector["block_time"], difficulty_half_life=vector["half_life"])
    assert next_difficulty(params, int(vector["difficulty"]), vector["spacing"]) == int(vector["next"])


def test_the_cubic_is_within_its_published_error_and_never_falls():
    before = 0
    for part in range(1 << 16):
        found = exp2(1 << 64, part)
        assert abs(found / 2 ** (64 + part / 65536) - 1) < 0.00013
        assert found >= before
        before = found


def test_the_floor_is_r_sessions_of_base_task_0_with_16_fractional_bits():
    assert session_macs(SPEC) == 384
    assert floor(PARAMS) == FLOOR == (4 * 384) * 2**16
    assert floor(replace(PARAMS, share_ratio=5)) == (5 * 384) << FRACTION_BITS
    assert floor(replace(PARAMS, base_tasks=(OTHER, SPEC))) == (4 * 288) << FRACTION_BITS


def test_a_block_on_time_keeps_the_difficulty():
    assert next_difficulty(PARAMS, LARGE, T) == LARGE


def test_a_lag_of_the_half_life_halves_and_a_lead_doubles():
    assert next_difficulty(PARAMS, LARGE, T + HALF_LIFE) == LARGE // 2
    assert next_difficulty(PARAMS, LARGE, T - HALF_LIFE) == LARGE * 2


def test_every_second_counts_in_its_direction():
    found = [next_difficulty(PARAMS, LARGE, spacing) for spacing in range(-50, 100)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)


def test_it_never_falls_below_the_floor():
    assert next_difficulty(PARAMS, FLOOR, T + 1) == FLOOR
    assert next_difficulty(PARAMS, FLOOR, T) == FLOOR
    assert next_difficulty(PARAMS, FLOOR, T - 1) > FLOOR


@pytest.mark.parametrize("spacing", [-(2**64), 2**64])
def test_any_two_timestamps_give_a_difficulty_that_fits_its_field(spacing):
    for difficulty in (FLOOR, 2**128 - 1):
        assert FLOOR <= next_difficulty(PARAMS, difficulty, spacing) <= 2**128 - 1


def test_blocks_on_time_after_an_early_and_a_late_one_have_about_the_old_difficulty():
    found = LARGE
    for spacing in (T - 7, T + 7):
        found = next_difficulty(PARAMS, found, spacing)
    assert abs(found / LARGE - 1) < 0.0003
