"""What a sponsor does before money moves: templates, plans within what a network takes, prices."""

import json
from dataclasses import replace
from importlib import resources
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import TypeAdapter

from deepblock.data import DataError
from deepblock.importers import Dataset
from deepblock.spec import Linear, SpecError, TaskSpec, check_bounds, most_heldout, session_macs
from deepblock.sponsor.offer import calibrated_loss, first_height
from deepblock.sponsor.plan import Choices, make
from deepblock.sponsor.template import DEFAULT, Template, TemplateError, kind_of, shipped_names

TESTNET = json.loads((resources.files("configs") / "testnet.json").read_text())
BASE = TypeAdapter(TaskSpec).validate_python(TESTNET["base_tasks"][0])
NODE = SimpleNamespace(
    min_train=4096, base_session_macs=session_macs(BASE), max_session_macs=4 * session_macs(BASE)
)
"""What of `node_info` counts here, on testnet."""

SHAPES = {"images": (1, 28, 28), "vectors": (20,), "texts": (64,), "tokens": (64,)}


def data(kind, examples=20_000, classes=10):
    random = np.random.default_rng(0)
    inputs = random.integers(0, 256, (examples, *SHAPES[kind]), dtype=np.uint8)
    if kind == "tokens":
        return Dataset(kind, inputs, inputs, tuple(map(str, range(256))))
    labels = random.integers(0, classes, examples, dtype=np.uint8)
    return Dataset(kind, inputs, labels, tuple(map(str, range(classes))))


@pytest.mark.parametrize("kind", SHAPES)
def test_every_template_makes_a_task_that_testnet_takes(kind):
    plan = make(data(kind), Template.load(DEFAULT[kind]), Choices("it"), NODE)
    spec = plan.spec
    check_bounds(spec, 4096)
    assert kind_of(spec) == kind
    assert 0.1 * NODE.base_session_macs < session_macs(spec) <= NODE.base_session_macs or kind == "vectors"
    assert spec.n_heldout >= 64 and spec.n_train + spec.n_heldout == 20_000
    again = make(data(kind), Template.load(DEFAULT[kind]), Choices("it"), NODE)
    assert again.spec == spec and again.files == plan.files
    assert (
        make(data(kind), Template.load(DEFAULT[kind]), Choices("it", seed="2"), NODE).spec.train != spec.train
    )


def test_inputs_come_to_mean_0_and_deviation_1():
    pictures = data("images")
    spec = make(pictures, Template.load("cnn"), Choices("it"), NODE).spec
    assert (spec.input_zero, spec.input_span) == (round(pictures.inputs.mean()), round(pictures.inputs.std()))
    assert (
        make(
            replace(pictures, inputs=np.zeros_like(pictures.inputs)),
            Template.load("mlp"),
            Choices("it"),
            NODE,
        ).spec.input_span
        == 1
    )


def test_sessions_are_as_long_as_they_count():
    template = Template.load("cnn")
    small, large = (NODE.base_session_macs // 24, NODE.base_session_macs * 100)
    shrunk = make(
        data("images"), template, Choices("it"), SimpleNamespace(**vars(NODE) | {"base_session_macs": small})
    )
    assert (shrunk.spec.steps, shrunk.spec.batch) == (
        2,
        64,
    ) and "2 steps of 64 examples and not 16" in shrunk.notes[-1]
    limits = {"base_session_macs": large, "max_session_macs": 4 * large}
    grown = make(data("images"), template, Choices("it"), SimpleNamespace(**vars(NODE) | limits))
    assert grown.spec.steps == 4 * template.steps
    tiny = {"base_session_macs": 10**6, "max_session_macs": 4 * 10**6}
    with pytest.raises(SpecError, match="too much for this network"):
        make(data("images"), template, Choices("it"), SimpleNamespace(**vars(NODE) | tiny))


def test_how_many_are_held_out():
    template = Template.load("cnn")
    spec = make(data("images"), template, Choices("it", heldout=100), NODE).spec
    assert spec.n_heldout == 100
    check_bounds(replace(spec, n_heldout=most_heldout(spec)), 4096)
    with pytest.raises(SpecError, match="checking costs"):
        check_bounds(replace(spec, n_heldout=most_heldout(spec) + 1), 4096)
    with pytest.raises(SpecError, match="--heldout 9000: it can be 1 to"):
        make(data("images"), template, Choices("it", heldout=9000), NODE)
    with pytest.raises(DataError, match="60 more are needed"):
        make(data("images", examples=4100), template, Choices("it"), NODE)


def test_the_template_of_a_task_has_another_head():
    template = Template.of(BASE)
    assert template.inputs == ("images",)
    assert template.for_classes(3) == (*BASE.layers[:-1], Linear(3))
    assert (template.segments, template.bits) == (BASE.segments, BASE.bits)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"layers": [{"kind": "dropout"}]}, "layers|kind"),
        ({"layers": [{"kind": "linear", "out": "many"}]}, "out"),
        ({"lr_high": 2}, "lr_high: Input should be less than 1"),
        ({"colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_templates_that_are_none(tmp_path, change, complaint):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(Template.load("mlp").model_dump() | change))
    with pytest.raises(TemplateError, match=complaint):
        Template.load(str(file))


def test_the_shipped_templates():
    assert shipped_names() == ["cnn", "mlp", "text", "transformer"]
    assert all(Template.load(name).about for name in shipped_names())


def test_what_an_accuracy_stands_for():
    assert calibrated_loss(0.5, 2) == pytest.approx(np.log(2))
    assert calibrated_loss(0.1, 10) == pytest.approx(np.log(10))
    assert calibrated_loss(0.9, 10) == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1 / 9))


def test_when_a_task_can_begin():
    """Opened in block 101, active after 113: the end of epoch 7 decides epoch 9. Opened in 116, active after 128: the
    end of epoch 8 decides epoch 10, which is a base task's, and so that of epoch 9 decides epoch 11."""
    quote = SimpleNamespace(epoch=16, signals_needed=12)
    assert first_height(quote, 100) == 144
    assert first_height(quote, 114) == 144
    assert first_height(quote, 115) == 176
