import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load as load_safetensors

from deepblock import spec as specification
from deepblock import streams
from deepblock.blockstore import Blockstore, Missing
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.data import read_start
from deepblock.exact import reference
from deepblock.primitives import Hash32
from deepblock.spec import (
    GELU,
    RATE_ONE,
    Attention,
    AvgPool,
    Conv2d,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GroupedConv2d,
    GroupNorm,
    LayerNorm,
    Linear,
    MaxPool,
    Positions,
    ReLU,
    Residual,
    Start,
    TaskSpec,
    heldout_labels,
    label_shape,
    parameters,
    started_parameters,
    trained_parameters,
)
from deepblock.tensors import model_manifest, pack, split_manifest, start_manifest, state_manifest, unpack
from deepblock.training.audit import derive_average, replay
from deepblock.training.examples import input_values
from deepblock.training.score import score
from deepblock.training.session import run_session
from deepblock.training.state import Work
from deepblock.training.step import Cancelled, as_float32, learning_rate
from deepblock.types import Score
from tests import reference_network

SEED = bytes(range(32))


def store_split(files, examples, shape, classes, seed):
    """Noise around one random picture for each class."""
    pictures = np.random.default_rng(0).integers(0, 200, (classes, *shape))
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, examples).astype(np.uint8)
    inputs = (pictures[labels] + random.integers(0, 56, (examples, *shape))).astype(np.uint8)
    return files.put_file(pack({"inputs": inputs, "labels": labels}, split_manifest(shape, examples)))


@pytest.fixture
def files(tmp_path):
    return Blockstore(tmp_path)


@pytest.fixture
def spec(files):
    shape, classes = (2, 4, 4), 3
    return TaskSpec(
        name="tiny",
        input_shape=shape,
        input_zero=100,
        input_span=99,
        classes=classes,
        layers=(Conv2d(3, 3, 1, 1), ReLU(), MaxPool(2), Conv2d(4, 2, 1, 0), Flatten(), Linear(classes)),
        init_seed=Hash32(bytes(32)),
        train=store_split(files, 40, shape, classes, seed=1),
        heldout=store_split(files, 11, shape, classes, seed=2),
        n_train=40,
        n_heldout=11,
        segments=4,
        steps=3,
        batch=5,
        lr_high=RATE_ONE // 10,
        lr_low=RATE_ONE // 30,
        momentum=RATE_ONE // 3,
        decay=RATE_ONE // 1000,
        bits=12,
    )


def residual(files, spec):
    """Every kind of layer for planes."""
    block = (Conv2d(4, 3, 1, 1), GroupNorm(2), ReLU(), GroupedConv2d(4, 3, 1, 1, 4), GroupNorm(4))
    layers = (
        Residual((Conv2d(4, 3, 2, 1), GroupNorm(1)), (AvgPool(2), Conv2d(4, 1, 1, 0))),
        GELU(),
        Residual(block, ()),
        ReLU(),
        GlobalAvgPool(),
        LayerNorm(),
        Linear(spec.classes),
    )
    return replace(spec, name="residual", layers=layers, segments=2, steps=2, batch=3, n_heldout=11)


def transformer(files, spec):
    """Every kind of layer for tokens: each says what the one before it was, so there is something to learn."""
    tokens, features = 5, 8
    layers = (
        Embedding(7, features),
        Positions(),
        Residual((LayerNorm(), Attention(2)), ()),
        Residual((LayerNorm(), Linear(2 * features), GELU(), Linear(features)), ()),
        LayerNorm(),
        Linear(7),
    )
    splits = {}
    for split, examples in (("train", 20), ("heldout", 6)):
        text = np.random.default_rng(examples).integers(0, 7, (examples, tokens + 1)).astype(np.uint8)
        tensors = {"inputs": text[:, 1:], "labels": text[:, :-1]}
        splits[split] = files.put_file(pack(tensors, split_manifest((tokens,), examples, (tokens,))))
        splits[f"n_{split}"] = examples
    shape = dict(input_shape=(tokens,), input_zero=0, input_span=1, classes=7, layers=layers)
    return replace(spec, name="transformer", **shape, **splits, segments=2, steps=2, batch=3)


def run(work, files, **options):
    quiet = {
        "on_segment": lambda index, state: None,
        "on_step": lambda done, total: None,
        "should_stop": lambda: False,
    }
    return run_session(work, files, **quiet | options)


def run_replay(work, files, start, state, upto):
    return replay(
        work,
        files,
        start=start,
        state=state,
        upto=upto,
        on_step=lambda done, total: None,
        should_stop=lambda: False,
    )


def started(files, spec, layers, frozen):
    """The task, from weights for its first layers as another task might have trained them."""
    start = replace(spec, start=Start(spec.train, layers, frozen))
    random = np.random.default_rng(5)
    weights = {
        name: (random.standard_normal(shape) / 3).astype(np.float32)
        for name, shape in started_parameters(start).items()
    }
    return replace(spec, start=Start(files.put_file(pack(weights, start_manifest(start))), layers, frozen))


NETWORKS = {
    "convolutional": lambda files, spec: spec,
    "residual": residual,
    "transformer": transformer,
    "started": lambda files, spec: started(files, spec, 4, 0),
    "frozen convolution": lambda files, spec: started(files, spec, 4, 3),
    "frozen residual": lambda files, spec: started(files, residual(files, spec), 3, 2),
    "frozen transformer": lambda files, spec: started(files, transformer(files, spec), 3, 3),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_session_is_what_the_reference_makes_of_the_protocol(files, spec, name):
    """State 0, every batch, every step, the sum, the average and the score, recomputed without the engine."""
    spec = NETWORKS[name](files, spec)
    result = run(Work(spec, SEED, None), files)
    shapes = (spec.input_shape, label_shape(spec))
    train = unpack(files.get_file(spec.train, 10**6), split_manifest(shapes[0], spec.n_train, shapes[1]))
    heldout = unpack(
        files.get_file(spec.heldout, 10**6), split_manifest(shapes[0], spec.n_heldout, shapes[1])
    )
    table = np.float32([(byte - spec.input_zero) / spec.input_span for byte in range(256)])
    settle = np.vectorize(reference.settle, otypes=[np.float32])
    update = np.vectorize(reference.sgd, otypes=[np.float32, np.float32])

    given = read_start(spec, files)
    shapes = trained_parameters(spec)
    weights, momentum, total = {name: given[name] for name in parameters(spec) if name not in shapes}, {}, {}
    fixed = dict(weights)
    for name, shape in shapes.items():
        initial = given[name] if name in given else streams.initial(spec.init_seed, name, shape)
        weights[name] = settle(initial + streams.noise(SEED, name, initial))
        momentum[name] = np.zeros(shape, np.float32)
        total[name] = np.zeros(shape, np.int64)
    mu, decay = as_float32(spec.momentum), as_float32(spec.decay)
    for g in range(spec.segments * spec.steps):
        batch = streams.batch(SEED, g, spec.batch, spec.n_train)
        gradients = reference_network.gradients(
            spec, weights, table[train["inputs"][batch]], train["labels"][batch]
        )
        lr = as_float32(learning_rate(spec, g % spec.steps))
        assert gradients.keys() == shapes.keys()
        for name, gradient in gradients.items():
            weights[name], momentum[name] = update(weights[name], momentum[name], gradient, lr, mu, decay)
        if (g + 1) % spec.steps == 0:
            for name in total if (g + 1) // spec.steps > spec.segments // 2 else ():
                integers = [round(float(w) * 2**24) for w in weights[name].flat]
                total[name] += np.array(integers).reshape(total[name].shape)
            tensors = {f"weights/{name}": weights[name] for name in shapes}
            tensors |= {f"momentum/{name}": tensor for name, tensor in momentum.items()}
            tensors |= {f"sum/{name}": tensor for name, tensor in total.items()}
            state = files.put_file(pack(tensors, state_manifest(spec)))
            assert state == result.states[g // spec.steps]

    average = fixed | {
        name: np.float32(t / ((spec.segments + 1) // 2 * 2.0**24)) for name, t in total.items()
    }
    assert files.put_file(pack(average, model_manifest(spec))) == result.average
    outcomes = []
    for example, labels in zip(heldout["inputs"], heldout["labels"], strict=True):
        outcomes += reference_network.outcomes(spec, average, table[example], labels)
    assert len(outcomes) == heldout_labels(spec)
    loss = sum(round(1e6 * loss) for loss, _ in outcomes)
    assert result.score == Score(loss, sum(right for _, right in outcomes))
    assert {score(spec, files, result.average, batch=batch) for batch in (1, 4)} == {result.score}


def test_progress_and_files(files, spec):
    segments, steps = [], []
    result = run(
        Work(spec, SEED, None),
        files,
        on_segment=lambda index, state: segments.append((index, state)),
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert segments == list(enumerate(result.states, start=1))
    assert steps == [(done, 12) for done in range(1, 13)]
    assert len(set(result.states)) == spec.segments
    average = load_safetensors(files.get_file(result.average, 10**6))
    assert {name: tensor.shape for name, tensor in average.items()} == parameters(spec)


def test_every_segment_replays_from_the_state_before_it(files, spec):
    work = Work(spec, SEED, None)
    states = run(work, files).states
    for start, state in enumerate([None, *states[:-1]]):
        assert run_replay(work, files, start, state, start + 1) == (states[start],)
    assert run_replay(work, files, 1, states[0], 3) == states[1:3]
    assert derive_average(spec, files, states[-1]) == run(work, files).average


def test_another_seed_is_another_session(files, spec):
    here = run(Work(spec, SEED, None), files)
    there = run(Work(spec, SEED[::-1], None), files)
    assert not set(here.states) & set(there.states)


def test_training_goes_on_from_a_model(files, spec):
    work = Work(spec, SEED, None)
    losses = []
    for _ in range(4):
        result = run(work, files)
        losses.append(result.score.loss)
        work = replace(work, model=result.average)
    assert losses[-1] < losses[0] < spec.n_heldout * specification.ln_micro(spec.classes)


def test_an_interrupted_session_goes_on_after_its_last_finished_segment(files, spec):
    work = Work(spec, SEED, None)
    whole = run(work, files)
    finished, steps = [], []

    with pytest.raises(Cancelled, match="segment 3 of 4"):
        run(
            work,
            files,
            on_segment=lambda index, state: finished.append(state),
            on_step=lambda done, total: steps.append(done),
            should_stop=lambda: len(steps) == 7,
        )
    assert tuple(finished) == whole.states[:2]
    steps.clear()
    assert run(work, files, finished=finished, on_step=lambda done, total: steps.append(done)) == whole
    assert steps == list(range(7, 13))
    assert run(work, files, finished=whole.states) == whole


def test_the_score_does_not_depend_on_the_evaluation_batch(files, spec):
    average = run(Work(spec, SEED, None), files).average
    assert len({score(spec, files, average, batch=batch) for batch in (1, 4, 256)}) == 1


def test_a_score_takes_as_many_examples_at_a_time_as_fit(files, spec, monkeypatch):
    average = run(Work(spec, SEED, None), files).average
    expected = score(spec, files, average)
    monkeypatch.setattr("deepblock.training.score.NUMBERS", 1)
    assert score(spec, files, average) == expected


def test_a_diverged_session_ends_with_a_bad_score(files, spec):
    wild = replace(spec, lr_high=RATE_ONE - 1, lr_low=RATE_ONE - 1, momentum=RATE_ONE - 1, decay=RATE_ONE - 1)
    result = run(Work(wild, SEED, None), files)
    assert result.score.loss > spec.n_heldout * specification.ln_micro(spec.classes)


def test_files_that_are_not_the_task_s(files, spec):
    work = Work(spec, SEED, None)
    result = run(work, files)
    pickle = files.put_file(b"\x80\x04\x95" + bytes(1000))
    with pytest.raises(Malformed):
        run_replay(work, files, 1, pickle, 2)
    with pytest.raises(Malformed):
        run_replay(work, files, 1, result.average, 2)
    with pytest.raises(Malformed):
        score(spec, files, result.states[0])
    with pytest.raises(Malformed):
        run(replace(work, model=result.states[0]), files)
    with pytest.raises(Malformed, match="a label is 2"):
        score(replace(spec, classes=2, layers=(Flatten(), Linear(2))), files, two_class_model(files, spec))
    with pytest.raises(Missing):
        score(spec, files, Cid(result.average[:-1] + bytes([result.average[-1] ^ 1])))


def test_a_token_beyond_the_vocabulary(files, spec):
    text = transformer(files, spec)
    small = replace(text, layers=(Embedding(6, 8), *text.layers[1:]))
    with pytest.raises(Malformed, match="a token is 6, and the vocabulary has 6"):
        run(Work(small, SEED, None), files)


def test_a_transformer_that_diverges_leaves_finite_files_and_a_bad_score(files, spec):
    wild = dict(lr_high=RATE_ONE - 1, lr_low=RATE_ONE - 1, momentum=RATE_ONE - 1, decay=RATE_ONE - 1)
    for make in (transformer, residual):
        diverging = replace(make(files, spec), **wild, segments=6, steps=6)
        result = run(Work(diverging, SEED, None), files)
        assert result.score.loss > heldout_labels(diverging) * specification.ln_micro(diverging.classes)


def two_class_model(files, spec):
    small = replace(spec, classes=2, layers=(Flatten(), Linear(2)))
    tensors = {name: np.zeros(shape, np.float32) for name, shape in parameters(small).items()}
    return files.put_file(pack(tensors, model_manifest(small)))


def test_torch_loads_a_model_as_it_is(files, spec):
    """The names are those of torch.nn.Sequential, and so is what the network computes."""
    result = run(Work(spec, SEED, None), files)
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(3, 4, 2),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )
    average = load_safetensors(files.get_file(result.average, 10**6))
    plain.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in average.items()})
    heldout = unpack(files.get_file(spec.heldout, 10**6), split_manifest(spec.input_shape, spec.n_heldout))
    inputs = torch.from_numpy(input_values(spec)[heldout["inputs"]])
    loss = torch.nn.functional.cross_entropy(
        plain(inputs), torch.from_numpy(heldout["labels"].astype(np.int64))
    )
    assert math.isclose(float(loss.detach()), result.score.loss / 1e6 / spec.n_heldout, rel_tol=1e-2)


class TorchAttention(torch.nn.MultiheadAttention):
    def forward(self, x):
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return super().forward(x, x, x, attn_mask=later, need_weights=False)[0]


class TorchPositions(torch.nn.Module):
    def __init__(self, tokens, features):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(tokens, features))

    def forward(self, x):
        return x + self.weight


class TorchResidual(torch.nn.Module):
    def __init__(self, layers, shortcut=()):
        super().__init__()
        self.layers, self.shortcut = torch.nn.Sequential(*layers), torch.nn.Sequential(*shortcut)

    def forward(self, x):
        return self.layers(x) + self.shortcut(x)


def test_torch_loads_a_transformer_as_it_is(files, spec):
    spec = transformer(files, spec)
    result = run(Work(spec, SEED, None), files)
    nn = torch.nn
    plain = nn.Sequential(
        nn.Embedding(7, 8),
        TorchPositions(5, 8),
        TorchResidual([nn.LayerNorm(8), TorchAttention(8, 2, batch_first=True)]),
        TorchResidual([nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)]),
        nn.LayerNorm(8),
        nn.Linear(8, 7),
    )
    average = load_safetensors(files.get_file(result.average, 10**6))
    plain.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in average.items()})
    manifest = split_manifest(spec.input_shape, spec.n_heldout, label_shape(spec))
    heldout = unpack(files.get_file(spec.heldout, 10**6), manifest)
    inputs, labels = (torch.from_numpy(heldout[name].astype(np.int64)) for name in ("inputs", "labels"))
    loss = nn.functional.cross_entropy(plain(inputs).flatten(0, 1), labels.flatten())
    assert math.isclose(float(loss.detach()), result.score.loss / 1e6 / heldout_labels(spec), rel_tol=1e-2)


def test_learning_rate_falls_linearly_in_integers(spec):
    rates = [learning_rate(replace(spec, steps=4, lr_high=1000, lr_low=500), step) for step in range(4)]
    assert rates == [1000, 833, 666, 500]
