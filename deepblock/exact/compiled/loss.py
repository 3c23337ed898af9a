"""Kernel of the gradient of cross-entropy (exact: exp, Cross-entropy): as in ../loss.py, and `reference.arithmetic`.

The sum over classes is one of integers below 2^48.
"""

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.rows import INFINITE, larger, nearest, power, whole
from deepblock.exact.compiled.team import span, together
from deepblock.exact.constants import EXP_LOWEST, EXP_ONE, EXP_TERMS, LN2_HIGH, LN2_LOW, LOG2_E


@part
def exp(x: float) -> float:
    """exact: exp, of x ≤ 0."""
    x = EXP_LOWEST if x < EXP_LOWEST else x
    k = nearest(x * LOG2_E)
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    y = EXP_TERMS[0]
    for n in range(1, len(EXP_TERMS)):
        y = y * r + EXP_TERMS[n]
    power_of_two: float = power(np.int64(k))
    return y * power_of_two


@part
def _ordered(bits: np.int32) -> np.int32:
    """Integers in the order of the floats that have these bits; and back."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@part
def _gradient(index: int, members: int, logits: Array, labels: Array, dz: Array) -> None:
    first, last = span(len(logits), index, members)
    count = np.float64(len(logits))
    values = np.empty(logits.shape[1])
    bits = logits.view(np.int32)
    for row in range(first, last):
        magnitude, top = np.int32(0), np.int32(-(1 << 31))
        for j in range(len(values)):
            magnitude = larger(magnitude, logits[row, j])
            top = max(top, _ordered(bits[row, j]))
        highest = np.float64(np.int32(_ordered(top)).view(np.float32))
        values[:] = 0.0
        if magnitude < INFINITE:
            for j in range(len(values)):
                values[j] = np.float64(logits[row, j]) - highest
        total = np.int64(0)
        for j in range(len(values)):
            values[j] = nearest(exp(values[j]) * EXP_ONE)
        for j in range(len(values)):
            total += whole(values[j])
        divisor = np.float64(total)
        for j in range(len(values)):
            values[j] = values[j] / divisor
        values[labels[row]] -= 1.0
        for j in range(len(values)):
            dz[row, j] = np.float32(values[j] / count)


@kernel("void(int64, float32[:,::1], int64[::1], float32[:,::1])")
def gradient(members: int, logits: Array, labels: Array, dz: Array) -> None:
    """f32((e_j / S − [j = label]) / n) of n rows."""
    together(members, _gradient, (logits, labels, dz))
