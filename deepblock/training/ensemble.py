"""What follows from several averages: their mean, the ensemble, and a step beyond it (protocol: Model and ensemble).

Averages are added as integers, so the order of the members does not matter, and one can be taken out again exactly.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.exact.constants import LIMIT
from deepblock.spec import TaskSpec, trained_parameters
from deepblock.training.state import SUM_ONE, load_model, store_model


def combine(spec: TaskSpec, files: Files, members: Sequence[Cid]) -> Cid:
    """Keeps the file of f32(f64(A) / (n·2^24)), A = Σ round_half_even(f64(average)·2^24); its CID. One member is its
    own mean.

    `members`: CIDs of averages in `files`. Raises Malformed where one is not a model of the task, and what `files`
    raises where it is missing.
    """
    if len(members) == 1:
        return members[0]
    totals = _totals(spec, files, members)
    count = np.float64(len(members) * SUM_ONE)
    return store_model(spec, files, {name: _quotient(total, count) for name, total in totals.items()})


def step_out(spec: TaskSpec, files: Files, members: Sequence[Cid], model: Cid) -> Cid:
    """Keeps the file of the outer step, the ensemble's way from the task's `model` half as far again:
    f32(f64(3·A − n·P) / (2·n·2^24)), P = round_half_even(f64(model)·2^24); its CID. Raises as `combine` does."""
    totals, before = _totals(spec, files, members), _totals(spec, files, [model])
    count = np.float64(2 * len(members) * SUM_ONE)
    further = {name: 3 * total - len(members) * before[name] for name, total in totals.items()}
    return store_model(spec, files, {name: _quotient(total, count) for name, total in further.items()})


def _totals(spec: TaskSpec, files: Files, models: Sequence[Cid]) -> dict[str, NDArray[np.int64]]:
    """The sums of the trained parameters, as integers of 2^-24."""
    loaded = [load_model(spec, files, model) for model in models]
    return {
        name: np.sum(
            [np.rint(model[name].astype(np.float64) * SUM_ONE).astype(np.int64) for model in loaded], axis=0
        )
        for name in trained_parameters(spec)
    }


def _quotient(total: NDArray[np.int64], count: np.float64) -> NDArray[np.float32]:
    """In float32, within what a model may hold, and never −0."""
    return np.clip((total.astype(np.float64) / count).astype(np.float32), -LIMIT, LIMIT) + np.float32(0.0)
