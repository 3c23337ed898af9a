"""Sessions that start from given weights, with and without frozen layers."""

from dataclasses import replace

import numpy as np
import pytest
from torch.utils.flop_counter import FlopCounterMode

from deepblock import streams
from deepblock.blockstore import Blockstore
from deepblock.codec import Malformed
from deepblock.data import check_files
from deepblock.spec import (
    Flatten,
    Linear,
    ReLU,
    Start,
    forward_macs,
    frozen_macs,
    parameters,
    session_macs,
    started_parameters,
    trained_parameters,
)
from deepblock.tensors import file_size, model_manifest, pack, start_manifest, state_manifest, unpack
from deepblock.training import features
from deepblock.training.audit import replay
from deepblock.training.score import score
from deepblock.training.session import run_session
from deepblock.training.state import Work
from tests.rpc_parts import DIGITS, HELDOUT, TRAIN

SEED = bytes(range(32))
QUIET = {"on_step": lambda done, total: None, "should_stop": lambda: False}


@pytest.fixture
def files(tmp_path):
    store = Blockstore(tmp_path)
    for split in (TRAIN, HELDOUT):
        store.put_file(split)
    features._shelf.cache_clear()
    return store


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A task for the first layers, and the file of a model that it has trained."""
    store = Blockstore(tmp_path_factory.mktemp("teacher"))
    for split in (TRAIN, HELDOUT):
        store.put_file(split)
    layers = (Flatten(), Linear(32), ReLU(), Linear(10))
    spec = replace(DIGITS, layers=layers, bits=8, segments=6, steps=50)
    return spec, store.get_file(run(Work(spec, SEED, None), store).average, 10**6)


@pytest.fixture
def teacher(files, trained):
    """That task, and the CID of its model, which is in `files`."""
    spec, model = trained
    return spec, files.put_file(model)


def run(work, files):
    return run_session(work, files, on_segment=lambda index, state: None, **QUIET)


def pupil(files, teacher, frozen, layers=3):
    """The same with another head, from the teacher's first layers, in short sessions."""
    spec, model = teacher
    head = (Linear(16), ReLU(), Linear(10))
    new = replace(spec, layers=(*spec.layers[:3], *head), segments=3, steps=10)
    begun = replace(new, start=Start(model, layers, frozen))
    weights = unpack(files.get_file(model, 10**6), model_manifest(spec))
    kept = {name: weights[name] for name in started_parameters(begun)}
    return replace(new, start=Start(files.put_file(pack(kept, start_manifest(begun))), layers, frozen))


def test_frozen_weights_stay_as_they_are_from_model_to_model(files, teacher):
    spec = pupil(files, teacher, frozen=2)
    teachers = unpack(files.get_file(teacher[1], 10**6), model_manifest(teacher[0]))
    work = Work(spec, SEED, None)
    for _ in range(2):
        result = run(work, files)
        model = unpack(files.get_file(result.average, 10**6), model_manifest(spec))
        assert model.keys() == parameters(spec).keys()
        for name in ("1.weight", "1.bias"):
            assert model[name].tobytes() == teachers[name].tobytes()
        work = replace(work, model=result.average)


def test_states_hold_what_is_trained_and_replay_from_each_other(files, teacher):
    spec = pupil(files, teacher, frozen=2)
    work = Work(spec, SEED, None)
    states = run(work, files).states
    manifest = state_manifest(spec)
    assert {name.partition("/")[2] for name in manifest} == trained_parameters(spec).keys()
    assert all(len(files.get_file(state, 10**6)) == file_size(manifest) for state in states)
    features._shelf.cache_clear()  # an auditor has its own
    for start, state in enumerate(states[:-1], 1):
        assert replay(work, files, start=start, state=state, upto=start + 1, **QUIET) == (states[start],)


def test_what_another_task_has_learnt_helps(files, teacher):
    """The same steps from the same seed end in a better score."""
    spec = pupil(files, teacher, frozen=0)
    started, fresh = (run(Work(each, SEED, None), files).score for each in (spec, replace(spec, start=None)))
    assert started.loss < 0.8 * fresh.loss


def counted(work, files):
    with FlopCounterMode(display=False) as counter:
        run(work, files)
    return counter.get_total_flops() // 2


def test_a_session_costs_what_the_specification_says(files, teacher):
    """Counted by torch: the session's own products, those of the score, and each example's features once."""
    plain = replace(teacher[0], segments=2, steps=10)
    assert counted(Work(plain, SEED, None), files) == session_macs(plain) + plain.n_heldout * forward_macs(
        plain
    )
    spec = pupil(files, teacher, frozen=2)
    drawn = {i for g in range(30) for i in streams.batch(SEED, g, spec.batch, spec.n_train).tolist()}
    head = forward_macs(spec) - frozen_macs(spec)
    first, again = (counted(Work(spec, SEED, None), files) for _ in range(2))
    assert again == session_macs(spec) + spec.n_heldout * head
    assert first == again + (len(drawn) + spec.n_heldout) * frozen_macs(spec)


def test_features_that_would_take_too_much_room_are_computed_each_time(files, teacher, monkeypatch):
    work = Work(pupil(files, teacher, frozen=2), SEED, None)
    kept = run(work, files)
    monkeypatch.setattr(features, "ROOM", 1000)
    assert run(work, files) == kept


def test_files_that_are_not_what_the_task_starts_from(files, teacher):
    spec = pupil(files, teacher, frozen=2)
    check_files(spec, files)
    result = run(Work(spec, SEED, None), files)
    weights = unpack(files.get_file(spec.start.weights, 10**6), start_manifest(spec))

    def starting(**changes):
        file = files.put_file(pack({**weights, **changes}, start_manifest(spec)))
        return replace(spec, start=replace(spec.start, weights=file))

    huge, tiny = np.full(32, 4e4, np.float32), np.full(32, 1e-30, np.float32)
    for bias in (huge, tiny):
        with pytest.raises(Malformed, match="1.bias has magnitudes beyond"):
            check_files(starting(**{"1.bias": bias}), files)
    whole = replace(spec, start=replace(spec.start, weights=teacher[1]))
    for broken in (whole, starting(**{"1.bias": huge})):
        with pytest.raises(Malformed):
            run(Work(broken, SEED, None), files)
    with pytest.raises(Malformed, match="1.bias is frozen"):
        score(starting(**{"1.bias": weights["1.bias"] + np.float32(1)}), files, result.average)
