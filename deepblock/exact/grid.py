"""Grid: a tensor as integers times a power of two (exact: Grid). The slow twin is `reference.arithmetic.quantise`.

Nothing but the one rounding to an integer rounds: times a power of two is exact, and float32 holds |q| ≤ 2^(bits−1) − 1
of whatever `bits`, as rounding a float32 gives a float32.
"""

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from deepblock.exact.compiled import grids
from deepblock.exact.compiled.kernel import flat
from deepblock.exact.compiled.team import members

SMALLEST: Final = 2.0**-40
"""A tensor whose magnitudes are all below is all zeros."""


class Grid(NamedTuple):
    """q · step is the tensor as products see it.

    `q`: integers in float32, or in float64 if wanted, |q| ≤ 2^(bits−1) − 1. `step`: a power of two (1/s):
    a float; or, where the host should not wait for the device or each example has its own, float64 of shape () or
    (N, 1, …).
    """

    q: Tensor
    step: Tensor | float


def peak_of(x: Tensor) -> float | None:
    """max|x|, or NaN if there is one in x. None on a device that the host should not wait for."""
    if x.device.type != "cpu":
        return None
    numbers = flat(x)
    if numbers is not None:
        peak: float = grids.peak(members(len(numbers)), numbers)
        return peak
    return max(x.amax().item(), -x.amin().item()) if x.numel() else 0.0


def quantise(
    x: Tensor, bits: int, per_example: bool = False, peak: float | None = None, wide: bool = False
) -> Grid:
    """The grid of a float32 tensor: q = clamp(round_half_even(x · s), ±(2^(bits−1) − 1)), s = 2^(bits−1−e).

    e is the exponent of max|x|, so max|x| < 2^e; with `per_example` each x[i] has its own. Where max|x| < 2^-40,
    or where there is a NaN or an Inf, q is all zeros. `bits` ≤ 52. `peak`: `peak_of(x)`, if it is known.
    `wide`: q is wanted in float64; it need not come so.

    x · s is exact, as s is a power of two, except far below ½, which rounds to 0 anyhow. Float32 holds q for any
    `bits`: rounding a float32 to an integer needs no more bits than it has.
    """
    if peak is None and not per_example:
        peak = peak_of(x)
    if peak is None:
        return quantise_in_tensors(x, bits, per_example)
    if not SMALLEST <= peak < math.inf:  # so also a NaN
        return Grid(torch.zeros_like(x), 1.0)
    scale = math.ldexp(1.0, bits - 1 - math.frexp(peak)[1])
    limit = 2 ** (bits - 1) - 1
    numbers = flat(x)
    if numbers is not None:
        q = torch.empty_like(x, dtype=torch.float64 if wide else torch.float32)
        kernel = grids.quantise_wide if wide else grids.quantise
        kernel(members(len(numbers)), numbers, q.numpy().ravel("K"), scale, float(limit))
        return Grid(q, 1.0 / scale)
    q = torch.mul(x, scale).round_()
    if peak * scale >= limit + 0.5:  # else rounding is monotonic, and cannot get beyond the limit
        q.clamp_(-limit, limit)
    return Grid(q, 1.0 / scale)


_SMALLEST: Final = 127 - 40
"""Exponent field (e + 127, in bits 23 … 30) of 2^-40 in float32."""

_LARGEST: Final = 254
"""Of the largest numbers; 255 is that of Inf and NaN."""


def quantise_in_tensors(x: Tensor, bits: int, per_example: bool) -> Grid:
    """The same where max|x| is no Python number: on a GPU, which the host should not wait for, and on any device where
    each example has its own. Exponents are read from the bits of floats, and powers of two made of bits."""
    field = _exponent_field(x, per_example)
    usable = field.clamp(_SMALLEST, _LARGEST)
    # max|x| = m · 2^(field − 127) with 1 ≤ m < 2, so e = field − 126, and the field of s is bits + 252 − field.
    # (Where q is all zeros no product shows what s is; it only has to be finite.)
    scale = (bits + 252 - usable).bitwise_left_shift_(23).view(torch.float32)
    limit = 2 ** (bits - 1) - 1
    if x.device.type != "cpu" or not torch.equal(usable, field):  # to ask a GPU costs more than the pass
        x = torch.where(usable == field, x, 0.0)
    q = torch.mul(x, scale).round_().clamp_(-limit, limit)
    return Grid(q, scale.double().reciprocal_())


def _exponent_field(x: Tensor, per_example: bool) -> Tensor:
    """The exponent field of max|x|, read from its bits: int32."""
    if x.numel() == 0:
        return torch.zeros((), dtype=torch.int32, device=x.device)
    dims = tuple(range(1 if per_example else 0, x.dim()))
    peak = torch.maximum(x.amax(dims, keepdim=per_example), x.amin(dims, keepdim=per_example).neg_())
    return peak.abs_().view(torch.int32).bitwise_right_shift_(23)
