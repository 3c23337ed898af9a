"""Ways of forming an integer product, and which one is taken (README: Ways).

All give the integers of `reference.arithmetic.integer_product`, so the choice is a matter of speed: it may depend on
the device, the shape and even the data. Bounds: in float32 magnitudes that add up to less than 2^24, in float64 to
less than 2^53, in int32 to less than 2^31. Each way checks its own; none is taken on trust.

A *run* is a range of k (of channels, of examples) whose sum fits: where k is too long, runs are added in float64.
A *digit* is a piece of q, to the base 2^8: where q is too wide, products of digits are added, each times its weight.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import chain, islice
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepblock.exact.compiled import grids, sums
from deepblock.exact.compiled.kernel import ON, flat
from deepblock.exact.compiled.team import members


class InexactError(ArithmeticError):
    """The integers of a reduction could exceed what its way of adding holds exactly."""


class Way(Enum):
    FLOAT64 = "float64 GEMM"
    FLOAT32 = "float32 GEMM in runs"
    INT8 = "int8 GEMM of digits"
    DIRECT = "direct float32 convolution of digits"


EXACT_IN_FLOAT32: Final = 1 << 24
EXACT_IN_FLOAT64: Final = 1 << 53
"""Integers up to here are exact. So are sums, in any order, fused or not, whose terms' magnitudes add up to less."""

WHOLE_BITS: Final = 9
"""Up to here q is its own only digit: |q| ≤ 255 has 8 significant bits, which bfloat16 and TF32 units hold as well."""

DIGIT_BITS: Final = 8
TWO_DIGIT_BITS: Final = 16
"""Up to here q is two digits of 8 bits."""


def for_matrices(bits: int, device: torch.device) -> Way:
    """On CPUs float32 is twice as fast as float64; above 9 bits it would take four products of digits, and is not."""
    if device.type == "cpu":
        return Way.FLOAT32 if bits <= WHOLE_BITS else Way.FLOAT64
    return Way.INT8 if device.type == "cuda" and bits <= DIGIT_BITS else Way.FLOAT64


def for_planes(bits: int, x: Tensor) -> Way:
    """Direct convolution is faster even of two digits: there are no patches to write and to read."""
    if x.device.type == "cpu" and bits <= TWO_DIGIT_BITS and x.numel() and torch.backends.mkldnn.enabled:
        return Way.DIRECT
    return for_matrices(bits, x.device)


def check_exact(terms: int, bits: int) -> None:
    """Raises InexactError unless sums of `terms` products of two `bits`-bit integers are exact in float64."""
    if terms << (2 * bits - 2) >= EXACT_IN_FLOAT64:
        raise InexactError(
            f"sums of {terms} products of {bits}-bit integers exceed 2^53; spec.check_bounds refuses such tasks"
        )


_AT_ONCE: Final = 3
"""Products that a kernel adds up at once: those of Karatsuba."""


class Digit(NamedTuple):
    """`values`: integers in float32, of the shape of q, |values| ≤ `peak` ≤ 256. `weight`: what it counts for, or the
    product of two of the kind (`karatsuba`)."""

    values: Tensor
    peak: int
    weight: int


def digits(q: Tensor, bits: int) -> list[Digit]:
    """q = Σ weight · values: q itself, or how often 2^8 is in it, and the rest."""
    if bits <= WHOLE_BITS:
        return [Digit(q, 2 ** (bits - 1) - 1, 1)]
    if bits > TWO_DIGIT_BITS:
        raise InexactError(f"{bits}-bit integers are more than two digits of {DIGIT_BITS} bits")
    base = 1 << DIGIT_BITS
    numbers = flat(q)
    if numbers is not None:
        high, low = torch.empty_like(q), torch.empty_like(q)
        grids.digits(members(len(numbers)), numbers, flat(high), flat(low), base)
        return [Digit(high, base // 2, base), Digit(low, base // 2, 1)]
    high = torch.mul(q, 1.0 / base).round_()
    return [Digit(high, base // 2, base), Digit(torch.sub(q, high, alpha=base), base // 2, 1)]


def karatsuba(q: Tensor, bits: int) -> list[Digit]:
    """Digits for a product, q·q' = Σ weight · values · values': of q = 2^8·h + l three products in place of four,

    q·q' = (2^16 − 2^8)·h·h' + 2^8·(h + l)·(h' + l') − (2^8 − 1)·l·l'.
    """
    if bits <= WHOLE_BITS:
        return digits(q, bits)
    high, low = digits(q, bits)
    base = high.weight
    both = Digit(high.values + low.values, high.peak + low.peak, base)
    return [high._replace(weight=base * base - base), low._replace(weight=1 - base), both]


def runs(magnitudes: Tensor, peak: int) -> Iterator[slice]:
    """Consecutive ranges of k over which Σ_k a[…, k] · b[k, …] is exact in float32, each as long as can be.

    `magnitudes`: |b|, [k, columns], or the sum of a few such: what meets one a. `peak`: no |a| is larger. On a GPU this
    would wait for the device. Raises InexactError where a single k is too much.
    """
    start = 0
    for length in _lengths(magnitudes.double().numpy(), float(-(-EXACT_IN_FLOAT32 // peak))):
        if length == 0:
            raise InexactError(f"products with {peak} exceed 2^24 in a single example or channel")
        yield slice(start, start + int(length))
        start += int(length)


def _lengths(magnitudes: NDArray[np.float64], limit: float) -> Iterable[int]:
    """How many of k each run has; 0 ends them where a single one reaches the limit."""
    if ON:
        yield from sums.run_lengths(np.ascontiguousarray(magnitudes), limit)
        return
    totals = magnitudes.cumsum(0)
    start, before = 0, 0.0
    while start < len(totals):
        length = int(np.searchsorted((totals[start:] - before).max(1), limit))  # of ever longer runs
        yield length
        if length == 0:
            return
        start, before = start + length, totals[start + length - 1]


def add_up(products: Iterator[tuple[Tensor, int]]) -> Tensor:
    """Σ integers · weight, of runs or digits: in float64, but for a single product of weight 1."""
    (total, weight), *others = first = [*islice(products, _AT_ONCE)]
    numbers = [flat(integers) for integers, _ in first]
    if len(first) == _AT_ONCE and all(
        integers.dtype == torch.float32 and integers.stride() == total.stride() and vector is not None
        for (integers, _), vector in zip(first, numbers, strict=True)
    ):
        total = torch.empty_like(total, dtype=torch.float64)
        sums.weighted(members(total.numel()), *numbers, flat(total), *(float(weight) for _, weight in first))
        others = []
    elif weight != 1:
        total = total.double().mul_(weight)
    for integers, weight in chain(others, products):
        total = total.double().add_(integers.double(), alpha=weight)
    return total
