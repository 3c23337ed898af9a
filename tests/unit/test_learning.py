"""The measurement of learning: a chain by the rules, lone training on the same step, a table of what they did."""

from dataclasses import replace

import pytest

from deepblock.data import embedded
from node.config import load_params
from tests.learning import __main__
from tests.learning.chains import Miners, grow
from tests.learning.curve import Curve, Point
from tests.learning.sequential import LOOKS, sgd, swa
from tests.learning.table import lines
from tests.learning.tasks import Task
from tests.session_vectors import Memory

HEIGHTS = 3
STEPS = 3


def short(files, seed):
    """Short sessions of the digits; those held out are the test too."""
    for split in embedded():
        files.put_file(split)
    spec = replace(load_params("devnet").base_tasks[0], segments=LOOKS, steps=STEPS)
    return Task(spec, spec)


@pytest.fixture(scope="module")
def chains():
    files = Memory()
    task = short(files, 0)
    miners = Miners(task.spec, files)
    return {sessions: list(grow(task, files, miners, 0, sessions, HEIGHTS)) for sessions in (1, 3)}


def test_a_chain_counts_steps_in_sequence_once_and_examples_of_every_session(chains):
    spec = load_params("devnet").base_tasks[0]
    steps = [STEPS * LOOKS * height for height in (1, 2, 3)]
    assert [point.steps for point in chains[3]] == [point.steps for point in chains[1]] == steps
    assert [point.examples for point in chains[3]] == [3 * spec.batch * count for count in steps]


def test_each_height_has_the_model_that_the_rule_gives(chains):
    for points in chains.values():
        loss = None
        for point in points:
            candidates = [*point.ensembles, point.outer, point.averages[0], loss]
            assert point.loss == min(candidate for candidate in candidates if candidate is not None)
            loss = point.loss


def test_chains_of_a_seed_share_the_sessions_of_their_first_height(chains):
    assert chains[1][0].averages[0] == chains[3][0].averages[0]
    assert len(set(chains[3][0].averages)) == 3


def test_several_members_have_ensembles_and_once_there_is_a_model_an_outer_step(chains):
    assert [(len(point.ensembles), point.outer) for point in chains[1]] == [(0, None)] * 3
    assert [(len(point.ensembles), point.outer is not None) for point in chains[3]] == [
        (2, False), (2, True), (2, True),
    ]  # fmt: skip


def test_lone_training_is_looked_at_so_often_and_learns():
    files = Memory()
    task = short(files, 0)
    steps = 3 * task.spec.segments * task.spec.steps
    for method in (sgd, swa):
        points = list(method(task, files, 0, steps))
        assert [point.steps for point in points] == list(range(STEPS, steps + 1, STEPS))
        assert points[-1].accuracy > points[0].accuracy


def test_what_is_in_the_results_is_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "testnet", short)
    monkeypatch.setattr(__main__, "SIZES", (1, 2))
    results = tmp_path / "learning.jsonl"
    __main__.measure(0, 1, results)
    written = results.read_bytes()
    assert [curve.method for curve in __main__.read(results)] == ["SGD", "SWA", "chain of 1", "chain of 2"]
    __main__.measure(0, 1, results)
    assert results.read_bytes() == written


def test_the_table_says_when_an_accuracy_was_reached_and_what_that_is_of_lone_training():
    alone = Curve("SGD", 1, [Point(100, 6400, 87.0), Point(200, 12800, 89.5), Point(300, 19200, 89.0)])
    first = Point(150, 19200, 88.2, 300, [310], [300, 305])
    chain = Curve("chain of 2", 1, [first, Point(300, 38400, 89.1, 250, [275, 260], [270, 265], 250)])
    table = list(lines([alone, chain]))
    assert "| SGD | 200; 1.00× | 200; 1.00× | never |" in table
    assert "| chain of 2 | 150; 0.75× | 300; 1.50× | never |" in table
    assert "| chain of 2 | 19,200; 1.50× | 38,400; 3.00× | never |" in table
    assert "| SGD | 89.00; mean 89.00 | 89.50; mean 89.50 |" in table
    assert "| chain of 2 | 1 of 1 | 1 of 1 | 1 of 1 | 1 of 1 |" in table


def test_what_is_not_complete_is_compared_with_the_same_seeds():
    alone = [Curve("SGD", seed, [Point(100 * seed, 6400 * seed, 88.0)]) for seed in (1, 2, 3)]
    table = list(lines([*alone, Curve("chain of 2", 2, [Point(300, 38400, 88.0, 300, [], [300, 305])])]))
    assert "| SGD | 100 200 300; 1.00× | never never never | never never never |" in table
    assert "| chain of 2 | 300; 1.50× | never | never |" in table
