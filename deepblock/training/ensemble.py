"""The mean of several averages: a block's ensemble (protocol: Model and ensemble).

Averages are added as integers, so the order of the members does not matter, and one can be taken out again exactly.
"""

from collections.abc import Sequence

import numpy as np

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.spec import TaskSpec, trained_parameters
from deepblock.training.state import SUM_ONE, load_model, store_model


def combine(spec: TaskSpec, files: Files, members: Sequence[Cid]) -> Cid:
    """Keeps the file of f32(f64(Σ round_half_even(f64(average)·2^24)) / (n·2^24)); its CID. One member is its own mean.

    `members`: CIDs of averages in `files`. Raises Malformed where one is not a model of the task, and what `files`
    raises where it is missing.
    """
    if len(members) == 1:
        return members[0]
    models = [load_model(spec, files, member) for member in members]
    count = np.float64(len(models) * SUM_ONE)
    mean = {}
    for name in trained_parameters(spec):
        total = sum(np.rint(model[name].astype(np.float64) * SUM_ONE).astype(np.int64) for model in models)
        mean[name] = (np.asarray(total, np.float64) / count).astype(np.float32)
    return store_model(spec, files, mean)
