"""Grid: a tensor as integers times a power of two (exact: Grid)."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

_BIAS: Final = 127  # of float32: the field of 2^e is e + 127, in bits 23 … 30
_SMALLEST: Final = _BIAS - 40
_LARGEST: Final = 254  # 255 is that of Inf and NaN


class Grid(NamedTuple):
    """q · step is the tensor as products see it.

    `q`: float64 integers with |q| ≤ 2^(bits−1) − 1. `step`: float64, a power of two (1/s in exact.md); one for the
    tensor (shape ()) or one for each example (shape (N, 1, …)).
    """

    q: Tensor
    step: Tensor


def quantise(x: Tensor, bits: int, per_example: bool = False) -> Grid:
    """The grid of a float32 tensor: q = clamp(round_half_even(x · s), ±(2^(bits−1) − 1)), s = 2^(bits−1−e).

    e is the exponent of max|x|, so max|x| < 2^e; with `per_example` each x[i] has its own. Where max|x| < 2^-40, or
    where there is a NaN or an Inf, q is zero and s is 1. `bits` ≤ 52.

    x · s is exact, as s is a power of two, except below the smallest normal number, which rounds to 0 anyhow.
    """
    peak = _exponent_field(x, per_example)
    usable = (peak >= _SMALLEST) & (peak <= _LARGEST)
    # max|x| = m · 2^(peak − 127) with 1 ≤ m < 2, so e = peak − 126 and the field of s is bits + 252 − peak.
    field = torch.where(usable, (bits + 252) - peak, _BIAS)
    limit = 2 ** (bits - 1) - 1
    q = torch.where(usable, x, 0.0)
    if bits > 24:
        q = q.double()
    q.mul_(_power_of_two(field)).round_().clamp_(-limit, limit)
    return Grid(q.double(), _power_of_two(2 * _BIAS - field).double())


def _power_of_two(field: Tensor) -> Tensor:
    """The float32 power of two whose exponent field (int32, 1 … 254) is given."""
    return field.bitwise_left_shift(23).view(torch.float32)


def _exponent_field(x: Tensor, per_example: bool) -> Tensor:
    """The exponent field of max|x|, read from its bits: int32."""
    if x.numel() == 0:
        return torch.zeros((), dtype=torch.int32, device=x.device)
    dims = tuple(range(1 if per_example else 0, x.dim()))
    peak = torch.maximum(x.amax(dims, keepdim=per_example), x.amin(dims, keepdim=per_example).neg_())
    return peak.abs_().view(torch.int32).bitwise_right_shift_(23)
