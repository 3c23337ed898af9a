"""Grid: a tensor as integers times a power of two (exact: Grid)."""

from typing import Final, NamedTuple

import torch
from torch import Tensor

_SMALLEST: Final = 127 - 40
"""Exponent field (e + 127, in bits 23 … 30) of 2^-40 in float32."""

_LARGEST: Final = 254
"""Of the largest numbers; 255 is that of Inf and NaN."""


class Grid(NamedTuple):
    """q · step is the tensor as products see it.

    `q`: float64 integers with |q| ≤ 2^(bits−1) − 1. `step`: float64, a power of two (1/s in exact.md): of shape
    () for the tensor, or (N, 1, …) with one for each example.
    """

    q: Tensor
    step: Tensor


def quantise(x: Tensor, bits: int, per_example: bool = False) -> Grid:
    """The grid of a float32 tensor: q = clamp(round_half_even(x · s), ±(2^(bits−1) − 1)), s = 2^(bits−1−e).

    e is the exponent of max|x|, so max|x| < 2^e; with `per_example` each x[i] has its own. Where max|x| < 2^-40,
    or where there is a NaN or an Inf, q is all zeros. `bits` ≤ 52.

    x · s is exact, as s is a power of two, except far below ½, which rounds to 0 anyhow.
    """
    field = _exponent_field(x, per_example)
    usable = field.clamp(_SMALLEST, _LARGEST)
    # max|x| = m · 2^(field − 127) with 1 ≤ m < 2, so e = field − 126, and the field of s is bits + 252 − field.
    # (Where q is all zeros no product shows what s is; it only has to be finite.)
    scale = (bits + 252 - usable).bitwise_left_shift_(23).view(torch.float32)
    limit = 2 ** (bits - 1) - 1
    q = torch.where(usable == field, x, 0.0)
    if bits > 24:
        q = q.double()
    q.mul_(scale).round_().clamp_(-limit, limit)
    return Grid(q.double(), scale.double().reciprocal_())


def _exponent_field(x: Tensor, per_example: bool) -> Tensor:
    """The exponent field of max|x|, read from its bits: int32."""
    if x.numel() == 0:
        return torch.zeros((), dtype=torch.int32, device=x.device)
    dims = tuple(range(1 if per_example else 0, x.dim()))
    peak = torch.maximum(x.amax(dims, keepdim=per_example), x.amin(dims, keepdim=per_example).neg_())
    return peak.abs_().view(torch.int32).bitwise_right_shift_(23)
