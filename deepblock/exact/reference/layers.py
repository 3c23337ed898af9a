"""The layers that sum over channels, features and planes, and those that sum over nothing.

Forward gives y; backward the gradients of the weights, the bias and the input, in this order. Features are
[N, features] or [N, tokens, features], planes [N, channels, height, width]. Read `linear` and `conv2d` first: the rest
is like them, or is comparisons.
"""

import itertools
from typing import Any

import numpy as np

from deepblock.exact.constants import GELU_REACH, GELU_SLOPE_TERMS, GELU_TERMS, TINY
from deepblock.exact.reference.arithmetic import Array, exact_sum, f32, product, quantise, sum_bits, values

ZERO = np.float32(0.0)


def linear(x: Array, weight: Array, bias: Array, bits: int) -> Array:
    """x ⊗ Wᵀ + b. weight: [out, features]."""
    rows = x.reshape(-1, x.shape[-1])
    return product(rows, weight.T, bits).reshape(*x.shape[:-1], -1) + bias


def linear_backward(
    x: Array, weight: Array, dy: Array, bits: int, gradient_bits: int = 0
) -> tuple[Array, Array, Array]:
    """dW = dyᵀ ⊗ x, db = Sum of dy, dx = dy ⊗ W. `gradient_bits`: of dy's grid, where that is finer."""
    rows, d_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dx = product(d_rows, weight, bits, gradient_bits).reshape(x.shape)
    return product(d_rows.T, rows, bits, gradient_bits), exact_sum(d_rows), dx


def conv2d(x: Array, weight: Array, bias: Array, stride: int, padding: int, bits: int) -> Array:
    """weight: [out, channels / groups, kernel, kernel]."""
    qx, sx = quantise(x, bits)
    qw, sw = quantise(weight, bits)
    shape = (len(x), len(weight), *_output_sides(x.shape, weight.shape, stride, padding))
    y = np.full(shape, 0, object)
    for output, kernel, pixel in _meetings(x.shape, weight.shape, shape, stride, padding):
        y[output] += qx[pixel] * qw[kernel]
    return values(y, sx * sw) + bias[:, None, None]


def conv2d_backward(
    x: Array, weight: Array, dy: Array, stride: int, padding: int, bits: int
) -> tuple[Array, Array, Array]:
    qx, sx = quantise(x, bits)
    qw, sw = quantise(weight, bits)
    qy, sy = quantise(dy, bits)
    dx, dw = np.full(x.shape, 0, object), np.full(weight.shape, 0, object)
    for output, kernel, pixel in _meetings(x.shape, weight.shape, dy.shape, stride, padding):
        dx[pixel] += qy[output] * qw[kernel]
        dw[kernel] += qy[output] * qx[pixel]
    db = exact_sum(np.moveaxis(dy, 1, -1).reshape(-1, dy.shape[1]))
    return values(dw, sy * sx), db, values(dx, sy * sw)


def _output_sides(x: tuple[int, ...], weight: tuple[int, ...], stride: int, padding: int) -> list[int]:
    return [(side + 2 * padding - weight[2]) // stride + 1 for side in x[2:]]


def _meetings(
    x: tuple[int, ...], weight: tuple[int, ...], y: tuple[int, ...], stride: int, padding: int
) -> Any:
    """Every term of a convolution, as three places: of an output (n, o, i, j), a weight (o, c, a, b) and a pixel
    (n, channel, row, column): y[output] = Σ x[pixel] · W[weight].

    There are as many groups as x has times the channels of the weights.
    """
    outputs_of_group = weight[0] * weight[1] // x[1]
    for output, (c, a, b) in itertools.product(np.ndindex(y), np.ndindex(weight[1:])):
        n, o, i, j = output
        channel = o // outputs_of_group * weight[1] + c
        row, column = stride * i + a - padding, stride * j + b - padding
        if 0 <= row < x[2] and 0 <= column < x[3]:
            yield output, (o, c, a, b), (n, channel, row, column)


def relu(x: Array) -> Array:
    return np.where(x > 0, x, np.float32(0.0))


def relu_backward(x: Array, dy: Array) -> Array:
    return np.where(x > 0, dy, np.float32(0.0))


def _first_maxima(x: Array, size: int) -> Any:
    for n, c, i, j in np.ndindex(x.shape[0], x.shape[1], x.shape[2] // size, x.shape[3] // size):
        square = [(n, c, i * size + a, j * size + b) for a in range(size) for b in range(size)]
        yield (n, c, i, j), max(square, key=lambda place: x[place])  # max gives the first


def maxpool(x: Array, size: int) -> Array:
    y = np.empty((*x.shape[:2], x.shape[2] // size, x.shape[3] // size), np.float32)
    for output, place in _first_maxima(x, size):
        y[output] = x[place] + np.float32(0.0)
    return y


def maxpool_backward(x: Array, dy: Array, size: int) -> Array:
    dx = np.zeros(x.shape, np.float32)
    for output, place in _first_maxima(x, size):
        dx[place] = dy[output]
    return dx


def avgpool(x: Array, size: int) -> Array:
    y = np.empty((*x.shape[:2], x.shape[2] // size, x.shape[3] // size), np.float32)
    for n, example in enumerate(x):
        q, scale = quantise(example, sum_bits(size * size))
        for c, i, j in np.ndindex(y.shape[1:]):
            square = q[c, i * size : (i + 1) * size, j * size : (j + 1) * size]
            y[n, c, i, j] = f32(float(sum(square.flat) / scale) / float(size * size))
    return y


def avgpool_backward(x: Array, dy: Array, size: int) -> Array:
    dx = np.empty(x.shape, np.float32)
    for n, c, i, j in np.ndindex(x.shape):
        dx[n, c, i, j] = dy[n, c, i // size, j // size] / np.float32(size * size) + ZERO
    return dx


def global_avgpool(x: Array) -> Array:
    y = np.empty(x.shape[:2], np.float32)
    positions = x.shape[2] * x.shape[3]
    for n, example in enumerate(x):
        q, scale = quantise(example, sum_bits(positions))
        y[n] = [f32(float(sum(plane.flat) / scale) / float(positions)) for plane in q]
    return y


def global_avgpool_backward(x: Array, dy: Array) -> Array:
    shares = dy / np.float32(x.shape[2] * x.shape[3]) + ZERO
    return np.broadcast_to(shares[:, :, None, None], x.shape)


def _polynomial(w: np.float32, terms: tuple[float, ...]) -> np.float32:
    y = np.float32(terms[0])
    for term in terms[1:]:
        y = y * w
        y = y + np.float32(term)
    return y


def _gelu(x: np.float32) -> tuple[np.float32, np.float32]:
    """y and y' of one number."""
    if abs(x) <= TINY:
        x = ZERO
    reach = min(abs(x), np.float32(GELU_REACH))
    w = np.float32(1.0) - reach / np.float32(GELU_REACH)
    bump = _polynomial(w, GELU_TERMS) * w * w * reach
    slope = _polynomial(w, GELU_SLOPE_TERMS) * w
    if x > 0:
        return x - bump, np.float32(1.0) - slope
    return ZERO - bump, slope


def gelu(x: Array) -> Array:
    y: Array = np.vectorize(lambda number: _gelu(number)[0] + ZERO, otypes=[np.float32])(x)
    return y


def gelu_backward(x: Array, dy: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        dx = np.vectorize(lambda number: _gelu(number)[1], otypes=[np.float32])(x) * dy
    return quiet(dx)


def quiet(x: Array) -> Array:
    """NaN and −0 become +0."""
    return np.where(np.isnan(x), ZERO, x) + ZERO


def add(a: Array, b: Array) -> Array:
    """What a residual does with its two branches, forward, and with their two gradients, backward."""
    with np.errstate(over="ignore", invalid="ignore"):
        return quiet(a + b)


def embedding(tokens: Array, weight: Array) -> Array:
    y: Array = weight[tokens.astype(int)]
    return y


def embedding_backward(tokens: Array, vocabulary: int, dy: Array) -> Array:
    q, scale = quantise(dy, sum_bits(tokens.size))
    integers = np.full((vocabulary, dy.shape[-1]), 0, object)
    for place in np.ndindex(tokens.shape):
        integers[int(tokens[place])] += q[place]
    return values(integers, scale)


def positions(x: Array, weight: Array) -> Array:
    with np.errstate(over="ignore"):
        return x + weight + ZERO


def positions_backward(dy: Array) -> Array:
    """The gradient of the weight; that of x is dy."""
    return exact_sum(dy.reshape(len(dy), -1)).reshape(dy.shape[1:])
