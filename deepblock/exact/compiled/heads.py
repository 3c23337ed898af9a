"""Kernels of attention (exact: Attention), between its products: as in ../heads.py, and `reference.attention`.

Heads are [N · heads · T, d] or [N · heads · T, T],
tokens [N · T, heads · d]; members share out the heads of one example after the other."""

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.rows import larger, on_grid, power, scale_of, step_of, whole
from deepblock.exact.compiled.team import span, together
from deepblock.exact.constants import EXP32_LOWEST, EXP32_TERMS, LN2_HIGH_32, LN2_LOW_32, LOG2_E_32

_ZERO = np.float32(0.0)
_LOWEST, _LOG2_E = np.float32(EXP32_LOWEST), np.float32(LOG2_E_32)
_HIGH, _LOW = np.float32(LN2_HIGH_32), np.float32(LN2_LOW_32)
_T = tuple(np.float32(term) for term in EXP32_TERMS)


@part
def exp32(x: np.float32) -> np.float32:
    """exact: exp32, of x ≤ 0."""
    x = _LOWEST if x < _LOWEST else x
    k = np.rint(x * _LOG2_E)
    r = (x - k * _HIGH) - k * _LOW
    y = (((((_T[0] * r + _T[1]) * r + _T[2]) * r + _T[3]) * r + _T[4]) * r + _T[5]) * r + _T[6]
    power_of_two: np.float32 = np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
    result: np.float32 = y * power_of_two
    return result


@part
def _place(token: int, head: int, tokens: int, heads: int) -> int:
    """Which row of the heads belongs to this row of the tokens."""
    return ((token // tokens) * heads + head) * tokens + token % tokens


# --- Q, K, V on their grids --------------------------------------------------------------------------------


@part
def _part_peaks(index: int, members: int, x: Array, peaks: Array) -> None:
    first, last = span(len(x), index, members)
    features = x.shape[1] // peaks.shape[1]
    for part_index in range(peaks.shape[1]):
        magnitude = np.int32(0)
        for row in range(first, last):
            own = x[row, part_index * features : (part_index + 1) * features]
            for i in range(len(own)):
                magnitude = larger(magnitude, own[i])
        peaks[index, part_index] = magnitude


@part
def _split(
    index: int, members: int, x: Array, tokens: int, scales: Array, limit: np.float32, q: Array
) -> None:
    first, last = span(len(x), index, members)
    parts, size = q.shape[0], q.shape[2]
    heads = x.shape[1] // (parts * size)
    for row in range(first, last):
        for part_index in range(parts):
            scale = np.float32(scales[part_index])
            for head in range(heads):
                start = (part_index * heads + head) * size
                own, into = x[row, start : start + size], q[part_index, _place(row, head, tokens, heads)]
                for i in range(size):
                    into[i] = on_grid(own[i], scale, limit) if scale > _ZERO else _ZERO


@kernel("void(int64, float32[:,::1], int64, int64, float32[:,:,::1], float64[::1])")
def split(members: int, x: Array, tokens: int, bits: int, q: Array, steps: Array) -> None:
    """The heads [parts, N · heads · T, d] of tokens [N · T, parts · heads · d], each part on a grid of its own."""
    peaks = np.zeros((members, q.shape[0]), np.int32)
    together(members, _part_peaks, (x, peaks))
    scales = np.empty(q.shape[0])
    for part_index in range(len(scales)):
        scales[part_index] = scale_of(peaks[:, part_index].max(), bits)
        steps[part_index] = step_of(scales[part_index])
    together(members, _split, (x, tokens, scales, np.float32(power(bits - 1) - 1.0), q))


# --- weights -----------------------------------------------------------------------------------------------


@part
def _weigh(
    index: int, members: int, scores: Array, factor: np.float32, one: np.float32, totals: Array
) -> None:
    tokens = scores.shape[1]
    first, last = span(len(scores), index, members)
    for row in range(first, last):
        own = scores[row, : row % tokens + 1]
        largest = np.int32(own[0])
        for j in range(len(own)):
            integer = np.int32(own[j])
            largest = integer if integer > largest else largest
        highest, total = np.float32(largest), np.int64(0)
        for j in range(len(own)):
            own[j] = np.rint(exp32((own[j] - highest) * factor) * one)
            total += np.int32(own[j])
        totals[row] = total
        scores[row, len(own) :] = _ZERO


@kernel("void(int64, float32[:,::1], float64, float64, float64[::1])")
def weigh(members: int, scores: Array, factor: float, one: float, totals: Array) -> None:
    """q_ij of the integers I_ij, in their place, and t_i."""
    together(members, _weigh, (scores, np.float32(factor), np.float32(one), totals))


# --- O -----------------------------------------------------------------------------------------------------


@part
def _joined(
    index: int, members: int, sums: Array, totals: Array, tokens: int, step: float, out: Array
) -> None:
    size = sums.shape[1]
    heads = out.shape[1] // size
    first, last = span(len(out), index, members)
    for row in range(first, last):
        for head in range(heads):
            place = _place(row, head, tokens, heads)
            own, total, into = sums[place], totals[place], out[row, head * size : (head + 1) * size]
            for i in range(size):
                into[i] = np.float32(own[i] * step / total) + _ZERO


@kernel("void(int64, float32[:,::1], float64[::1], int64, float64, float32[:,::1])")
def joined(members: int, sums: Array, totals: Array, tokens: int, step: float, out: Array) -> None:
    """f32((Σ · step) / t) + 0.0 as tokens, of sums as heads."""
    together(members, _joined, (sums, totals, tokens, step, out))


# --- backward ----------------------------------------------------------------------------------------------


@part
def _shares(
    index: int,
    members: int,
    d_out: Array,
    totals: Array,
    tokens: int,
    outs: Array,
    shares: Array,
    peaks: Array,
) -> None:
    size = outs.shape[1]
    heads = d_out.shape[1] // size
    first, last = span(len(d_out), index, members)
    of_outs, of_shares = np.int32(0), np.int32(0)
    for row in range(first, last):
        for head in range(heads):
            place = _place(row, head, tokens, heads)
            own, total, share = d_out[row, head * size : (head + 1) * size], totals[place], shares[place]
            outs[place] = own
            for i in range(size):
                share[i] = np.float32(own[i] / total)
                of_outs = larger(of_outs, own[i])
                of_shares = larger(of_shares, share[i])
    peaks[index, 0], peaks[index, 1] = of_outs, of_shares


@part
def _quantise(index: int, members: int, x: Array, scale: np.float32, limit: np.float32) -> None:
    first, last = span(len(x), index, members)
    for row in range(first, last):
        own = x[row]
        for i in range(len(own)):
            own[i] = on_grid(own[i], scale, limit) if scale > _ZERO else _ZERO


@kernel(
    "UniTuple(float64, 2)(int64, float32[:,::1], float64[::1], int64, int64, float32[:,::1], float32[:,::1])"
)
def shares(
    members: int, d_out: Array, totals: Array, tokens: int, bits: int, outs: Array, shared: Array
) -> tuple[float, float]:
    """dO and f32(dO_i / t_i) as heads on their grids, of dO as tokens; and the steps of both."""
    peaks = np.zeros((members, 2), np.int32)
    together(members, _shares, (d_out, totals, tokens, outs, shared, peaks))
    limit = np.float32(power(bits - 1) - 1.0)
    of_outs, of_shares = scale_of(peaks[:, 0].max(), bits), scale_of(peaks[:, 1].max(), bits)
    together(members, _quantise, (outs, np.float32(of_outs), limit))
    together(members, _quantise, (shared, np.float32(of_shares), limit))
    return step_of(of_outs), step_of(of_shares)


@part
def _score_gradients(
    index: int,
    members: int,
    d: Array,
    weights: Array,
    totals: Array,
    step: float,
    temperature: float,
    sum_bits: int,
    peaks: Array,
) -> None:
    tokens = d.shape[1]
    first, last = span(len(d), index, members)
    largest = np.int32(0)
    for row in range(first, last):
        own, q, total = d[row, : row % tokens + 1], weights[row], totals[row]
        magnitude = np.int32(0)
        for j in range(len(own)):
            magnitude = larger(magnitude, np.float32(q[j] * (own[j] * step)))
        scale, found = scale_of(magnitude, sum_bits), np.int64(0)
        if scale > 0.0:
            for j in range(len(own)):
                found += whole(np.float64(np.float32(q[j] * (own[j] * step))) * scale)
        mean = found * step_of(scale) / total
        for j in range(len(own)):
            own[j] = np.float32(q[j] / total * (own[j] * step - mean) * temperature) + _ZERO
            largest = larger(largest, own[j])
        d[row, len(own) :] = _ZERO
    peaks[index] = largest


@kernel("float64(int64, float32[:,::1], float32[:,::1], float64[::1], float64, float64, int64, int64)")
def score_gradients(
    members: int,
    d: Array,
    weights: Array,
    totals: Array,
    step: float,
    temperature: float,
    sum_bits: int,
    bits: int,
) -> float:
    """dz on its grid of `bits`, of the integers of D, in their place; and its step. A row's sum is on `sum_bits`."""
    peaks = np.zeros(members, np.int32)
    together(members, _score_gradients, (d, weights, totals, step, temperature, sum_bits, peaks))
    scale = scale_of(peaks.max(), bits)
    together(members, _quantise, (d, np.float32(scale), np.float32(power(bits - 1) - 1.0)))
    its_step: float = step_of(scale)
    return its_step
