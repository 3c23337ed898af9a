"""The numbers in the definition (exact: exp, log; protocol: Session; Score)."""

import math
from typing import Final

LIMIT: Final = 2.0**15 - 2.0**-8
"""Largest magnitude of a weight or a momentum."""

TINY: Final = 2.0**-64
"""Weights and momenta of smaller magnitude are +0."""

EXP_ONE: Final = 2.0**40
"""exp(0) as an integer: softmax sums exponentials rounded to multiples of 2^-40."""

WORST_LOSS: Final = 2.0**20
"""Largest loss of one example, and the loss of one whose logits are not finite."""

EXP_LOWEST: Final = -64.0
"""exp is evaluated at max(x, −64): further down it is 0 among multiples of 2^-40."""

LOG2_E: Final = float.fromhex("0x1.71547652b82fep+0")
"""1 / ln 2."""

LN2_HIGH: Final = float.fromhex("0x1.62e42feep-1")
"""The first 32 bits of ln 2: k · LN2_HIGH is exact for |k| < 2^20."""

LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")
"""ln 2 − LN2_HIGH."""

EXP32_LOWEST: Final = -20.0
"""exp32 is evaluated at max(x, −20): further down it is 0 among multiples of 2^-16."""

LOG2_E_32: Final = float.fromhex("0x1.715476p+0")
LN2_HIGH_32: Final = float.fromhex("0x1.62e4p-1")
"""The first 15 bits of ln 2: k · LN2_HIGH_32 is exact in float32 for |k| < 2^9."""

LN2_LOW_32: Final = float.fromhex("0x1.7f7d1cp-20")
"""f32(ln 2 − LN2_HIGH_32)."""

EXP32_TERMS: Final = tuple(
    float.fromhex(term)
    for term in (
        "0x1.6c16c2p-10",
        "0x1.111112p-7",
        "0x1.555556p-5",
        "0x1.555556p-3",
        "0x1p-1",
        "0x1p+0",
        "0x1p+0",
    )
)
"""1/6!, 1/5!, … 1/0!, in float32."""

SQRT_HALF: Final = float.fromhex("0x1.6a09e667f3bcdp-1")
"""√½; log reduces its argument to [√½, √2)."""

EXP_TERMS: Final = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
"""1/13!, 1/12!, … 1/0!: each factorial is exact in float64, and the division rounds once."""

LOG_TERMS: Final = tuple(1.0 / n for n in range(23, 0, -2))
"""1/23, 1/21, … 1/1."""

NORM_EPSILON: Final = 1e-5
"""Added to the variance by the norms."""

GELU_REACH: Final = 4.0
"""Beyond ±4, GELU is ReLU."""

_BUMP: Final = (-477, 17152, -69048, 129121, 11114, -55094)
"""2^16 times the coefficients of w², w³ … w⁷ of ψ(a) = Φ(−a), where w = 1 − a/4: the best for a·ψ(a), which is within
2.6·10^-4 everywhere. Their sum is 2^15, so that ψ(0) is ½."""

GELU_TERMS: Final = tuple(term / 2**16 for term in reversed(_BUMP))
"""Of w⁷, w⁶ … w²."""

GELU_SLOPE_TERMS: Final = tuple(
    (power + 1) * (term - after) / 2**16
    for power, term, after in reversed([*zip(range(1, 8), (0, *_BUMP), (*_BUMP, 0), strict=True)])
)
"""Of w⁷, w⁶ … w in the derivative of a·ψ(a): as a = 4·(1 − w), it is ψ − (1 − w)·dψ/dw, and so the coefficient of wᵏ is
(k+1)·(ψ_k − ψ_{k+1})."""
