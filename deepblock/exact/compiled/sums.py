"""Kernels of sums and products, over tensors whose columns (features, or channels of planes) lie next to each other.

As in ../product.py and ../ways.py, whose bounds they rely on. Their loops run over TILE numbers or more, a whole number
of rows, because a row of 10 or 16 is too short for the vector units.
"""

from typing import Final

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.team import span, together

TILE: Final = 512


@part
def tiled(row: Array) -> Array:
    """The row, repeated up to TILE numbers or more."""
    count = max(1, TILE // len(row))
    tile = np.empty(count * len(row), row.dtype)
    for i in range(count):
        tile[i * len(row) : (i + 1) * len(row)] = row
    return tile


@part
def _plus(index: int, members: int, integers: Array, step: np.float32, tile: Array) -> None:
    size = len(tile)
    first, last = span(-(-len(integers) // size), index, members)
    for start in range(first * size, last * size, size):
        x = integers[start : start + size]
        for i in range(len(x)):
            x[i] = x[i] * step + tile[i]


@kernel("void(int64, float32[::1], float64, float32[::1])")
def rescale(members: int, integers: Array, step: float, bias: Array) -> None:
    """integers · step + bias in place, in float32, which is exact but for the addition."""
    tile = tiled(bias)
    together(members, _plus, (integers, np.float32(step), tile))


@part
def _rounded_plus(index: int, members: int, integers: Array, y: Array, step: float, tile: Array) -> None:
    size = len(tile)
    first, last = span(-(-len(integers) // size), index, members)
    for start in range(first * size, last * size, size):
        x, out = integers[start : start + size], y[start : start + size]
        for i in range(len(x)):
            out[i] = np.float32(x[i] * step) + tile[i]


@kernel("void(int64, float64[::1], float32[::1], float64, float32[::1])")
def rescale_wide(members: int, integers: Array, y: Array, step: float, bias: Array) -> None:
    """y = f32(integers · step) + bias of integers in float64."""
    tile = tiled(bias)
    together(members, _rounded_plus, (integers, y, step, tile))


@kernel("void(int64, float32[::1], float32[::1], float64, float32[::1])")
def rescale_apart(members: int, integers: Array, y: Array, step: float, bias: Array) -> None:
    """The same of integers in float32."""
    together(members, _rounded_plus, (integers, y, step, tiled(bias)))


@part
def _column_sums(index: int, members: int, x: Array, scale: np.float32, totals: Array) -> None:
    size = totals.shape[1]
    first, last = span(-(-len(x) // size), index, members)
    total = totals[index]
    for start in range(first * size, last * size, size):
        block = x[start : start + size]
        for i in range(len(block)):
            total[i] += np.float64(np.rint(block[i] * scale))


@kernel("float32[::1](int64, float32[::1], int64, float64)")
def column_sums(members: int, x: Array, columns: int, scale: float) -> Array:
    """f32(Σ round_half_even(x · scale) / scale) + 0.0 over rows of so many columns: [columns]."""
    totals = np.zeros((members, max(1, TILE // columns) * columns))
    together(members, _column_sums, (x, np.float32(scale), totals))
    sums = np.zeros(columns)
    for total in totals:
        for start in range(0, len(total), columns):
            sums += total[start : start + columns]
    result = np.empty(columns, np.float32)
    for i in range(columns):
        result[i] = np.float32(sums[i] / scale) + np.float32(0.0)
    return result


@part
def _magnitudes(index: int, members: int, q: Array, found: Array) -> None:
    rows, columns = found.shape
    first, last = span(rows, index, members)
    positions = len(q) // (rows * columns)
    count = max(1, TILE // columns)
    tile = np.empty(count * columns, np.float32)
    for row in range(first, last):
        numbers = q[row * positions * columns : (row + 1) * positions * columns]
        tile[:] = np.float32(0.0)
        for start in range(0, len(numbers), len(tile)):
            block = numbers[start : start + len(tile)]
            for i in range(len(block)):
                tile[i] += abs(block[i])
        found[row] = 0.0
        for start in range(0, len(tile), columns):
            for i in range(columns):
                found[row, i] += np.float64(tile[start + i])


@kernel("void(int64, float32[::1], float64[:, ::1])")
def magnitudes(members: int, q: Array, found: Array) -> None:
    """Σ |q| of each column of each of len(found) equal parts of q. No sum may exceed 2^24."""
    together(members, _magnitudes, (q, found))


@part
def _weighted(
    index: int, members: int, a: Array, b: Array, c: Array, total: Array, weights: tuple[float, float, float]
) -> None:
    first, last = span(len(total), index, members)
    a, b, c, total = a[first:last], b[first:last], c[first:last], total[first:last]
    of_a, of_b, of_c = weights
    for i in range(len(total)):
        total[i] = a[i] * of_a + b[i] * of_b + c[i] * of_c


@kernel("void(int64, float32[::1], float32[::1], float32[::1], float64[::1], float64, float64, float64)")
def weighted(
    members: int, a: Array, b: Array, c: Array, total: Array, of_a: float, of_b: float, of_c: float
) -> None:
    """total = a · of_a + b · of_b + c · of_c, of integers."""
    weights = (of_a, of_b, of_c)
    together(members, _weighted, (a, b, c, total, weights))


@part
def _largest(totals: Array) -> np.int64:
    """The bits of the largest of numbers that are not negative; they are in the order of the numbers."""
    bits = totals.view(np.int64)
    largest = np.int64(0)
    for i in range(len(bits)):
        largest = max(largest, bits[i])
    return largest


@kernel("int64[::1](float64[:, ::1], float64)")
def run_lengths(magnitudes: Array, limit: float) -> Array:
    """How many rows of [k, columns] each run has whose columns add up to less than the limit, from the first row on;
    0 ends the list where a single row is too much."""
    rows, columns = magnitudes.shape
    lengths = np.zeros(rows + 2, np.int64)
    totals = np.zeros(columns)
    bound = np.full(1, limit).view(np.int64)[0]
    run = 0
    for row in range(rows):
        for i in range(columns):
            totals[i] += magnitudes[row, i]
        if _largest(totals) >= bound:
            run += 1
            totals[:] = magnitudes[row]
            if _largest(totals) >= bound:
                break
        lengths[run] += 1
    return lengths[: run + 1]
