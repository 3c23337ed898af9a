"""The measurement of accuracy: comparable runs, none of them twice, and a table that says what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepblock.spec import check_bounds
from deepblock.tensors import split_manifest, unpack
from deepblock.types import Score
from tests.accuracy import __main__, tasks
from tests.accuracy.runs import FLOAT, REVERSED, Run, train
from tests.accuracy.table import lines
from tests.session_vectors import Memory


def short(files):
    """Two short sessions of the digits."""
    task = tasks.digits(files)
    return replace(task, spec=replace(task.spec, segments=4), sessions=2)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """As the measurement has it: two only get into each other's way in a network this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def run():
    files = Memory()
    task = short(files)
    return lambda arithmetic, seed=0: train("digits", task, files, arithmetic, seed)


def loss(run):
    return run.average.loss / run.labels / 10**6


def test_exact_and_float_runs_of_a_seed_are_the_same_training(run):
    exact, plain, other = run("16 bits"), run(FLOAT), run(FLOAT, seed=1)
    assert loss(exact) == pytest.approx(loss(plain), abs=0.001)
    assert abs(loss(other) - loss(plain)) > 0.01


def test_another_order_of_adding_is_all_that_reversed_batches_change(run):
    plain, reversed_ = run(FLOAT), run(REVERSED)
    assert reversed_.average.loss != plain.average.loss
    assert loss(reversed_) == pytest.approx(loss(plain), abs=0.0001)


def test_an_average_is_scored_in_its_own_arithmetic_and_in_float32(run):
    exact = run("8 bits")
    assert exact.average != exact.in_float32
    assert exact.in_float32.loss == pytest.approx(exact.average.loss, rel=0.02)


def test_what_was_run_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(__main__, "TASKS", {"digits": short})
    results = tmp_path / "results"
    __main__.measure("digits", 1, [FLOAT], results)
    first = results.read_text()
    __main__.measure("digits", 2, [FLOAT], results)
    assert results.read_text().startswith(first)
    assert [(run.arithmetic, run.seed) for run in __main__.read(results)] == [(FLOAT, 0), (FLOAT, 1)]


def test_differences_are_those_of_each_seed():
    def made(arithmetic, seed, last, average):
        return Run(
            "task", arithmetic, seed, 1000, Score(0, last), Score(2 * 10**9, average), Score(0, 0), 1.0
        )

    ours = [made("8 bits", 0, 890, 889), made("8 bits", 1, 890, 906)]
    _, _, exact, plain = lines("task", [made(FLOAT, 1, 900, 910), *ours, made(FLOAT, 0, 880, 891)])
    assert (
        exact
        == "| 8 bits | 88.90 90.60; mean 89.75 | 89.00 89.00; mean 89.00 | -0.30 ± 0.10 | -0.10 | 2.0000 |"
    )
    assert plain == "| float32 | 89.10 91.00; mean 90.05 | 88.00 90.00; mean 89.00 |  | +1.00 | 2.0000 |"


def test_a_window_and_its_labels_are_a_block_s_own():
    blocks = [bytes(range(100)), bytes(range(100, 200)), b"too short"]
    inputs, labels = tasks.windows(blocks, 20)
    assert inputs[:, 0].tolist() == [0, 20, 100, 120]
    assert np.array_equal(labels, inputs + 1)


def test_the_text_is_a_task_that_a_network_could_take():
    files = Memory()
    spec = tasks.text(files).spec
    check_bounds(spec, min_train=1)
    test = unpack(files.get_file(spec.heldout, 1 << 20), split_manifest((64,), spec.n_heldout, (64,)))
    assert bytes(test["inputs"][0]) == tasks.TEXT.read_bytes()[9 * tasks.BLOCK :][:64]


def test_another_text_is_refused(tmp_path, monkeypatch, capsys):
    other = tmp_path / "function_docs.py"
    other.write_text("another edition")
    monkeypatch.setattr(tasks, "TEXT", other)
    monkeypatch.setattr("sys.argv", ["accuracy", "text", "--results", str(tmp_path / "results")])
    with pytest.raises(SystemExit, match="1"):
        __main__.main()
    assert f"{other}: SHA-256" in capsys.readouterr().err
