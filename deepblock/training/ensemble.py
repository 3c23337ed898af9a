"""What follows from several averages: their means, the ensembles, and a step beyond one (protocol: Model and ensemble).

Averages are added as integers, so the order of the members does not matter, and one can be taken out again exactly.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.exact.constants import LIMIT
from deepblock.spec import TaskSpec, trained_parameters
from deepblock.training.score import score
from deepblock.training.state import SUM_ONE, load_model, store_model
from deepblock.types import Result


def combine(
    spec: TaskSpec, files: Files, members: Sequence[Cid], model: Cid | None, *, device: str = "cpu"
) -> tuple[Result, ...]:
    """What several averages give (consensus: E2), with held-out scores; the files are kept. `members`: averages, the
    best one first.

    The means of the first two, of the first three and so on; and, where the task has a `model` before, the outer step
    beyond the mean with the least loss, the first of those that tie. Raises Malformed where a file is not a model of
    the task, and what `files` raises where it is missing.
    """

    def scored(derived: Cid) -> Result:
        return Result(derived, score(spec, files, derived, device=device))

    sizes = range(2, len(members) + 1)
    means = [scored(ensemble(spec, files, members[:size])) for size in sizes]
    if model is None or not means:
        return tuple(means)
    _, size = min(zip(means, sizes, strict=True), key=lambda mean: mean[0].score.loss)
    return (*means, scored(outer_step(spec, files, members[:size], model)))


def ensemble(spec: TaskSpec, files: Files, averages: Sequence[Cid]) -> Cid:
    """Their mean. With A = Σ round_half_even(f64(average)·2^24) for each number: f32(f64(A) / (n·2^24))."""
    return _stored(spec, files, _totals(spec, files, averages), len(averages))


def outer_step(spec: TaskSpec, files: Files, averages: Sequence[Cid], model: Cid) -> Cid:
    """From the model before to the ensemble, and half as far again. With P = round_half_even(f64(model)·2^24):
    f32(f64(3·A − n·P) / (2·n·2^24))."""
    count = len(averages)
    totals, before = _totals(spec, files, averages), _totals(spec, files, [model])
    further = {name: 3 * total - count * before[name] for name, total in totals.items()}
    return _stored(spec, files, further, 2 * count)


def _totals(spec: TaskSpec, files: Files, models: Sequence[Cid]) -> dict[str, NDArray[np.int64]]:
    """The sums of the trained parameters, as integers of 2^-24."""
    loaded = [load_model(spec, files, model) for model in models]
    return {
        name: np.sum(
            [np.rint(model[name].astype(np.float64) * SUM_ONE).astype(np.int64) for model in loaded], axis=0
        )
        for name in trained_parameters(spec)
    }


def _stored(spec: TaskSpec, files: Files, totals: Mapping[str, NDArray[np.int64]], count: int) -> Cid:
    """The model total / (count·2^24) in float32, within what a model may hold, and never −0."""
    divisor = np.float64(count * SUM_ONE)
    model = {
        name: np.clip((total.astype(np.float64) / divisor).astype(np.float32), -LIMIT, LIMIT)
        + np.float32(0.0)
        for name, total in totals.items()
    }
    return store_model(spec, files, model)
