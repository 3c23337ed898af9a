"""Kernels of LayerNorm (exact: Norms): as in ../norms.py, which has the bounds, and `reference.norms`.

A row, which is short, in one go. GroupNorm's are in planes.py.
"""

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.rows import larger, nearest, on_grid, power, scale_of, step_of
from deepblock.exact.compiled.sums import TILE
from deepblock.exact.compiled.team import span, together
from deepblock.exact.constants import NORM_EPSILON

_ZERO = np.float32(0.0)


@part
def statistics(total: int, squares: int, count: int, step: np.float64) -> tuple[np.int64, float, float]:
    """r, δ and R of Σq and Σq²: integers, so Σc = Σq − m·r and Σc² = Σq² − 2r·Σq + m·r² are exact too."""
    terms = np.float64(count)
    r = np.int64(nearest(total / terms))
    delta = (total - count * r) / terms
    variance = (squares - 2 * r * total + count * r * r) / terms - delta * delta
    return r, delta, 1.0 / np.sqrt(variance * (step * step) + NORM_EPSILON)


@part
def _standardise(
    index: int, members: int, x: Array, weight: Array, bias: Array, bits: int, out: tuple[Array, Array, Array]
) -> None:
    x_hat, y, inverse = out
    limit = np.float32(2 ** (bits - 1) - 1)
    wide, fine = power(bits), power(-bits)
    q = np.empty(x.shape[1], np.int32)
    first, last = span(len(x), index, members)
    for n in range(first, last):
        row, own_hat, own_y = x[n], x_hat[n], y[n]
        magnitude = np.int32(0)
        for i in range(len(row)):
            magnitude = larger(magnitude, row[i])
        scale = scale_of(magnitude, bits)
        total, squares = np.int64(0), np.int64(0)
        if scale > 0.0:
            scale32 = np.float32(scale)
            for i in range(len(row)):
                q[i] = np.int32(on_grid(row[i], scale32, limit))
                total += np.int64(q[i])
                squares += np.int64(q[i]) * np.int64(q[i])
        else:
            q[:] = 0
        step = step_of(scale)
        r, delta, inverse[n, 0] = statistics(total, squares, len(row), step)
        factor = step * inverse[n, 0]
        for i in range(len(row)):
            c = np.float64(q[i] - r)
            own_hat[i] = np.float32(nearest((c - delta) * factor * wide) * fine) + _ZERO
            own_y[i] = own_hat[i] * weight[i] + bias[i] + _ZERO


@kernel(
    "void(int64, float32[:,::1], float32[::1], float32[::1], int64, float32[:,::1], float32[:,::1], float64[:,::1])"
)
def standardise(
    members: int, x: Array, weight: Array, bias: Array, bits: int, x_hat: Array, y: Array, inverse: Array
) -> None:
    """x̂, y and R [n, 1] of rows [n, m], on grids of `bits`."""
    together(members, _standardise, (x, weight, bias, bits, (x_hat, y, inverse)))


@part
def _backward(
    index: int,
    members: int,
    dy: Array,
    x_hat: Array,
    weight: Array,
    inverse: Array,
    bits: int,
    out: tuple[Array, Array],
) -> None:
    dx, peaks = out
    limit = np.float32(2 ** (bits - 1) - 1)
    wide, fine = np.float32(power(bits)), power(-bits)
    p = np.empty(dy.shape[1], np.int32)
    terms = np.float64(dy.shape[1])
    first, last = span(len(dy), index, members)
    of_products, of_dy = np.int32(0), np.int32(0)
    for n in range(first, last):
        own, hat, own_dx = dy[n], x_hat[n], dx[n]
        magnitude = np.int32(0)
        for i in range(len(own)):
            of_dy = larger(of_dy, own[i])
            of_products = larger(of_products, own[i] * hat[i])
            magnitude = larger(magnitude, own[i] * weight[i])
        scale = scale_of(magnitude, bits)
        if not scale > 0.0:
            own_dx[:] = _ZERO
            continue
        scale32 = np.float32(scale)
        total, along = np.int64(0), np.int64(0)
        for i in range(len(own)):
            p[i] = np.int32(on_grid(own[i] * weight[i], scale32, limit))
            total += np.int64(p[i])
            along += np.int64(p[i]) * np.int64(np.int32(hat[i] * wide))
        mean, slope = total / terms, along * fine / terms
        factor = step_of(scale) * inverse[n, 0]
        for i in range(len(own)):
            own_dx[i] = np.float32((p[i] - mean - hat[i] * slope) * factor) + _ZERO
    peaks[index, 0], peaks[index, 1] = of_products, of_dy


@kernel(
    "void(int64, float32[:,::1], float32[:,::1], float32[::1], float64[:,::1], int64, float32[:,::1], int32[:,::1])"
)
def backward(
    members: int, dy: Array, x_hat: Array, weight: Array, inverse: Array, bits: int, dx: Array, peaks: Array
) -> None:
    """dx of rows [n, m]; and, for each member, the bits of max|dy · x̂| and max|dy|."""
    together(members, _backward, (dy, x_hat, weight, inverse, bits, (dx, peaks)))


@part
def _sums(
    index: int,
    members: int,
    dy: Array,
    x_hat: Array,
    scales: tuple[float, float],
    limit: np.float32,
    found: Array,
) -> None:
    size = found.shape[2]
    first, last = span(-(-len(dy) // size), index, members)
    of_products, of_dy = np.float32(scales[0]), np.float32(scales[1])
    scale, shift = found[index, 0], found[index, 1]
    for start in range(first * size, last * size, size):
        own, hat = dy[start : start + size], x_hat[start : start + size]
        if of_products > _ZERO:
            for i in range(len(own)):
                scale[i] += on_grid(own[i] * hat[i], of_products, limit)
        if of_dy > _ZERO:
            for i in range(len(own)):
                shift[i] += on_grid(own[i], of_dy, limit)


@kernel("void(int64, float32[::1], float32[::1], int32[:,::1], int64, float32[::1], float32[::1])")
def gradients(
    members: int, dy: Array, x_hat: Array, peaks: Array, bits: int, d_scale: Array, d_shift: Array
) -> None:
    """Sums of dy · x̂ and of dy over rows, or places in planes, each on one grid of `bits`. `peaks`: of `backward`."""
    columns = len(d_scale)
    scales = (scale_of(peaks[:, 0].max(), bits), scale_of(peaks[:, 1].max(), bits))
    found = np.zeros((members, 2, max(1, TILE // columns) * columns))
    together(members, _sums, (dy, x_hat, scales, np.float32(power(bits - 1) - 1.0), found))
    for i in range(columns):
        d_scale[i] = np.float32(found[:, 0, i::columns].sum() * step_of(scales[0])) + _ZERO
        d_shift[i] = np.float32(found[:, 1, i::columns].sum() * step_of(scales[1])) + _ZERO
