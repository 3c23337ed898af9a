"""GELU by a polynomial (exact: GELU).

x·Φ(x) = max(x, 0) − a·ψ(a) with a = |x| and ψ(a) = Φ(−a), which falls from ½ to nothing. Here a := min(|x|, 4) and ψ is
a polynomial in w = 1 − a/4 that begins with w²: at a = 4 it ends smoothly in exactly 0, and beyond, GELU is ReLU. So
y' = 1 − (a·ψ)' where x > 0, else (a·ψ)', and that derivative is a polynomial in w too (constants.py). Everything is
float32, multiply and add apart. |x| ≤ 2^-64 counts as 0, so y is never subnormal.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from deepblock.exact.constants import GELU_REACH, GELU_SLOPE_TERMS, GELU_TERMS, TINY
from deepblock.exact.elementwise import quiet_
from deepblock.exact.layers import Saved


@dataclass(frozen=True, slots=True)
class GELU:
    """y = max(x, 0) − a·w·w·(… (t₇·w + t₆)·w + … + t₂); dx = dy·y', where NaN (Inf · 0) counts as 0."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        x = hardshrink(x, TINY)
        reach = x.abs().clamp_max_(GELU_REACH)
        w = 1.0 - reach * (1.0 / GELU_REACH)
        bump = _polynomial(w, GELU_TERMS).mul_(w).mul_(w).mul_(reach)
        return x.clamp_min(0.0).sub_(bump).add_(0.0), (x, w)

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        x, w = saved
        slope = _polynomial(w, GELU_SLOPE_TERMS).mul_(w)
        return quiet_(torch.where(x > 0.0, 1.0 - slope, slope).mul_(gradient))


def _polynomial(w: Tensor, terms: tuple[float, ...]) -> Tensor:
    """By Horner's rule, from the highest term to the constant one."""
    y = torch.full_like(w, terms[0])
    for term in terms[1:]:
        y.mul_(w).add_(term)
    return y
