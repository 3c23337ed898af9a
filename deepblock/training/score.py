"""The held-out score of a model (protocol: Score)."""

from typing import Final

import torch

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.exact.loss import cross_entropy
from deepblock.spec import TaskSpec, batch_numbers, trained_parameters
from deepblock.training.features import Features
from deepblock.training.memory import keep_memory
from deepblock.training.model import Frozen, Network, join
from deepblock.training.state import load_model
from deepblock.types import Score

MICRO: Final = 10**6
"""Losses are counted in millionths."""

LARGEST_BATCH: Final = 256
NUMBERS: Final = 1 << 25
"""Of the activations kept at a time, if that is more than one example."""


def score(
    spec: TaskSpec, files: Files, model: Cid, *, device: str = "cpu", batch: int | None = None
) -> Score:
    """Σ round_half_even(10^6 · loss_i) and the number correct, over the labels of the held-out split.

    Each example is evaluated on grids of its own, so `batch`, a matter of memory, does not change it; without it
    as many are taken as fit. Raises Malformed where the model or the split are not files of this task.
    """
    keep_memory()
    at = torch.device(device)
    parameters = load_model(spec, files, model)
    network = Network(spec, torch.from_numpy(join(parameters, trained_parameters(spec))).to(at))
    examples = Features(spec, files, spec.heldout, spec.n_heldout, Frozen(spec, parameters, at), at)
    loss, correct = 0, 0
    with torch.inference_mode():
        for indices in torch.arange(spec.n_heldout).split(batch or _fitting(spec)):
            examples.keep(indices)
            features, labels = examples.take(indices.to(at))
            logits, _ = network.forward(features, per_example=True)
            losses, right = cross_entropy(logits, labels)
            loss += int(losses.mul(MICRO).round_().long().sum())
            correct += int(right.sum())
    return Score(loss, correct)


def _fitting(spec: TaskSpec) -> int:
    return max(1, min(LARGEST_BATCH, NUMBERS * spec.batch // batch_numbers(spec)))
