"""The published sessions on this machine's CPU, whatever it is. `make gpu-check` does the same on its GPU."""

import copy
import json
from dataclasses import replace
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter

from deepblock.exact import convolution, product
from deepblock.exact.elementwise import sgd_
from deepblock.exact.loss import cross_entropy, cross_entropy_gradient
from deepblock.exact.ways import for_matrices
from deepblock.spec import (
    Conv2d,
    GlobalAvgPool,
    Layer,
    Linear,
    TaskSpec,
    all_placed,
    check_bounds,
    label_shape,
    placed,
    trained_count,
)
from deepblock.training.model import Network
from tests import gpu_check, gpu_speed, session_vectors
from tests.vectors.exact import session

SPEC = TypeAdapter(TaskSpec)
VECTORS = json.loads(session_vectors.FILE.read_text())


@pytest.fixture(scope="module")
def files():
    return session_vectors.with_data()


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["spec"]["name"])
def test_a_session_is_the_published_one(vector, files, threads):
    assert session_vectors.run(vector, files, "cpu") == vector


def test_the_gpu_check_tells_a_difference(tmp_path, monkeypatch, capsys):
    vector = copy.deepcopy(VECTORS[0])
    vector["correct"] += 1
    file = tmp_path / "sessions.json"
    file.write_text(json.dumps([vector, VECTORS[0]]))
    monkeypatch.setattr(session_vectors, "FILE", file)
    assert not gpu_check.check("cpu")
    first, _, third, fourth = capsys.readouterr().out.splitlines()
    assert first.endswith("perceptron (eager: not wanted here): DIFFERENT: correct")
    assert third.endswith("perceptron (eager: not wanted here): equal")
    assert fourth.endswith("perceptron (0 steps replayed): equal")


def test_the_matrix_contains_every_kind_of_layer():
    found = set()
    for name in session.NAMES:
        spec = SPEC.validate_python(session.published(name)["spec"])
        found |= {place.layer.kind for place in all_placed(spec)}
    assert found == {get_args(tagged)[0].kind for tagged in get_args(get_args(Layer)[0])}


def test_the_gpu_check_prints_the_cids_of_the_matrix(monkeypatch, capsys):
    monkeypatch.setattr(session, "NAMES", ("mlp",))
    assert gpu_check.check_matrix("cpu")
    last = session.published("mlp")["result"]["sessions"][-1]["states"][-1]
    assert capsys.readouterr().out.endswith(f"mlp (0 steps replayed), {last}: equal\n")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_gpu_check_says_that_there_is_no_gpu(capsys):
    assert gpu_check.main() == 2
    assert capsys.readouterr().out.startswith("Nothing was checked: there is no GPU")


def test_the_speed_of_a_device_is_measured():
    layers = (Conv2d(4, 3, 2, 1), GlobalAvgPool(), Linear(10))
    row = gpu_speed.speed("cpu", layers=layers, batch=2, steps=1, count=2)
    assert row.measured > 0
    assert row.baseline > 0


def test_what_is_measured_there_could_be_a_task():
    long_enough = dict(segments=20, steps=100, batch=2)
    check_bounds(
        replace(SPEC.validate_python(VECTORS[-1]["spec"]), layers=gpu_speed.RESNET, **long_enough),
        min_train=1,
    )


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", session.NAMES)
def test_a_step_on_a_device_asks_it_for_no_number(name, bits, monkeypatch):
    """On torch's device "meta", whose tensors have a shape and no values: whatever asks for one raises, and so does
    an operation with a tensor that was left on the CPU. A GPU would only be slow."""
    for module in (convolution, product):
        monkeypatch.setattr(
            module, "for_matrices", lambda bits, device: for_matrices(bits, torch.device("cuda"))
        )
    spec, device = replace(session.load(name)[0].spec, bits=bits), torch.device("meta")
    inputs = torch.empty(spec.batch, *placed(spec)[spec.frozen].before, device=device)
    labels = torch.empty(spec.batch, *label_shape(spec), dtype=torch.int64, device=device)
    with torch.inference_mode():
        network = Network(spec, torch.empty(trained_count(spec), device=device))
        logits, tape = network.forward(inputs, per_example=False)
        network.backward(cross_entropy_gradient(logits, labels), tape)
        sgd_(network.weights, torch.zeros_like(network.weights), network.gradient, 0.1, 0.9, 0.001)
        losses, _ = cross_entropy(network.forward(inputs, per_example=True)[0], labels)
    assert losses.shape == labels.shape
