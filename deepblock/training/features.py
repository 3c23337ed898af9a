"""What the frozen layers make of the examples of a split (protocol: Tasks).

Each example has grids of its own there, so its features are the same in every batch, session and score, and are kept
as long as there is room: training the other layers then costs what `spec.session_macs` says.
"""

import functools
import math
from typing import Final

import torch
from torch import Tensor

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.spec import Layer, Shape, Start, TaskSpec, placed
from deepblock.training.examples import Examples, load_examples
from deepblock.training.model import Frozen

ROOM: Final = 1 << 30
"""Bytes of the features of a split; those of a larger one are computed each time."""

SPLITS: Final = 2
"""How many have their features kept: those that a task trains on, and is scored on."""


class Features:
    """The examples of a split, through the frozen layers; without such layers, as they are."""

    def __init__(
        self, spec: TaskSpec, files: Files, split: Cid, examples: int, frozen: Frozen, device: torch.device
    ) -> None:
        self._examples = load_examples(spec, files, split, examples, device)
        self._frozen = frozen
        self._kept = _kept_for(spec, split, self._examples) if spec.start and spec.frozen else None

    def keep(self, indices: Tensor) -> None:
        """Computes the features of these examples (int64, on the host), if features are kept and theirs are not there.

        Which are there the host knows: so a GPU is asked for nothing, and `take` can be recorded.
        """
        if self._kept is None:
            return
        values, known = self._kept
        new = indices[~known[indices]].unique()
        if len(new):
            there = new.to(values.device)
            values[there] = self._frozen.features(self._examples.take(there)[0])
            known[new] = True

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Features (float32) and labels (int64) of the examples with these indices (int64, on the device), after
        `keep`."""
        if self._kept is None:
            inputs, labels = self._examples.take(indices)
            return self._frozen.features(inputs), labels
        return self._kept[0][indices], self._examples.labels.index_select(0, indices).long()


def _kept_for(spec: TaskSpec, split: Cid, examples: Examples) -> tuple[Tensor, Tensor] | None:
    shape = (len(examples), *placed(spec)[spec.frozen - 1].after)
    if 4 * math.prod(shape) > ROOM:
        return None
    zero_and_span = (spec.input_zero, spec.input_span)
    frozen = spec.layers[: spec.frozen]
    return _shelf(spec.start, frozen, spec.bits, split, zero_and_span, shape, examples.labels.device)


@functools.lru_cache(SPLITS)
def _shelf(
    start: Start,
    frozen: tuple[Layer, ...],
    bits: int,
    split: Cid,
    zero_and_span: tuple[int, int],
    shape: Shape,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Room for features, and (on the host) which are there: all that they follow from is among the arguments."""
    return torch.empty(shape, device=device), torch.zeros(shape[0], dtype=torch.bool)
