"""What follows from several averages: their mean, the ensemble, and a step beyond it (protocol: Model and ensemble).

Averages are added as integers, so the order of the members does not matter, and one can be taken out again exactly.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.exact.constants import LIMIT
from deepblock.spec import TaskSpec, trained_parameters
from deepblock.training.state import SUM_ONE, load_model, store_model


def derive(spec: TaskSpec, files: Files, members: Sequence[Cid], model: Cid | None) -> tuple[Cid, ...]:
    """Keeps the files of what follows from the averages `members`, and gives their CIDs. With
    A = Σ round_half_even(f64(average)·2^24):

    the ensemble, f32(f64(A) / (n·2^24)); and, where the task has a `model` before, the outer step, from there to the
    ensemble and half as far again: f32(f64(3·A − n·P) / (2·n·2^24)), P = round_half_even(f64(model)·2^24).

    One member is its own ensemble. Raises Malformed where a file is not a model of the task, and what `files` raises
    where it is missing.
    """
    totals = _totals(spec, files, members)
    count = len(members)
    ensemble = members[0] if count == 1 else _stored(spec, files, totals, count)
    if model is None:
        return (ensemble,)
    before = _totals(spec, files, [model])
    further = {name: 3 * total - count * before[name] for name, total in totals.items()}
    return (ensemble, _stored(spec, files, further, 2 * count))


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
