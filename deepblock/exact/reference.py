"""The definitions, spelled out: slow, obvious, without torch. The engine has to give the same bits.

Numbers are Python ints, fractions and floats (a float is IEEE-754 binary64 and each operation rounds once); tensors
are numpy arrays, for their shapes. float32 is reached by one rounding, `f32`. Read this beside exact.md; then
`layers.py` is the same thing made fast.
"""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepblock.exact.constants import (
    EXP_LOWEST,
    EXP_ONE,
    EXP_TERMS,
    LIMIT,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LOG_TERMS,
    SQRT_HALF,
    TINY,
    WORST_LOSS,
)

Array = NDArray[Any]
"""float32, unless it says otherwise."""

Integers = NDArray[Any]
"""Python ints (dtype object)."""


def f32(x: float) -> np.float32:
    """Rounds to float32, half to even; beyond its range to Inf. `+ 0.0`: never −0."""
    with np.errstate(over="ignore"):
        return np.float32(x) + np.float32(0.0)


# --- grid, product, sum ---------------------------------------------------------------------------------


def exponent(x: Array) -> int:
    """The e with 2^(e−1) ≤ max|x| < 2^e."""
    return math.frexp(float(np.abs(x).max()))[1]


def quantise(x: Array, bits: int) -> tuple[Integers, Fraction]:
    """q and s: x is about q / s."""
    if x.size == 0 or not np.isfinite(x).all() or np.abs(x).max() < 2.0**-40:
        return np.full(x.shape, 0, object), Fraction(1)
    scale = Fraction(2) ** (bits - 1 - exponent(x))
    limit = 2 ** (bits - 1) - 1
    q = np.empty(x.shape, object)
    for place in np.ndindex(x.shape):
        q[place] = max(-limit, min(limit, round(Fraction(float(x[place])) * scale)))  # round: half to even
    return q, scale


def value(integer: Any, scale: Fraction) -> np.float32:
    """f32(integer / s) + 0.0."""
    return f32(float(Fraction(integer) / scale))


def values(integers: Integers, scale: Fraction) -> Array:
    """`value` of each."""
    result = np.empty(integers.shape, np.float32)
    for place in np.ndindex(integers.shape):
        result[place] = value(integers[place], scale)
    return result


def product(a: Array, b: Array, bits: int) -> Array:
    """a ⊗ b of [m, k] and [k, n]."""
    qa, sa = quantise(a, bits)
    qb, sb = quantise(b, bits)
    integers = np.full((len(a), b.shape[1]), 0, object)
    for i, j in np.ndindex(integers.shape):
        integers[i, j] = sum(qa[i, k] * qb[k, j] for k in range(a.shape[1]))
    return values(integers, sa * sb)


def exact_sum(x: Array) -> Array:
    """Sum of [n, m] over n."""
    terms = len(x)
    bits = 52 - math.ceil(math.log2(terms)) if terms else 52
    q, scale = quantise(x, bits)
    return values(np.array([sum(column, 0) for column in q.T], object), scale)


# --- exp, log, cross-entropy ----------------------------------------------------------------------------


def exp(x: float) -> float:
    x = max(x, EXP_LOWEST)
    k = round(x * LOG2_E)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    y = EXP_TERMS[0]
    for term in EXP_TERMS[1:]:
        y = y * r
        y = y + term
    return math.ldexp(y, k)


def log(x: float) -> float:
    m, k = math.frexp(x)  # m in [½, 1)
    if m < SQRT_HALF:
        m, k = m * 2.0, k - 1
    t = (m - 1.0) / (m + 1.0)
    square = t * t
    p = LOG_TERMS[0]
    for term in LOG_TERMS[1:]:
        p = p * square
        p = p + term
    return k * LN2_HIGH + (k * LN2_LOW + (t + t) * p)


def exponentials(logits: Array) -> list[int]:
    """round_half_even(2^40 · exp(z − max z)) of one row; of zeros where it is not finite."""
    row = [float(z) for z in logits] if np.isfinite(logits).all() else [0.0] * len(logits)
    return [round(exp(z - max(row)) * EXP_ONE) for z in row]


def cross_entropy(logits: Array, label: int) -> tuple[float, bool]:
    """Of one row: the loss, and whether the first largest logit is the label's."""
    if not np.isfinite(logits).all():
        return WORST_LOSS, False
    row = [float(z) for z in logits]
    total = sum(exponentials(logits))
    loss = log(total / EXP_ONE) - (row[label] - max(row))
    return min(loss, WORST_LOSS), row.index(max(row)) == label


def cross_entropy_gradient(logits: Array, labels: NDArray[np.int64]) -> Array:
    gradient = np.empty(logits.shape, np.float32)
    for i, label in enumerate(labels):
        integers = exponentials(logits[i])
        for j, integer in enumerate(integers):
            p = float(integer) / float(sum(integers))
            gradient[i, j] = f32((p - float(j == label)) / float(len(logits)))
    return gradient


# --- layers: forward gives y; backward gives the gradients of the weights, the bias and the input -------


def linear(x: Array, weight: Array, bias: Array, bits: int) -> Array:
    return product(x, weight.T, bits) + bias


def linear_backward(x: Array, weight: Array, dy: Array, bits: int) -> tuple[Array, Array, Array]:
    return product(dy.T, x, bits), exact_sum(dy), product(dy, weight, bits)


def conv2d(x: Array, weight: Array, bias: Array, stride: int, padding: int, bits: int) -> Array:
    qx, sx = quantise(x, bits)
    qw, sw = quantise(weight, bits)
    shape = (len(x), len(weight), *_output_sides(x.shape, weight.shape, stride, padding))
    y = np.full(shape, 0, object)
    for (n, o, i, j), (c, a, b), pixel in _meetings(x.shape, weight.shape, shape, stride, padding):
        y[n, o, i, j] += qx[n, c, *pixel] * qw[o, c, a, b]
    return values(y, sx * sw) + bias[:, None, None]


def conv2d_backward(
    x: Array, weight: Array, dy: Array, stride: int, padding: int, bits: int
) -> tuple[Array, Array, Array]:
    qx, sx = quantise(x, bits)
    qw, sw = quantise(weight, bits)
    qy, sy = quantise(dy, bits)
    dx, dw = np.full(x.shape, 0, object), np.full(weight.shape, 0, object)
    for (n, o, i, j), (c, a, b), pixel in _meetings(x.shape, weight.shape, dy.shape, stride, padding):
        dx[n, c, *pixel] += qy[n, o, i, j] * qw[o, c, a, b]
        dw[o, c, a, b] += qy[n, o, i, j] * qx[n, c, *pixel]
    db = exact_sum(np.moveaxis(dy, 1, -1).reshape(-1, dy.shape[1]))
    return values(dw, sy * sx), db, values(dx, sy * sw)


def _output_sides(x: tuple[int, ...], weight: tuple[int, ...], stride: int, padding: int) -> list[int]:
    return [(side + 2 * padding - weight[2]) // stride + 1 for side in x[2:]]


def _meetings(
    x: tuple[int, ...], weight: tuple[int, ...], y: tuple[int, ...], stride: int, padding: int
) -> Any:
    """Every output place with every weight whose pixel lies inside the plane, and that pixel."""
    for output, kernel in itertools.product(np.ndindex(y), np.ndindex(weight[1:])):
        row = stride * output[2] + kernel[1] - padding
        column = stride * output[3] + kernel[2] - padding
        if 0 <= row < x[2] and 0 <= column < x[3]:
            yield output, kernel, (row, column)


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


# --- the update -----------------------------------------------------------------------------------------


def settle(x: np.float32) -> np.float32:
    x = min(max(x, np.float32(-LIMIT)), np.float32(LIMIT))
    return np.float32(0.0) if abs(x) < TINY else x


def sgd(
    weight: np.float32, momentum: np.float32, gradient: np.float32, lr: float, mu: float, decay: float
) -> tuple[np.float32, np.float32]:
    """One number's weight and momentum after a step; each operation rounds to float32."""
    with np.errstate(over="ignore"):
        update = np.float32(decay) * weight + gradient
        momentum = np.float32(mu) * momentum + update
        weight = weight - np.float32(lr) * momentum
    return settle(weight), settle(momentum)
