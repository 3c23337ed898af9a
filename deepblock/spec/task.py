"""The description of a task."""

from dataclasses import dataclass
from typing import Final

from deepblock.cid import Cid
from deepblock.codec import U8, U32
from deepblock.primitives import Hash32
from deepblock.spec.layers import Layer

RATE_ONE: Final = 1 << 32
"""What 1.0 is as a rate: real-valued parameters are integers / 2^32."""


class SpecError(ValueError):
    """The description is not of a task that can be trained; the message says which number is wrong."""


@dataclass(frozen=True, slots=True)
class Start:
    """Weights to begin with in place of those of the seed: transfer learning (protocol: Tasks).

    `weights`: a model file of exactly the parameters of the first `layers` layers; a Residual is one layer. The first
    `frozen` ≤ `layers` of them stay as they are: they get no gradient, momentum or noise, and are in no state.
    """

    weights: Cid
    layers: U32
    frozen: U32


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task. `lr_high`, `lr_low`, `momentum` and `decay` are integers / 2^32 (`RATE_ONE`).

    An input byte x enters as f32((x − input_zero) / input_span); tokens are bytes with zero 0 and span 1. The last
    layer gives `classes` logits, or as many for each token. `train` and `heldout` name canonical dataset
    files. A session is `segments` (K) segments of `steps` (m) SGD steps on `batch` (B) examples; within each
    segment the learning rate falls from `lr_high` to `lr_low`; the average is of the states after the last
    `averaged` segments. Products are formed on a grid of `bits`. The first
    weights follow from `init_seed`, where `start` does not name others.
    """

    name: str
    input_shape: tuple[U32, ...]
    input_zero: U8
    input_span: U8
    classes: U32
    layers: tuple[Layer, ...]
    init_seed: Hash32
    train: Cid
    heldout: Cid
    n_train: U32
    n_heldout: U32
    segments: U32
    steps: U32
    batch: U32
    lr_high: U32
    lr_low: U32
    momentum: U32
    decay: U32
    bits: U8
    start: Start | None = None

    @property
    def averaged(self) -> int:
        """⌈K/2⌉: a session begins where the task stands; its first half would hold the average back."""
        return self.segments - self.segments // 2

    @property
    def frozen(self) -> int:
        """How many layers, from the first on, are not trained."""
        return self.start.frozen if self.start else 0


def data_files(spec: TaskSpec) -> tuple[Cid, ...]:
    """The files without which nobody can train or check the task: both splits, and the weights to start from."""
    return (spec.train, spec.heldout, *((spec.start.weights,) if spec.start else ()))
