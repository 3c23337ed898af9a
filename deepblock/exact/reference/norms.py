"""GroupNorm and LayerNorm: rows to mean 0 and variance 1, then a scale and a shift. Reasons: exact/norms.py."""

import math

import numpy as np

from deepblock.exact.constants import NORM_EPSILON
from deepblock.exact.reference.arithmetic import Array, exact_sum, f32, quantise


def _bits(terms: int) -> int:
    return min(20, (48 - math.ceil(math.log2(terms))) // 2)


def standardise(row: Array) -> tuple[Array, float]:
    """x̂ and R of one row."""
    terms, bits = len(row), _bits(len(row))
    q, scale = quantise(row, bits)
    step = float(1 / scale)
    middle = round(float(sum(q)) / float(terms))
    c = [integer - middle for integer in q]
    delta = float(sum(c)) / float(terms)
    variance = float(sum(integer * integer for integer in c)) / float(terms) - delta * delta
    inverse = 1.0 / math.sqrt(variance * (step * step) + NORM_EPSILON)
    factor = step * inverse
    numbers = [round((integer - delta) * factor * 2.0**bits) for integer in c]
    return np.array([f32(number * 2.0**-bits) for number in numbers], np.float32), inverse


def standardise_backward(h: Array, x_hat: Array, inverse: float) -> Array:
    """dx of one row, from the gradient with respect to x̂."""
    terms = len(h)
    p, scale = quantise(h, _bits(terms))
    mean = float(sum(p)) / float(terms)
    slope = sum(float(integer) * float(x) for integer, x in zip(p, x_hat, strict=True)) / float(terms)
    factor = float(1 / scale) * inverse
    dx = [((integer - mean) - float(x) * slope) * factor for integer, x in zip(p, x_hat, strict=True)]
    return np.array([f32(number) for number in dx], np.float32)


def norm(x: Array, weight: Array, bias: Array, rows: tuple[int, ...]) -> Array:
    """y. `rows`: the shape of x with each row in the last dimension; weight and bias fit on x's shape."""
    x_hat = np.stack([standardise(row)[0] for row in x.reshape(-1, rows[-1])]).reshape(x.shape)
    return x_hat * weight + bias + np.float32(0.0)


def norm_backward(
    x: Array, weight: Array, dy: Array, rows: tuple[int, ...], channel: int
) -> tuple[Array, Array, Array]:
    """dscale, dshift and dx. `channel`: the dimension of x that scale and shift belong to."""
    pairs = [standardise(row) for row in x.reshape(-1, rows[-1])]
    x_hat = np.stack([row for row, _ in pairs])
    with np.errstate(over="ignore", invalid="ignore"):
        h = (dy * weight).reshape(x_hat.shape)
        products = dy * x_hat.reshape(x.shape)
    by_channel = (np.moveaxis(t, channel, -1).reshape(-1, x.shape[channel]) for t in (products, dy))
    dscale, dshift = (exact_sum(t) for t in by_channel)
    dx = [standardise_backward(row, *pair) for row, pair in zip(h, pairs, strict=True)]
    return dscale, dshift, np.stack(dx).reshape(x.shape)
