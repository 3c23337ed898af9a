"""Numbers that no chain can live by are refused before there is a chain."""

from dataclasses import replace

import pytest

from consensus.params import check_params
from node.config import load_params
from node.errors import StartError

DEVNET = load_params("devnet")


@pytest.mark.parametrize(
    "name",
    [
        "epoch",
        "halving",
        "difficulty_half_life",
        "median_window",
        "maturity",
        "base_tasks",
        "plateau",
        "signals_needed",
    ],
)
def test_zero_where_a_rule_divides_or_waits(name):
    with pytest.raises(ValueError, match=name):
        check_params(replace(DEVNET, **{name: () if name == "base_tasks" else 0}))


@pytest.mark.parametrize(("name", "most"), [("max_shares", 64), ("share_age", 128)])
def test_shares_have_bounds(name, most):
    check_params(replace(DEVNET, **{name: most}))
    reason = (
        rf"{name} is {most + 1}, more than (the {most} blocks .* the states of a session are served|{most})$"
    )
    with pytest.raises(ValueError, match=reason):
        check_params(replace(DEVNET, **{name: most + 1}))


@pytest.mark.parametrize(
    ("needed", "window", "fits"), [(16, 16, True), (1, 1, True), (13, 12, False), (12, 17, False)]
)
def test_signals_are_counted_in_a_window_that_has_room_for_them(needed, window, fits):
    params = replace(DEVNET, signals_needed=needed, signal_window=window)
    if fits:
        check_params(params)
    else:
        with pytest.raises(ValueError, match=f"signals_needed is {needed} and signal_window {window}"):
            check_params(params)


def test_a_base_task_that_the_least_difficulty_does_not_fit():
    (first,) = DEVNET.base_tasks
    with pytest.raises(ValueError, match="costs more"):
        check_params(
            replace(DEVNET, base_tasks=(first, replace(first, name="longer", steps=first.steps + 1)))
        )
    with pytest.raises(ValueError, match="checking"):
        check_params(replace(DEVNET, base_tasks=(replace(first, segments=4),)))


def test_a_preset_file_that_is_none_says_so(tmp_path):
    preset = tmp_path / "mine.json"
    preset.write_text('{"name": "mine"}')
    with pytest.raises(StartError, match="mine.json"):
        load_params(str(preset))
    with pytest.raises(StartError, match="devnet, testnet"):
        load_params("absent")
