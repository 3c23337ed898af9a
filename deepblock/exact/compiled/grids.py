"""Kernels of grids (exact: Grid) and digits: as in ../grid.py and ../ways.py, and `reference.arithmetic.quantise`."""

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.team import span, together


@part
def magnitude(x: Array) -> np.int32:
    """The bits of max|x|. Without their sign, bits of floats are in the order of their magnitudes, then Inf, then NaN;
    and a maximum of integers, unlike one of floats, is a single instruction."""
    largest = np.int32(0)
    numbers = x.view(np.int32)
    for i in range(len(numbers)):
        largest = max(largest, np.int32(numbers[i] & np.int32(0x7FFFFFFF)))
    return largest


@part
def _peaks(index: int, members: int, x: Array, found: Array) -> None:
    first, last = span(len(x), index, members)
    found[index] = magnitude(x[first:last])


@kernel("float64(int64, float32[::1])")
def peak(members: int, x: Array) -> float:
    """max|x|; Inf or NaN if there is one in x."""
    found = np.zeros(members, np.int32)
    together(members, _peaks, (x, found))
    found[0] = found.max()
    return np.float64(found.view(np.float32)[0])


@part
def _rounded(index: int, members: int, x: Array, q: Array, scale: np.float32, limit: np.float32) -> None:
    first, last = span(len(x), index, members)
    x, q = x[first:last], q[first:last]
    for i in range(len(x)):
        rounded = np.rint(x[i] * scale)
        rounded = limit if rounded > limit else rounded
        q[i] = -limit if rounded < -limit else rounded


@kernel("void(int64, float32[::1], float32[::1], float64, float64)")
def quantise(members: int, x: Array, q: Array, scale: float, limit: float) -> None:
    """q = clamp(round_half_even(x · scale), ±limit)."""
    together(members, _rounded, (x, q, np.float32(scale), np.float32(limit)))


@kernel("void(int64, float32[::1], float64[::1], float64, float64)")
def quantise_wide(members: int, x: Array, q: Array, scale: float, limit: float) -> None:
    """The same, in float64."""
    together(members, _rounded, (x, q, np.float32(scale), np.float32(limit)))


@part
def _digits(index: int, members: int, q: Array, high: Array, low: Array, base: np.float32) -> None:
    inverse = np.float32(1.0) / base
    first, last = span(len(q), index, members)
    q, high, low = q[first:last], high[first:last], low[first:last]
    for i in range(len(q)):
        multiple = np.rint(q[i] * inverse)
        high[i] = multiple
        low[i] = q[i] - multiple * base


@kernel("void(int64, float32[::1], float32[::1], float32[::1], int64)")
def digits(members: int, q: Array, high: Array, low: Array, base: int) -> None:
    """q = high · base + low, of integers with |low| ≤ base / 2; `base`: a power of two."""
    together(members, _digits, (q, high, low, np.float32(base)))
