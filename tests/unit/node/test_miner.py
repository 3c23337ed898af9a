"""Whether a session goes on for its share when another block has come."""

from dataclasses import replace

import pytest

from node.miner import pays_as_share
from tests.unit.consensus.parts import FIRST, FLOOR, PARAMS, SECOND, SPEC, ancestry, header_on, named

OFFERED = named("a sponsor's task")


def pays(task, carrier, left: float, height: int = 7) -> bool:
    header = replace(header_on(ancestry(6)), task=task, difficulty=FLOOR)
    return pays_as_share(PARAMS, SPEC, header, height, carrier, left)


@pytest.mark.parametrize("task", [FIRST, SECOND, OFFERED])
def test_one_that_is_nearly_done_goes_on_and_one_that_has_just_begun_does_not(task):
    assert pays(task, task, 0.05)
    assert not pays(task, task, 1.0)


def test_the_older_a_share_the_less_of_a_session_is_it_worth():
    assert pays(FIRST, FIRST, 0.3, height=7) and not pays(FIRST, FIRST, 0.3, height=9)


def test_a_sponsors_epoch_ends_its_shares():
    assert pays(FIRST, OFFERED, 0.05), "what trains a base task is paid wherever it is carried"
    assert not pays(OFFERED, FIRST, 0.05)
