"""Grid, product, sum; exp and log; cross-entropy; the optimiser's update. The definition: sums are Python's
integers, which never overflow; only `value` needs one below 2^53."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepblock.exact.constants import (
    EXP32_LOWEST,
    EXP32_TERMS,
    EXP_LOWEST,
    EXP_ONE,
    EXP_TERMS,
    LIMIT,
    LN2_HIGH,
    LN2_HIGH_32,
    LN2_LOW,
    LN2_LOW_32,
    LOG2_E,
    LOG2_E_32,
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
    """f32(integer / s) + 0.0; the float64 between is exact while |integer| < 2^53."""
    return f32(float(Fraction(integer) / scale))


def values(integers: Integers, scale: Fraction) -> Array:
    """`value` of each."""
    result = np.empty(integers.shape, np.float32)
    for place in np.ndindex(integers.shape):
        result[place] = value(integers[place], scale)
    return result


def product(a: Array, b: Array, bits: int, bits_a: int = 0) -> Array:
    """a ⊗ b of [m, k] and [k, n]. `bits_a`: of a's grid, where that is finer."""
    qa, sa = quantise(a, max(bits, bits_a))
    qb, sb = quantise(b, bits)
    return values(integer_product(qa, qb), sa * sb)


def integer_product(qa: Integers, qb: Integers) -> Integers:
    """Σ_k qa[i, k] · qb[k, j]: [m, n]."""
    integers = np.full((len(qa), qb.shape[1]), 0, object)
    for i, j in np.ndindex(integers.shape):
        integers[i, j] = sum(qa[i, k] * qb[k, j] for k in range(qa.shape[1]))
    return integers


def exact_sum(x: Array) -> Array:
    """Sum of [n, m] over n: [m]."""
    terms = len(x)
    bits = sum_bits(terms) if terms else 52
    q, scale = quantise(x, bits)
    return values(np.array([sum(column, 0) for column in q.T], object), scale)


def sum_bits(terms: int) -> int:
    """Of the grid that n terms are summed on: 52 − ⌈log2 n⌉."""
    return 52 - (terms - 1).bit_length()  # ⌈log2 n⌉


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


def exp32(x: np.float32) -> np.float32:
    x = max(x, np.float32(EXP32_LOWEST))
    k = np.float32(round(float(x * np.float32(LOG2_E_32))))
    r = (x - k * np.float32(LN2_HIGH_32)) - k * np.float32(LN2_LOW_32)
    y = np.float32(EXP32_TERMS[0])
    for term in EXP32_TERMS[1:]:
        y = y * r
        y = y + np.float32(term)
    return y * np.float32(2.0 ** int(k))


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
