"""Elementwise rules: exp and log (exact: exp, log), additions without NaN (No NaN), the update (Update).

The slow twins have the same names in `reference.arithmetic`, and `add`, `quiet` in `reference.layers`. No sums, so no
bounds: every line is one IEEE-754 operation, or several in the order of the definition.
"""

from typing import Final

import torch
from torch import Tensor

from deepblock.exact.compiled import additions, updates
from deepblock.exact.compiled.kernel import flat
from deepblock.exact.compiled.team import members
from deepblock.exact.constants import (
    EXP32_LOWEST,
    EXP32_TERMS,
    EXP_LOWEST,
    EXP_TERMS,
    LIMIT,
    LN2_HIGH,
    LN2_HIGH_32,
    LN2_LOW,
    LN2_LOW_32,
    LOG2_E,
    LOG2_E_32,
    LOG_TERMS,
    SQRT_HALF,
    TINY,
)

_BELOW_TINY: Final = TINY * (1.0 - 2.0**-24)
"""The largest float32 below TINY."""


def exp(x: Tensor) -> Tensor:
    """exp of float64 x ≤ 0 (NaN and Inf excluded), within 2 ulp.

    x := max(x, −64); k = round_half_even(x · LOG2_E); r = (x − k·LN2_HIGH) − k·LN2_LOW; the polynomial Σ rⁿ/n! to
    n = 13 by Horner's rule, multiply and add apart; times 2^k.
    """
    x = x.clamp_min(EXP_LOWEST)
    k = (x * LOG2_E).round_()
    r = (x - k * LN2_HIGH).sub_(k * LN2_LOW)
    y = torch.full_like(r, EXP_TERMS[0])
    for term in EXP_TERMS[1:]:
        y.mul_(r).add_(term)
    return y.mul_(_power_of_two(k.long()))


def exp32(x: Tensor) -> Tensor:
    """exp of float32 x ≤ 0 (−Inf too), for attention: within 2^-21, relatively, and at −20 where x is below.

    As `exp`, but all in float32, and Σ rⁿ/n! only to n = 6.
    """
    x = x.clamp_min(EXP32_LOWEST)
    k = (x * LOG2_E_32).round_()
    r = x.sub_(k * LN2_HIGH_32).sub_(k * LN2_LOW_32)
    y = torch.full_like(r, EXP32_TERMS[0])
    for term in EXP32_TERMS[1:]:
        y.mul_(r).add_(term)
    return y.mul_((k.int() + 127).bitwise_left_shift_(23).view(torch.float32))


def log(x: Tensor) -> Tensor:
    """ln of positive, finite, normal float64 x, within 2 ulp away from 1; ln 1 is +0.

    x = m · 2^k with m in [√½, √2); t = (m − 1)/(m + 1); p = Σ t²ⁿ/(2n+1) to n = 11 by Horner's rule in t·t;
    ln x = k·LN2_HIGH + (k·LN2_LOW + (t + t)·p).
    """
    bits = x.view(torch.int64)
    k = (bits >> 52) - 1023
    m = ((bits & ((1 << 52) - 1)) | (1023 << 52)).view(torch.float64)  # in [1, 2)
    upper = m >= 2.0 * SQRT_HALF
    m = torch.where(upper, m * 0.5, m)
    k = (k + upper).double()
    t = (m - 1.0) / (m + 1.0)
    square = t * t
    p = torch.full_like(t, LOG_TERMS[0])
    for term in LOG_TERMS[1:]:
        p.mul_(square).add_(term)
    return k * LN2_HIGH + (k * LN2_LOW + (t + t) * p)


def _power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent in float64, from its bits; `exponent`: int64 in −1022 … 1023."""
    return (exponent + 1023).bitwise_left_shift_(52).view(torch.float64)


def quiet_(x: Tensor) -> Tensor:
    """NaN, which only Inf − Inf or Inf · 0 can make, becomes +0, and so does −0; in place. Inf stays."""
    return x.nan_to_num_(0.0, torch.inf, -torch.inf).add_(0.0)


def add(a: Tensor, b: Tensor) -> Tensor:
    """quiet(f32(a + b)): two gradients, or two values, may both be infinite."""
    numbers, others = flat(a), flat(b)
    if numbers is not None and others is not None and a.shape == b.shape and a.stride() == b.stride():
        y = torch.empty_like(a)
        additions.add(members(len(numbers)), numbers, others, y.numpy().ravel("K"))
        return y
    return quiet_(a + b)


def settle_(x: Tensor) -> Tensor:
    """Clamps to ±LIMIT and sets |x| < TINY (and so −0) to +0, in place. Inf becomes ±LIMIT.

    No NaN comes here: no gradient is one, and Inf · lr in `sgd_` is one only for lr = 0, where tasks have 2^-12 or more
    (`spec.check_bounds`).
    """
    x.clamp_(-LIMIT, LIMIT)
    torch.ops.aten.hardshrink.out(x, _BELOW_TINY, out=x)  # +0 where |x| is at most that
    return x


def sgd_(
    weights: Tensor, momentum: Tensor, gradient: Tensor, lr: float | Tensor, mu: float, decay: float
) -> None:
    """One step, in place: u = f32(f32(decay·w) + g), v = f32(f32(μ·v) + u), w = f32(w − f32(lr·v)); w and v settle.

    `lr`, `mu` and `decay` are numbers that float32 holds; `lr` may be a float32 tensor () on the device of the others,
    which a recorded step reads anew each time. Finite weights and momentum stay finite even where the
    gradient has overflowed to Inf: v is clamped as w is.
    """
    vectors = [flat(vector) for vector in (weights, momentum, gradient)]
    if all(vector is not None for vector in vectors):
        updates.sgd(members(len(weights)), *vectors, float(lr), mu, decay)
        return
    # Without decay u is g, or +0 for −0; and what comes of a zero in v settles as +0.
    update = (weights * decay).add_(gradient) if decay else gradient
    momentum.mul_(mu).add_(update)
    weights.sub_(momentum * lr)
    settle_(weights)
    settle_(momentum)
