"""Every layer gives the reference's bits, forward and backward, and so does a whole training step."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepblock.exact import layers, reference

from .exact_numbers import BITS, assert_same_bits, tensors

FEW = st.integers(1, 3)


def parameter(value):
    return layers.Parameter(torch.tensor(value), torch.full(value.shape, torch.nan))


@given(st.data(), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), BITS, st.sampled_from([0, 16]))
def test_linear(data, examples, features, out, bits, gradient_bits):
    x, w = data.draw(tensors((examples, features))), data.draw(tensors((out, features)))
    b, dy = data.draw(tensors((out,))) + np.float32(0.0), data.draw(tensors((examples, out)))
    layer = layers.Linear(parameter(w), parameter(b), bits, gradient_bits=gradient_bits)
    y, saved = layer.forward(torch.tensor(x), per_example=False)
    dx = layer.backward(torch.tensor(dy), saved, needs_input=True)
    assert_same_bits(y, reference.linear(x, w, b, bits))
    for got, expected in zip(
        (layer.weight.gradient, layer.bias.gradient, dx),
        reference.linear_backward(x, w, dy, bits, gradient_bits),
        strict=True,
    ):
        assert_same_bits(got, expected)


@st.composite
def convolutions(draw):
    """Shapes of x and W, stride and padding."""
    kernel, stride = draw(FEW), draw(FEW)
    padding = draw(st.integers(0, kernel - 1))
    sides = [draw(st.integers(max(1, kernel - 2 * padding), 5)) for _ in range(2)]
    channels, out = draw(FEW), draw(FEW)
    return (draw(FEW), channels, *sides), (out, channels, kernel, kernel), stride, padding


@given(st.data(), convolutions(), BITS, st.booleans())
@settings(max_examples=60)
def test_conv2d(data, shapes, bits, channels_last):
    x_shape, w_shape, stride, padding = shapes
    x, w = data.draw(tensors(x_shape)), data.draw(tensors(w_shape))
    b = data.draw(tensors(w_shape[:1])) + np.float32(0.0)
    layer = layers.Conv2d(parameter(w), parameter(b), stride, padding, bits)
    order = torch.channels_last if channels_last else torch.contiguous_format
    y, saved = layer.forward(torch.tensor(x).contiguous(memory_format=order), per_example=False)
    assert_same_bits(y, reference.conv2d(x, w, b, stride, padding, bits))
    dy = data.draw(tensors(tuple(y.shape)))
    dx = layer.backward(torch.tensor(dy).contiguous(memory_format=order), saved, needs_input=True)
    for got, expected in zip(
        (layer.weight.gradient, layer.bias.gradient, dx),
        reference.conv2d_backward(x, w, dy, stride, padding, bits),
        strict=True,
    ):
        assert_same_bits(got, expected)


@given(st.data(), st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple))
def test_relu(data, shape):
    x, dy = data.draw(tensors(shape)), data.draw(tensors(shape)) + np.float32(0.0)
    layer = layers.ReLU()
    y, saved = layer.forward(torch.tensor(x), per_example=False)
    assert_same_bits(y, reference.relu(x))
    assert_same_bits(
        layer.backward(torch.tensor(dy), saved, needs_input=True), reference.relu_backward(x, dy)
    )


@given(st.data(), FEW, FEW, FEW, FEW, st.integers(1, 3), st.booleans(), st.booleans())
def test_maxpool(data, examples, channels, rows, columns, size, many_ties, channels_last):
    shape = (examples, channels, rows * size, columns * size)
    x, dy = (
        data.draw(tensors(shape)),
        data.draw(tensors((examples, channels, rows, columns))) + np.float32(0.0),
    )
    if many_ties:
        x = np.where(np.abs(x) > np.median(np.abs(x)), np.float32(0.0), np.copysign(np.float32(0.0), x))
    order = torch.channels_last if channels_last else torch.contiguous_format
    layer = layers.MaxPool(size)
    y, saved = layer.forward(torch.tensor(x).contiguous(memory_format=order), per_example=False)
    assert_same_bits(y, reference.maxpool(x, size))
    got = layer.backward(torch.tensor(dy).contiguous(memory_format=order), saved, needs_input=True)
    assert_same_bits(got, reference.maxpool_backward(x, dy, size))
