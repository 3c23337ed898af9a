"""Kernels of GroupNorm (exact: Norms): as in ../norms.py, which has the bounds, and `reference.norms`.

They go over planes whose channels lie next to each other: [N, positions · channels].

A loop over a few channels is too short for the vector units, so what belongs to a channel is repeated up to a tile of
lanes. A tile begins with channel 0.
"""

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.norms import statistics
from deepblock.exact.compiled.rows import larger, nearest, on_grid, power, scale_of, step_of
from deepblock.exact.compiled.sums import tiled
from deepblock.exact.compiled.team import span, together

_ZERO = np.float32(0.0)
_SCALE, _MIDDLE, _DELTA, _FACTOR = range(4)
"""Numbers of a group, forward. Backward δ is the slope C, and r the mean A."""


@part
def _integer(x: np.float32, scale: float, limit: float) -> float:
    return on_grid(np.float64(x), scale, limit) if scale > 0.0 else 0.0


@part
def _groups(channels: int, groups: int) -> Array:
    """The group of each lane."""
    lane_groups: Array = tiled(np.arange(channels) * groups // channels)
    return lane_groups


@part
def _scales(magnitudes: Array, lane_groups: Array, bits: int, of_groups: Array) -> None:
    """The scale of each group, of the magnitudes (bits) that lanes have found."""
    largest = np.zeros(of_groups.shape[1], np.int32)
    for i in range(len(magnitudes)):
        largest[lane_groups[i]] = max(largest[lane_groups[i]], magnitudes[i])
    for group in range(len(largest)):
        of_groups[_SCALE, group] = scale_of(largest[group], bits)


@part
def _totals(lanes: Array, lane_groups: Array, groups: int) -> Array:
    """Σ over the lanes of each group."""
    sums = np.zeros(groups)
    for i in range(len(lanes)):
        sums[lane_groups[i]] += lanes[i]
    return sums


@part
def _spread(of_groups: Array, lane_groups: Array, lanes: Array) -> None:
    """A group's numbers for each of its lanes."""
    for number in range(len(lanes)):
        for i in range(lanes.shape[1]):
            lanes[number, i] = of_groups[number, lane_groups[i]]


@part
def _standardise(
    index: int,
    members: int,
    x: Array,
    weight: Array,
    bias: Array,
    bits: int,
    x_hat: Array,
    y: Array,
    inverse: Array,
) -> None:
    groups = inverse.shape[1]
    lane_groups = _groups(len(weight), groups)
    limit, wide, fine = power(bits - 1) - 1.0, power(bits), power(-bits)
    weights, biases = tiled(weight), tiled(bias)
    size = len(weights)
    magnitudes, found = np.empty(size, np.int32), np.empty((2, size))
    of_groups, lanes = np.zeros((4, groups)), np.empty((4, size))
    first, last = span(len(x), index, members)
    for n in range(first, last):
        magnitudes[:] = 0
        for start in range(0, x.shape[1], size):
            own = x[n, start : start + size]
            for i in range(len(own)):
                magnitudes[i] = larger(magnitudes[i], own[i])
        _scales(magnitudes, lane_groups, bits, of_groups)
        _spread(of_groups, lane_groups, lanes)
        found[:] = 0.0
        scales = lanes[_SCALE]
        for start in range(0, x.shape[1], size):
            own = x[n, start : start + size]
            for i in range(len(own)):
                q = _integer(own[i], scales[i], limit)
                found[0, i] += q
                found[1, i] += q * q
        totals, squares = _totals(found[0], lane_groups, groups), _totals(found[1], lane_groups, groups)
        for group in range(groups):
            step = step_of(of_groups[_SCALE, group])
            sums = (np.int64(totals[group]), np.int64(squares[group]))
            r, of_groups[_DELTA, group], inverse[n, group] = statistics(*sums, x.shape[1] // groups, step)
            of_groups[_MIDDLE, group], of_groups[_FACTOR, group] = r, step * inverse[n, group]
        _spread(of_groups, lane_groups, lanes)
        middles, deltas, factors = lanes[_MIDDLE], lanes[_DELTA], lanes[_FACTOR]
        for start in range(0, x.shape[1], size):
            own, hat, own_y = (
                x[n, start : start + size],
                x_hat[n, start : start + size],
                y[n, start : start + size],
            )
            for i in range(len(own)):
                c = _integer(own[i], scales[i], limit) - middles[i]
                hat[i] = np.float32(nearest((c - deltas[i]) * factors[i] * wide) * fine) + _ZERO
                own_y[i] = hat[i] * weights[i] + biases[i] + _ZERO


@kernel(
    "void(int64, float32[:,::1], float32[::1], float32[::1], int64, float32[:,::1], float32[:,::1], float64[:,::1])"
)
def standardise(
    members: int, x: Array, weight: Array, bias: Array, bits: int, x_hat: Array, y: Array, inverse: Array
) -> None:
    """x̂ and y, and R of each group, [N, groups], on grids of `bits`."""
    together(members, _standardise, (x, weight, bias, bits, x_hat, y, inverse))


@part
def _backward(
    index: int,
    members: int,
    dy: Array,
    x_hat: Array,
    weight: Array,
    inverse: Array,
    bits: int,
    dx: Array,
    peaks: Array,
) -> None:
    groups = inverse.shape[1]
    lane_groups = _groups(len(weight), groups)
    limit, terms = power(bits - 1) - 1.0, np.float64(dy.shape[1] // groups)
    weights = tiled(weight)
    size = len(weights)
    magnitudes, found = np.empty((3, size), np.int32), np.empty((2, size))
    of_groups, lanes = np.zeros((4, groups)), np.empty((4, size))
    magnitudes[:] = 0
    first, last = span(len(dy), index, members)
    for n in range(first, last):
        magnitudes[2] = 0
        for start in range(0, dy.shape[1], size):
            own, hat = dy[n, start : start + size], x_hat[n, start : start + size]
            for i in range(len(own)):
                magnitudes[0, i] = larger(magnitudes[0, i], own[i] * hat[i])
                magnitudes[1, i] = larger(magnitudes[1, i], own[i])
                magnitudes[2, i] = larger(magnitudes[2, i], own[i] * weights[i])
        _scales(magnitudes[2], lane_groups, bits, of_groups)
        _spread(of_groups, lane_groups, lanes)
        found[:] = 0.0
        scales = lanes[_SCALE]
        for start in range(0, dy.shape[1], size):
            own, hat = dy[n, start : start + size], x_hat[n, start : start + size]
            for i in range(len(own)):
                p = _integer(own[i] * weights[i], scales[i], limit)
                found[0, i] += p
                found[1, i] += p * hat[i]
        totals, slopes = _totals(found[0], lane_groups, groups), _totals(found[1], lane_groups, groups)
        for group in range(groups):
            of_groups[_MIDDLE, group], of_groups[_DELTA, group] = totals[group] / terms, slopes[group] / terms
            of_groups[_FACTOR, group] = step_of(of_groups[_SCALE, group]) * inverse[n, group]
        _spread(of_groups, lane_groups, lanes)
        means, slopes, factors = lanes[_MIDDLE], lanes[_DELTA], lanes[_FACTOR]
        for start in range(0, dy.shape[1], size):
            own, hat, own_dx = (
                dy[n, start : start + size],
                x_hat[n, start : start + size],
                dx[n, start : start + size],
            )
            for i in range(len(own)):
                p = _integer(own[i] * weights[i], scales[i], limit)
                own_dx[i] = np.float32((p - means[i] - hat[i] * slopes[i]) * factors[i]) + _ZERO
    peaks[index, 0], peaks[index, 1] = magnitudes[0].max(), magnitudes[1].max()


@kernel(
    "void(int64, float32[:,::1], float32[:,::1], float32[::1], float64[:,::1], int64, float32[:,::1], int32[:,::1])"
)
def backward(
    members: int, dy: Array, x_hat: Array, weight: Array, inverse: Array, bits: int, dx: Array, peaks: Array
) -> None:
    """dx; and, for each member, the bits of max|dy · x̂| and max|dy|."""
    together(members, _backward, (dy, x_hat, weight, inverse, bits, dx, peaks))
