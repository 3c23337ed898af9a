"""Norms, pools, GELU, tokens, attention and grouped convolution give the reference's bits, forward and backward.

Numbers have any exponent, with ties, −0.0, subnormals and Inf; every dimension may be one. No layer makes a NaN.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepblock.exact import layers, reference
from deepblock.exact.attention import Attention
from deepblock.exact.gelu import GELU
from deepblock.exact.grouped import GroupedConv2d
from deepblock.exact.norms import GroupNorm, LayerNorm, norm_bits, standardise
from deepblock.exact.pools import AvgPool, GlobalAvgPool
from deepblock.exact.residual import Chain, Residual
from deepblock.exact.rows import row_sums
from deepblock.exact.tokens import Embedding, Positions

from .exact_numbers import BITS, assert_same_bits, tensors

FEW = st.integers(1, 3)
ORDERS = st.sampled_from([torch.contiguous_format, torch.channels_last])


@st.composite
def activations(draw, shape):
    """As `tensors`, sometimes up to the largest numbers that there are, and sometimes with an Inf."""
    x = draw(tensors(shape, largest=draw(st.sampled_from([20, 127]))))
    for worst in draw(st.sampled_from([[], [], [np.inf], [-np.inf, np.inf]])):
        x.flat[draw(st.integers(0, x.size - 1))] = worst
    return x


@st.composite
def weights(draw, shape):
    """What a settled parameter may be."""
    x = draw(tensors(shape, largest=14))
    return np.vectorize(reference.settle, otypes=[np.float32])(x)


def parameter(value):
    return layers.Parameter(torch.tensor(value), torch.full(value.shape, torch.nan))


def forward(layer, x):
    """In training. Nothing subnormal comes out, which a comparison on a device that flushes would take for 0."""
    y, saved = layer.forward(torch.tensor(x), per_example=False)
    assert not y.isnan().any()
    assert isinstance(layer, Positions | Residual) or not ((y != 0.0) & (y.abs() < 2.0**-126)).any()
    return y, saved


def backward(layer, dy, saved):
    dx = layer.backward(torch.tensor(dy), saved, needs_input=True)
    assert not dx.isnan().any()
    return dx


def assert_alone_is_as_together(layer, x):
    """Scoring: an example's output does not depend on the others of its batch."""
    together, _ = layer.forward(torch.tensor(x), True)
    for example, y in zip(x, together, strict=True):
        alone, _ = layer.forward(torch.tensor(example[None]), True)
        trained, _ = layer.forward(torch.tensor(example[None]), False)
        assert_same_bits(alone[0], y)
        assert_same_bits(trained[0], y)


@given(st.data(), FEW, FEW, FEW, FEW, FEW, ORDERS)
def test_groupnorm(data, examples, groups, of_group, height, width, order):
    channels = groups * of_group
    shape, rows = (examples, channels, height, width), (examples, groups, of_group * height * width)
    x, dy = data.draw(activations(shape)), data.draw(activations(shape))
    w, b = data.draw(weights((channels,))), data.draw(weights((channels,)))
    layer = GroupNorm(parameter(w), parameter(b), groups)
    y, saved = layer.forward(torch.tensor(x).contiguous(memory_format=order), per_example=False)
    dx = layer.backward(torch.tensor(dy).contiguous(memory_format=order), saved, needs_input=True)
    wide = w[:, None, None]
    assert_same_bits(y, reference.norm(x, wide, b[:, None, None], rows))
    found = (layer.weight.gradient, layer.bias.gradient, dx)
    for got, expected in zip(found, reference.norm_backward(x, wide, dy, rows, 1), strict=True):
        assert_same_bits(got, expected)
        assert not np.isnan(expected).any()
    assert_alone_is_as_together(layer, x)


@given(st.data(), st.lists(FEW, min_size=1, max_size=2).map(tuple), st.integers(1, 9))
def test_layernorm(data, places, features):
    shape = (*places, features)
    x, dy = data.draw(activations(shape)), data.draw(activations(shape))
    w, b = data.draw(weights((features,))), data.draw(weights((features,)))
    layer = LayerNorm(parameter(w), parameter(b))
    y, saved = forward(layer, x)
    dx = backward(layer, dy, saved)
    assert_same_bits(y, reference.norm(x, w, b, shape))
    found = (layer.weight.gradient, layer.bias.gradient, dx)
    for got, expected in zip(found, reference.norm_backward(x, w, dy, shape, len(places)), strict=True):
        assert_same_bits(got, expected)
    assert_alone_is_as_together(layer, x)


@given(st.data(), st.integers(2, 40), st.integers(-30, 15))
def test_a_row_that_is_nearly_constant_still_has_its_variance(data, terms, exponent):
    """A large mean cancels in no sum: one step of the grid up is seen, and nothing at all gives 0."""
    x = np.full((1, terms), 1.5 * 2.0**exponent, np.float32)
    assert not standardise(torch.tensor(x))[0].any()
    x[0, data.draw(st.integers(0, terms - 1))] += np.float32(2.0 ** (exponent + 2 - norm_bits(terms)))
    x_hat, inverse = standardise(torch.tensor(x))
    wide = x.astype(np.float64)
    expected = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-5)
    np.testing.assert_allclose(x_hat, expected, atol=1e-2, rtol=2e-2)
    np.testing.assert_allclose(inverse, 1 / np.sqrt(wide.var(1, keepdims=True) + 1e-5), rtol=2e-2)


@given(st.data(), FEW, FEW, FEW, FEW, FEW, ORDERS)
def test_avgpool(data, examples, channels, rows, columns, size, order):
    x = data.draw(activations((examples, channels, rows * size, columns * size)))
    dy = data.draw(activations((examples, channels, rows, columns)))
    layer = AvgPool(size)
    y, saved = layer.forward(torch.tensor(x).contiguous(memory_format=order), per_example=False)
    assert_same_bits(y, reference.avgpool(x, size))
    assert_same_bits(backward(layer, dy, saved), reference.avgpool_backward(x, dy, size))
    assert_alone_is_as_together(layer, x)


@given(st.data(), FEW, FEW, FEW, FEW, ORDERS)
def test_global_avgpool(data, examples, channels, height, width, order):
    x, dy = (
        data.draw(activations((examples, channels, height, width))),
        data.draw(activations((examples, channels))),
    )
    layer = GlobalAvgPool()
    y, saved = layer.forward(torch.tensor(x).contiguous(memory_format=order), per_example=False)
    assert_same_bits(y, reference.global_avgpool(x))
    assert_same_bits(backward(layer, dy, saved), reference.global_avgpool_backward(x, dy))
    assert_alone_is_as_together(layer, x)


@given(st.data(), st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple))
def test_gelu(data, shape):
    x, dy = data.draw(activations(shape)), data.draw(activations(shape))
    layer = GELU()
    y, saved = forward(layer, x)
    assert_same_bits(y, reference.gelu(x))
    assert_same_bits(backward(layer, dy, saved), reference.gelu_backward(x, dy))


@given(st.data(), FEW, st.integers(1, 5), st.integers(1, 6), FEW)
def test_embedding(data, examples, tokens, vocabulary, features):
    count = examples * tokens
    chosen = data.draw(st.lists(st.integers(0, vocabulary - 1), min_size=count, max_size=count))
    x = np.float32(chosen).reshape(examples, tokens)
    w, dy = data.draw(weights((vocabulary, features))), data.draw(activations((examples, tokens, features)))
    layer = Embedding(parameter(w))
    y, saved = forward(layer, x)
    assert_same_bits(y, reference.embedding(x, w))
    layer.backward(torch.tensor(dy), saved, needs_input=False)
    assert_same_bits(layer.weight.gradient, reference.embedding_backward(x, vocabulary, dy))


@given(st.data(), FEW, FEW, FEW)
def test_positions(data, examples, tokens, features):
    shape = (examples, tokens, features)
    x, dy, w = data.draw(activations(shape)), data.draw(activations(shape)), data.draw(weights(shape[1:]))
    layer = Positions(parameter(w))
    y, saved = forward(layer, x)
    assert_same_bits(y, reference.positions(x, w))
    assert_same_bits(backward(layer, dy, saved), dy)
    assert_same_bits(layer.weight.gradient, reference.positions_backward(dy))


@given(st.data(), FEW, FEW, FEW, FEW, BITS)
def test_linear_for_each_token(data, examples, tokens, features, out, bits):
    x, dy = (
        data.draw(activations((examples, tokens, features))),
        data.draw(activations((examples, tokens, out))),
    )
    w, b = data.draw(weights((out, features))), data.draw(weights((out,)))
    layer = layers.Linear(parameter(w), parameter(b), bits)
    y, saved = forward(layer, x)
    assert_same_bits(y, reference.linear(x, w, b, bits))
    dx = backward(layer, dy, saved)
    found = (layer.weight.gradient, layer.bias.gradient, dx)
    for got, expected in zip(found, reference.linear_backward(x, w, dy, bits), strict=True):
        assert_same_bits(got, expected)
    assert_alone_is_as_together(layer, x)


@given(st.data(), FEW, st.integers(1, 5), FEW, FEW, BITS)
@settings(max_examples=60)
def test_attention(data, examples, tokens, heads, size, bits):
    width = heads * size
    x, dy = (data.draw(activations((examples, tokens, width))) for _ in range(2))
    shapes = ((3 * width, width), (3 * width,), (width, width), (width,))
    parameters = [data.draw(weights(shape)) for shape in shapes]
    layer = Attention(*map(parameter, parameters), heads, bits)
    y, saved = forward(layer, x)
    assert_same_bits(y, reference.attention(x, *parameters, heads, bits))
    dx = backward(layer, dy, saved)
    places = (layer.in_proj_weight, layer.in_proj_bias, layer.out_proj_weight, layer.out_proj_bias)
    found = [*(place.gradient for place in places), dx]
    for got, expected in zip(
        found, reference.attention_backward(x, *parameters[:3], dy, heads, bits), strict=True
    ):
        assert_same_bits(got, expected)
        assert not np.isnan(expected).any()
    assert_alone_is_as_together(layer, x)


@given(st.data(), FEW, FEW, FEW, FEW, FEW, BITS, ORDERS)
@settings(max_examples=60)
def test_grouped_conv2d(data, groups, of_group, outs, kernel, stride, bits, order):
    padding = data.draw(st.integers(0, kernel - 1))
    sides = [data.draw(st.integers(max(1, kernel - 2 * padding), 4)) for _ in range(2)]
    x = data.draw(activations((data.draw(FEW), groups * of_group, *sides)))
    w, b = data.draw(weights((groups * outs, of_group, kernel, kernel))), data.draw(weights((groups * outs,)))
    layer = GroupedConv2d(parameter(w), parameter(b), stride, padding, groups, bits)
    y, saved = layer.forward(torch.tensor(x).contiguous(memory_format=order), per_example=False)
    assert_same_bits(y, reference.conv2d(x, w, b, stride, padding, bits))
    dy = data.draw(activations(tuple(y.shape)))
    dx = backward(layer, dy, saved)
    found = (layer.weight.gradient, layer.bias.gradient, dx)
    for got, expected in zip(found, reference.conv2d_backward(x, w, dy, stride, padding, bits), strict=True):
        assert_same_bits(got, expected)
    assert_alone_is_as_together(layer, x)


@given(st.data(), FEW, st.integers(1, 4), BITS)
def test_residual(data, examples, features, bits):
    x, dy = (data.draw(activations((examples, features))) for _ in range(2))
    w, b = data.draw(weights((features, features))), data.draw(weights((features,)))
    linear, nothing = layers.Linear(parameter(w), parameter(b), bits), Chain((), 0)
    layer = Residual(Chain((linear,), 0), nothing)
    y, saved = forward(layer, x)
    assert_same_bits(y, reference.add(reference.linear(x, w, b, bits), x))
    dx = backward(layer, dy, saved)
    expected = reference.linear_backward(x, w, dy, bits)
    for got, want in zip(
        (linear.weight.gradient, linear.bias.gradient, dx),
        (*expected[:2], reference.add(expected[2], dy)),
        strict=True,
    ):
        assert_same_bits(got, want)


@given(st.data(), st.integers(1, 5), st.integers(1, 40))
def test_row_sums(data, rows, terms):
    x = data.draw(tensors((rows, terms), largest=120))
    sums = row_sums(torch.tensor(x))
    for row, total in zip(x, sums, strict=True):
        assert_same_bits(total.float(), reference.exact_sum(row[:, None]))


@pytest.mark.parametrize("layer", [GELU(), AvgPool(2), GlobalAvgPool(), layers.ReLU()], ids=str)
def test_minus_zero_does_not_come_out(layer):
    y, _ = layer.forward(torch.full((1, 2, 2, 2), -0.0), per_example=False)
    assert_same_bits(y, np.zeros(y.shape, np.float32))
