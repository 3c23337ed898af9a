"""What a task may ask for: it can be trained exactly, by anybody, and is cheap to check (protocol: Tasks)."""

import math
from typing import Final

from deepblock.spec.cost import (
    batch_numbers,
    forward_macs,
    frozen_macs,
    parameter_count,
    products,
    segment_macs,
)
from deepblock.spec.layers import Embedding, GroupNorm, LayerNorm, Linear
from deepblock.spec.shapes import (
    Placed,
    all_placed,
    heldout_labels,
    placed,
    started_parameters,
    trained_parameters,
)
from deepblock.spec.task import RATE_ONE, SpecError, TaskSpec

BITS: Final = range(6, 17)
"""Of the grid: at 6 a small CNN loses about a point of accuracy, at 16 none (exact: The definition)."""

LOSS_BITS: Final = 16
"""Of the grid of the loss's gradient where it enters the last Linear: with fewer, what a row has for all the wrong
labels rounds to 0 beside its one large number, and the weights drift (exact: Questions)."""

MIN_RATE: Final = RATE_ONE >> 12
"""A session that learns nothing would be no work: every step's learning rate is at least 2^-12."""

MAX_CLASSES: Final = 256
"""Labels are bytes. (Softmax sums `classes` integers of 40 bits exactly.)"""

MAX_VOCABULARY: Final = 256
"""Tokens are bytes."""

MAX_NORM: Final = 1 << 20
"""Numbers that a norm takes together: its grid has 14 bits then (exact: Norms)."""

MAX_HELDOUT_LABELS: Final = 1 << 23
"""Each adds at most 2^20 · 10^6 to a score, which stays below 2^63."""

MAX_LAYERS: Final = 64
MAX_NAME: Final = 64
MAX_SIDE: Final = 1 << 16
"""Of any dimension of a tensor, except those that the model's size bounds."""

MAX_SEGMENTS: Final = 1024
"""Each is a CID in the seal. (A SWA sum stays below 2^39 · K, exact in float64.)"""

MAX_STEPS: Final = 1 << 16
MAX_BATCH: Final = 1 << 16
MAX_MODEL_BYTES: Final = 64 << 20
"""Of a model's float32 weights; a state is four times as large."""

MAX_SPLIT_BYTES: Final = 4 << 30
"""Of the inputs of a split."""

MAX_BATCH_NUMBERS: Final = 1 << 28
"""What a step keeps in memory, 8 bytes each (`cost.batch_numbers`)."""


def check_bounds(spec: TaskSpec, min_train: int) -> None:
    """Raises SpecError unless the task can be trained exactly, by anybody, and is cheap to check.

    `min_train`: the fewest training examples that the network asks for.
    """
    _within("the name's length", len(spec.name.encode()), 1, MAX_NAME)
    _within("the number of input dimensions", len(spec.input_shape), 1, 3)
    for side in spec.input_shape:
        _within("a side of the input", side, 1, MAX_SIDE)
    _within("input_span", spec.input_span, 1, 255)
    _within("classes", spec.classes, 2, MAX_CLASSES)
    _within("the number of layers", len(spec.layers), 1, MAX_LAYERS)
    _within("bits", spec.bits, BITS.start, BITS.stop - 1)
    _within("segments", spec.segments, 2, MAX_SEGMENTS)
    _within("steps", spec.steps, 2, MAX_STEPS)
    _within("batch", spec.batch, 1, MAX_BATCH)
    _within("lr_low", spec.lr_low, MIN_RATE, RATE_ONE - 1)
    _within("lr_high", spec.lr_high, spec.lr_low, RATE_ONE - 1)
    _within("momentum", spec.momentum, 0, RATE_ONE - 1)
    _within("decay", spec.decay, 0, RATE_ONE - 1)
    most = MAX_SPLIT_BYTES // math.prod(spec.input_shape)
    _within("n_train", spec.n_train, max(1, min_train), most)
    _within("n_heldout", spec.n_heldout, 1, most)

    _check_start(spec)
    _check_layers(spec)
    _within("a model's size in bytes", 4 * parameter_count(spec), 1, MAX_MODEL_BYTES)
    _within("the numbers a batch has to keep", batch_numbers(spec), 1, MAX_BATCH_NUMBERS)
    _within("the number of held-out labels", heldout_labels(spec), 1, MAX_HELDOUT_LABELS)

    for evaluation, segment in _bills(spec):
        checking, session = 3 * spec.n_heldout * evaluation + segment, spec.segments * segment
        if 10 * checking > session:
            raise SpecError(
                f"checking costs {checking} MACs (3 evaluations of {spec.n_heldout} held-out examples, and one "
                f"segment): more than a tenth of a session's {session}; {most_heldout(spec)} examples could be held out"
            )


def most_heldout(spec: TaskSpec) -> int:
    """How many held-out examples leave checking at a tenth of a session."""
    return min(
        max(0, spec.segments - 10) * segment // (30 * evaluation) for evaluation, segment in _bills(spec)
    )


def _bills(spec: TaskSpec) -> tuple[tuple[int, int], tuple[int, int]]:
    """MACs of the evaluation of an example, and of a segment: for who keeps what frozen layers give, and for who
    computes it each time. Raises SpecError where there are none."""
    evaluation, segment, frozen = (
        forward_macs(spec) - frozen_macs(spec),
        segment_macs(spec),
        frozen_macs(spec),
    )
    if not evaluation:
        raise SpecError("training multiplies nothing: no trained layer is linear, a convolution or attention")
    return (evaluation, segment), (evaluation + frozen, segment + spec.steps * spec.batch * frozen)


def _check_start(spec: TaskSpec) -> None:
    if spec.start is None:
        return
    _within("the number of layers that have start weights", spec.start.layers, 1, len(spec.layers))
    _within("the number of frozen layers", spec.start.frozen, 0, spec.start.layers)
    if not started_parameters(spec):
        raise SpecError(f"none of the first {spec.start.layers} layers has weights to start from")


def _check_layers(spec: TaskSpec) -> None:
    layers = list(all_placed(spec))
    _within("the number of layers, with those in residuals,", len(layers), 1, MAX_LAYERS)
    for place in layers:
        for side in place.after:
            _within(f"the outputs of layer {place.name}", side, 1, MAX_MODEL_BYTES)
        _check_exact(spec, place)
        match place.layer:
            case Embedding(vocabulary=vocabulary):
                _within(f"the vocabulary of layer {place.name}", vocabulary, 1, MAX_VOCABULARY)
                if place is not layers[0] or (spec.input_zero, spec.input_span) != (0, 1):
                    raise SpecError(
                        f"layer {place.name} (embedding) needs bytes as they are: it has to be the first layer, "
                        f"input_zero 0 and input_span 1, not {spec.input_zero} and {spec.input_span}"
                    )
            case GroupNorm(groups=groups):
                _within(f"a group of layer {place.name}", math.prod(place.before) // groups, 1, MAX_NORM)
            case LayerNorm():
                _within(f"a group of layer {place.name}", place.before[-1], 1, MAX_NORM)
    last = placed(spec)[-1].after
    if len(last) > 2 or last[-1] != spec.classes:
        raise SpecError(
            f"the last layer gives {last}, not one number per class, ({spec.classes},), or that for each token"
        )
    if not trained_parameters(spec):
        raise SpecError(f"no layer has weights to train, with {spec.frozen} of {len(spec.layers)} frozen")


def _check_exact(spec: TaskSpec, place: Placed) -> None:
    """Every integer that a product of this layer sums to must be exact in float64 (exact: Product)."""
    last = place.layer if place.name == placed(spec)[-1].name else None
    bits = max(spec.bits, LOSS_BITS) if isinstance(last, Linear) else spec.bits
    for product in products(place):
        longest = product.longest_sum(spec.batch)
        if longest << (2 * bits - 2) >= 1 << 53:
            raise SpecError(
                f"layer {place.name} sums {longest} products of {bits}-bit numbers, more than float64 holds"
            )


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise SpecError(f"{what} is {value}, not between {low} and {high}")
