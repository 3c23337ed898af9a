"""GELU by a polynomial (exact: GELU).

The slow twin is `reference.layers.gelu`. Nothing is summed, so there is no bound.

x·Φ(x) = max(x, 0) − a·ψ(a) with a = |x| and ψ(a) = Φ(−a), which falls from ½ to nothing. Here a := min(|x|, 4) and ψ is
a polynomial in w = 1 − a/4 that begins with w²: at a = 4 it ends smoothly in exactly 0, and beyond, GELU is ReLU. So
y' = 1 − (a·ψ)' where x > 0, else (a·ψ)', and that derivative is a polynomial in w too (constants.py). Everything is
float32, multiply and add apart. |x| ≤ 2^-64 counts as 0, so y is never subnormal.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from deepblock.exact.compiled import gelu as kernels
from deepblock.exact.compiled.kernel import flat
from deepblock.exact.compiled.team import members
from deepblock.exact.constants import GELU_REACH, GELU_SLOPE_TERMS, GELU_TERMS, TINY
from deepblock.exact.elementwise import quiet_


@dataclass(frozen=True, slots=True)
class GELU:
    """y = max(x, 0) − a·w·w·(… (t₇·w + t₆)·w + … + t₂); dx = dy·y', where NaN (Inf · 0) counts as 0."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Tensor]:
        numbers = flat(x)
        if numbers is not None:
            y = torch.empty_like(x)
            kernels.values(members(len(numbers)), numbers, y.numpy().ravel("K"))
            return y, x
        reach, w = _inside(x)
        bump = _polynomial(w, GELU_TERMS).mul_(w).mul_(w).mul_(reach)
        return hardshrink(x, TINY).clamp_min_(0.0).sub_(bump).add_(0.0), x

    def backward(self, gradient: Tensor, saved: Tensor, needs_input: bool) -> Tensor | None:
        x = saved
        numbers, dy = flat(x), flat(gradient)
        if numbers is not None and dy is not None and x.stride() == gradient.stride():
            dx = torch.empty_like(x)
            kernels.slopes(members(len(dy)), numbers, dy, dx.numpy().ravel("K"))
            return dx
        _, w = _inside(x)
        slope = _polynomial(w, GELU_SLOPE_TERMS).mul_(w)
        return quiet_(torch.where(x > TINY, 1.0 - slope, slope).mul_(gradient))


def _inside(x: Tensor) -> tuple[Tensor, Tensor]:
    """a and w."""
    reach = hardshrink(x, TINY).abs_().clamp_max_(GELU_REACH)
    return reach, 1.0 - reach * (1.0 / GELU_REACH)


def _polynomial(w: Tensor, terms: tuple[float, ...]) -> Tensor:
    """By Horner's rule, from the highest term to the constant one."""
    y = torch.full_like(w, terms[0])
    for term in terms[1:]:
        y.mul_(w).add_(term)
    return y
