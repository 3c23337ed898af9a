import random
from fractions import Fraction

import numpy as np
import pytest

from deepblock.codec import Malformed
from deepblock.data import embedded
from deepblock.spec import parameters
from deepblock.tensors import model_manifest, pack, unpack
from deepblock.training.ensemble import combine, ensemble, outer_step
from deepblock.training.score import score
from node.config import load_params
from tests.rpc_parts import DIGITS
from tests.session_vectors import Memory


@pytest.fixture
def files():
    return Memory()


@pytest.fixture
def spec():
    return DIGITS


@pytest.fixture
def digits(files):
    """Devnet's task, with its data in the files."""
    for split in embedded():
        files.put_file(split)
    return load_params("devnet").base_tasks[0], files


def models(spec, files, count, scale=1.0):
    draw = np.random.default_rng(5)
    made = []
    for _ in range(count):
        tensors = {
            name: (draw.standard_normal(shape) * scale).astype(np.float32)
            for name, shape in parameters(spec).items()
        }
        made.append(files.put_file(pack(tensors, model_manifest(spec))))
    return made


def half_even(x: Fraction) -> int:
    return round(x)  # Python's rounds half to even


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 5e3])
def test_the_mean_is_that_of_integers(files, spec, count, scale):
    members = models(spec, files, count, scale)
    manifest = model_manifest(spec)
    found = unpack(files.get_file(ensemble(spec, files, members), 10**6), manifest)
    opened = [unpack(files.get_file(member, 10**6), manifest) for member in members]
    for name in parameters(spec):
        for place in list(np.ndindex(found[name].shape))[:50]:
            total = sum(half_even(Fraction(float(model[name][place])) * 2**24) for model in opened)
            assert found[name][place] == np.float32(float(total) / float(count * 2**24))


def test_the_order_of_the_members_does_not_matter(files, spec):
    members = models(spec, files, 5)
    mean = ensemble(spec, files, members)
    random.Random(1).shuffle(members)
    assert ensemble(spec, files, members) == mean


@pytest.mark.parametrize(("count", "sizes"), [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 3, 4])])
def test_several_members_give_means_of_the_best_and_a_step_beyond_the_best_mean(digits, count, sizes):
    spec, files = digits
    *members, model = models(spec, files, count + 1, 0.1)
    means = combine(spec, files, members, None)
    assert [mean.model for mean in means] == [ensemble(spec, files, members[:size]) for size in sizes]
    assert [mean.score for mean in means] == [score(spec, files, mean.model) for mean in means]
    found = combine(spec, files, members, model)
    assert found[: len(sizes)] == means
    if not sizes:
        assert not found
        return
    (further,) = found[len(sizes) :]
    best = min(range(len(means)), key=lambda at: means[at].score.loss)
    assert further.model == outer_step(spec, files, members[: sizes[best]], model)
    assert further.score == score(spec, files, further.model)


def test_a_member_of_another_task_is_refused(files, spec):
    members = models(spec, files, 2)
    stranger = files.put_file(b"no model")
    with pytest.raises(Malformed):
        ensemble(spec, files, [*members, stranger])


@pytest.mark.parametrize("count", [2, 3])
def test_the_outer_step_goes_half_as_far_again(files, spec, count):
    *members, model = models(spec, files, count + 1)
    manifest = model_manifest(spec)
    found = unpack(files.get_file(outer_step(spec, files, members, model), 10**6), manifest)
    opened = [unpack(files.get_file(member, 10**6), manifest) for member in (*members, model)]
    for name in parameters(spec):
        for place in list(np.ndindex(found[name].shape))[:50]:
            *averages, before = [half_even(Fraction(float(one[name][place])) * 2**24) for one in opened]
            further = float(3 * sum(averages) - count * before) / float(2 * count * 2**24)
            assert found[name][place] == np.float32(further)
            mean = sum(averages) / count / 2**24
            start = before / 2**24
            assert abs(found[name][place] - (start + 1.5 * (mean - start))) < 1e-6


def test_the_outer_step_stays_within_what_a_model_may_hold(files, spec):
    shapes = parameters(spec).items()
    ends = [{name: np.full(shape, end, np.float32) for name, shape in shapes} for end in (3e4, -3e4)]
    average, model = (files.put_file(pack(end, model_manifest(spec))) for end in ends)
    found = unpack(
        files.get_file(outer_step(spec, files, [average, average], model), 10**6), model_manifest(spec)
    )
    assert {float(number) for tensor in found.values() for number in tensor.flat} == {2.0**15 - 2.0**-8}
