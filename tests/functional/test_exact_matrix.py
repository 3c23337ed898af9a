"""The published sessions, under every CPU configuration that this machine can imitate: the same CIDs everywhere."""

import copy

import pytest

from tests.exact_matrix import CONFIGURATIONS, expected, results, row


@pytest.mark.parametrize("settings", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_published_sessions(settings):
    assert results(settings) == expected()


def test_the_table_says_where_the_first_difference_is():
    wanted = expected()
    found = copy.deepcopy(wanted)
    found["cnn"]["sessions"][1]["states"][2] = "another"
    found["mlp"]["sessions"][0]["correct"] += 1
    cells = row(found, wanted)
    assert cells[:2] == ["1/score DIFFERS", "2/3 DIFFERS"]
    assert cells[2:] == row(wanted, wanted)[2:]
