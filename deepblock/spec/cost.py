"""What a task costs: multiply-accumulates, parameters, memory. All from the description alone.

A MAC is one of an integer product (exact: Product): those of norms, pools and activations are not counted.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from deepblock.spec.layers import Attention, Conv2d, GroupedConv2d, Linear
from deepblock.spec.shapes import (
    Placed,
    Shape,
    all_placed,
    nested,
    parameters,
    placed,
    trained_parameters,
)
from deepblock.spec.task import TaskSpec


@dataclass(frozen=True, slots=True)
class Product:
    """An integer product of one example's forward pass, and its two of the backward pass, each as large.

    `macs`: of the forward pass. `terms`: of the longest of its sums within an example. `rows`: at how many places of
    an example the same weights are used, as the weights' gradient sums over those of the batch; 0 without weights.
    """

    macs: int
    terms: int
    rows: int

    def longest_sum(self, batch: int) -> int:
        return max(self.terms, batch * self.rows)


def products(place: Placed) -> tuple[Product, ...]:
    """The products of a layer, first the one that takes its input. None for a Residual: its layers have them."""
    match place.layer:
        case Linear(out=out):
            features, rows = place.before[-1], math.prod(place.before[:-1])
            return (Product(rows * features * out, max(features, out), rows),)
        case Conv2d() | GroupedConv2d():
            return (_convolution(place),)
        case Attention(heads=heads):
            tokens, width = place.before
            pairs = tokens * (tokens + 1) // 2  # a token attends to itself and to those before it
            within = Product(pairs * width, max(tokens, width // heads), 0)
            into = Product(3 * tokens * width * width, width, tokens)
            return (into, within, within, Product(tokens * width * width, width, tokens))
    return ()


def _convolution(place: Placed) -> Product:
    """A sum of the input's gradient has a pixel's terms from every output and every patch that it may be in."""
    out, channels, *kernel = place.parameters[f"{place.name}.weight"]
    groups = place.before[0] // channels
    fan_in = channels * math.prod(kernel)
    terms = max(fan_in, out // groups * math.prod(kernel))
    return Product(fan_in * math.prod(place.after), terms, math.prod(place.after[1:]))


def parameter_count(spec: TaskSpec) -> int:
    """Numbers in a model."""
    return _numbers(parameters(spec))


def trained_count(spec: TaskSpec) -> int:
    """Of those, the ones that a session changes."""
    return _numbers(trained_parameters(spec))


def _numbers(shapes: Mapping[str, Shape]) -> int:
    return sum(map(math.prod, shapes.values()))


def forward_macs(spec: TaskSpec) -> int:
    """Multiply-accumulates of the forward pass of one example through all layers."""
    return _forward(placed(spec))


def frozen_macs(spec: TaskSpec) -> int:
    """Of those, the ones in frozen layers. Their outputs are the same for an example whatever it is trained or scored
    with, so who keeps them pays for them once: a session's cost leaves them out."""
    return _forward(placed(spec)[: spec.frozen])


@functools.lru_cache(64)
def segment_macs(spec: TaskSpec) -> int:
    """Multiply-accumulates of one segment: m·B forward and backward passes of the layers that are trained.

    Backward costs each product twice, for its weights and for its input; the first trained layer with weights has no
    gradient of its input.
    """
    trained = placed(spec)[spec.frozen :]
    return spec.steps * spec.batch * (3 * _forward(trained) - _input_macs(trained))


@functools.lru_cache(maxsize=256)
def session_macs(spec: TaskSpec) -> int:
    """c: the cost of a session, K·m·B·(3F − F of the product that takes the input), F of the trained layers."""
    return spec.segments * segment_macs(spec)


def _forward(places: Sequence[Placed]) -> int:
    return sum(product.macs for place in nested(places) for product in products(place))


def _input_macs(places: Sequence[Placed]) -> int:
    """MACs of the products of the first layer with weights that take its input."""
    first = next((place for place in places if place.parameters), None)
    if first is None:
        return 0
    if first.layers:
        return _input_macs(first.layers) + _input_macs(first.shortcut)
    own = products(first)
    return own[0].macs if own else 0


# --- memory ---------------------------------------------------------------------------------------------

NUMBER_BYTES: Final = 8
"""Of each number that a step keeps: a float64, or a float32 and its integer."""

STATE_BYTES: Final = 4 * (2 + 2 + 1) + 8
"""Of each trained parameter: float32 weights and momentum, each in state and step, and gradient; the int64 sum."""


def batch_numbers(spec: TaskSpec) -> int:
    """Inputs, patches, outputs, and queries, keys, values and weights of attention, of all layers for one batch."""
    return spec.batch * sum(
        math.prod(place.before) + math.prod(place.after) + _within(place) for place in all_placed(spec)
    )


def step_bytes(spec: TaskSpec) -> int:
    """About what a step needs in memory, without the data set."""
    weights = STATE_BYTES * trained_count(spec) + 4 * (parameter_count(spec) - trained_count(spec))
    return NUMBER_BYTES * batch_numbers(spec) + weights


def _within(place: Placed) -> int:
    """Numbers of one example that are kept in a layer."""
    match place.layer:
        case Linear():
            return math.prod(place.before)
        case Conv2d() | GroupedConv2d():
            channels, *kernel = place.parameters[f"{place.name}.weight"][1:]
            groups = place.before[0] // channels
            return groups * channels * math.prod(kernel) * math.prod(place.after[1:])
        case Attention(heads=heads):
            tokens, width = place.before
            return 4 * tokens * width + 4 * heads * tokens * tokens
    return 0
