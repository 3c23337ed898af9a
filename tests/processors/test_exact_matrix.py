"""The published sessions under CPU configurations that differ: the same CIDs. `make exact-matrix` runs them all."""

import platform
from functools import cache

import pytest
import torch

from deepblock.training import step
from tests import exact_matrix
from tests.exact_matrix import CONFIGURATIONS, Row, RowError
from tests.vectors.exact import session

FARTHEST = (
    "as it is",
    "one thread",
    "three threads",
    "no kernels, torch without vectors",
    "oneDNN with SSE4.1",
    "MKL, compatible",
    "memory full of junk",
)
"""From each other, of those that need no kernels compiled for another processor. The rest would take minutes."""


@cache
def row(name: str) -> Row:
    return exact_matrix.run(CONFIGURATIONS[name])


@pytest.mark.parametrize("name", FARTHEST)
def test_published_sessions(name):
    assert row(name).differences == {}


@pytest.mark.skipif(
    platform.machine() != "x86_64", reason="only there one processor can play another so well"
)
def test_the_configurations_differ():
    """Ordinary training tells them apart, and the libraries say that they heed their settings."""
    told = ("as it is", "one thread", "no kernels, torch without vectors", "oneDNN with SSE4.1")
    assert len({row(name).ordinary for name in told}) == len(told)
    said = {name: row(name).libraries for name in FARTHEST}
    assert f"torch {torch.__version__}, 1 " in said["one thread"]
    assert f"torch {torch.__version__}, 3 " in said["three threads"]
    assert "DEFAULT" in said["no kernels, torch without vectors"]
    assert said["no kernels, torch without vectors"].endswith("no kernels")
    assert "oneDNN sse41" in said["oneDNN with SSE4.1"]
    assert "MKL COMPATIBLE" in said["MKL, compatible"]


@pytest.fixture
def one_bit(monkeypatch):
    """The fourth update of this process has the last bit of one weight wrong."""
    steps = 0

    def slipping(weights, *others):
        nonlocal steps
        steps += 1
        step_as_it_is(weights, *others)
        if steps == 4:
            weights[100:101].view(torch.int32).bitwise_xor_(1)

    step_as_it_is = step.sgd_
    monkeypatch.setattr(step, "sgd_", slipping)


def test_one_bit_of_one_weight_in_one_step_is_found(one_bit):
    found, wanted = session.run("mlp"), session.wanted("mlp")
    difference = session.first_difference(found, wanted)
    published, ours = (each["sessions"][0]["states"][0] for each in (wanted, found))
    assert difference == f"session 1: state 1 is {ours}, published is {published}"


def test_a_score_that_depends_on_the_order_is_found():
    wanted = session.wanted("mlp")
    found = session.wanted("mlp")
    found["again"][1]["scored backwards"][0] += 1
    loss, correct = wanted["again"][1]["scored backwards"]
    difference = session.first_difference(found, wanted)
    assert (
        difference == f"session 2: scored backwards is {[loss + 1, correct]}, published is {[loss, correct]}"
    )


def test_a_difference_fails_and_is_named(monkeypatch, capsys):
    found = {name: session.wanted(name) for name in session.NAMES}
    found["cnn"]["sessions"][1]["states"][2] = "another"
    row = Row(found, "hash", "torch 2.13.0")
    monkeypatch.setattr(exact_matrix, "CONFIGURATIONS", {"as it is": {}})
    monkeypatch.setattr(exact_matrix, "run", lambda settings: row)
    monkeypatch.setattr("sys.argv", ["exact_matrix"])
    assert exact_matrix.main() == 1
    said = capsys.readouterr().out
    assert said.count("DIFFERS") == 1
    assert "\nas it is, cnn, session 2: state 3 is another, published is bafkrei" in said
    assert "A bit differs: this is not exact." in said


def test_an_interpreter_that_cannot_is_named(tmp_path):
    with pytest.raises(RowError, match=r"nowhere cannot be started: No such file or directory"):
        exact_matrix.run({}, str(tmp_path / "nowhere"))
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1\n")
    bare.chmod(0o755)
    with pytest.raises(
        RowError, match="cannot run the sessions: ModuleNotFoundError: No module named 'torch'"
    ):
        exact_matrix.run({}, str(bare))
