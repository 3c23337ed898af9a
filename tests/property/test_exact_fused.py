"""Layers that a kernel does in one go give the bits of their torch operations, on any number of threads.

Wider than in test_exact_blocks.py, where the slow reference has to keep up: rows longer than registers and tiles.
"""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepblock.exact.attention import Attention
from deepblock.exact.elementwise import add
from deepblock.exact.gelu import GELU
from deepblock.exact.layers import Parameter
from deepblock.exact.loss import cross_entropy_gradient
from deepblock.exact.norms import GroupNorm, LayerNorm
from deepblock.exact.tokens import Embedding

from .exact_numbers import assert_same_bits, tensors
from .test_exact_blocks import activations, weights
from .test_exact_compiled import (  # noqa: F401 (fixtures of this module too)
    WORST,
    arranged,
    both,
    many_threads,
    one_signature,
    pytestmark,
)

some = settings(max_examples=40)
FEW = st.integers(1, 3)
ORDERS = st.sampled_from([torch.contiguous_format, torch.channels_last, "gaps"])


def assert_fused(layer, x, dy):
    """Forward, backward, and every parameter's gradient."""
    parameters = [field for name in layer.__slots__ if isinstance(field := getattr(layer, name), Parameter)]

    def train():
        for parameter in parameters:
            parameter.gradient.fill_(torch.nan)
        y, saved = layer.forward(x, per_example=False)
        dx = layer.backward(dy, saved, needs_input=True)
        return [y, dx, *(parameter.gradient.clone() for parameter in parameters)]

    for ours, theirs in zip(*both(train), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_same_bits(ours, theirs)


def draw_parameter(data, *shape):
    return Parameter(torch.from_numpy(data.draw(weights(shape))), torch.zeros(shape))


@some
@given(st.data(), st.integers(1, 40), st.integers(1, 700), ORDERS)
def test_layernorm(data, places, features, order):
    x, dy = (torch.from_numpy(data.draw(activations((places, features)))) for _ in range(2))
    layer = LayerNorm(draw_parameter(data, features), draw_parameter(data, features))
    chosen = order if order == "gaps" else torch.contiguous_format
    assert_fused(layer, x, arranged(dy, chosen))


@some
@given(st.data(), FEW, FEW, FEW, st.integers(1, 30), st.integers(1, 30), ORDERS, ORDERS)
def test_groupnorm(data, examples, groups, of_group, height, width, order, other):
    shape = (examples, groups * of_group, height, width)
    x, dy = (torch.from_numpy(data.draw(activations(shape))) for _ in range(2))
    layer = GroupNorm(*(draw_parameter(data, shape[1]) for _ in range(2)), groups)
    assert_fused(layer, arranged(x, order), arranged(dy, other))


@some
@given(st.data(), st.lists(st.integers(1, 9), min_size=4, max_size=4).map(tuple), ORDERS, ORDERS)
def test_gelu(data, shape, order, other):
    x, dy = (torch.from_numpy(data.draw(activations(shape))) for _ in range(2))
    assert_fused(GELU(), arranged(x, order), arranged(dy, other))


@some
@given(st.data(), st.lists(st.integers(1, 9), min_size=4, max_size=4).map(tuple), ORDERS, ORDERS)
def test_additions_never_give_nan(data, shape, order, other):
    a, b = (torch.from_numpy(data.draw(activations(shape))) for _ in range(2))
    ours, theirs = both(lambda: add(arranged(a, order), arranged(b, other)))
    assert_same_bits(ours, theirs)
    assert not ours.isnan().any()


@some
@given(st.data(), FEW, st.integers(1, 40), FEW, st.integers(1, 20), st.integers(6, 10))
def test_attention(data, examples, tokens, heads, size, bits):
    """To 9 bits by kernels, and beyond by torch."""
    width = heads * size
    x, dy = (torch.from_numpy(data.draw(activations((examples, tokens, width)))) for _ in range(2))
    shapes = ((3 * width, width), (3 * width,), (width, width), (width,))
    layer = Attention(*(draw_parameter(data, *shape) for shape in shapes), heads, bits)
    assert_fused(layer, x, dy)


@some
@given(st.data(), FEW, st.integers(1, 30), st.integers(1, 9), st.integers(1, 70))
def test_embedding(data, examples, tokens, vocabulary, features):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = torch.from_numpy(random.integers(0, vocabulary, (examples, tokens)).astype(np.float32))
    dy = torch.from_numpy(data.draw(activations((examples, tokens, features))))
    assert_fused(Embedding(draw_parameter(data, vocabulary, features)), x, dy)


@some
@given(st.data(), st.lists(st.integers(1, 20), min_size=1, max_size=2).map(tuple), st.integers(1, 70), WORST)
def test_cross_entropy_gradient(data, places, classes, worst):
    logits = data.draw(tensors((*places, classes), largest=100))
    if worst is not None:
        logits.flat[data.draw(st.integers(0, logits.size - 1))] = worst
    labels = torch.from_numpy(np.arange(np.prod(places)).reshape(places) * 7 % classes)
    assert_same_bits(*both(lambda: cross_entropy_gradient(torch.from_numpy(logits), labels)))
