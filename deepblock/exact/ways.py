"""Ways of forming an integer product, the bounds that make them exact, and which one is taken (README: Ways).

All of them give the same integers, so the choice is a matter of speed: it may depend on the device, the shape
and even the data. Each way checks its bound, and none is taken on trust.
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
    INT8 = "int8 GEMM of slices"
    DIRECT = "direct float32 convolution of slices"


EXACT_IN_FLOAT32: Final = 1 << 24
EXACT_IN_FLOAT64: Final = 1 << 53
"""Integers up to here are exact. So are sums, in any order, fused or not, whose terms' magnitudes add up to less."""

WHOLE_BITS: Final = 9
"""Up to here a tensor is one slice: |q| ≤ 255 has 8 digits, which bfloat16 and TF32 units hold as well."""

SLICE_BITS: Final = 8
SLICED_BITS: Final = 16
"""Up to here it is two digits of 8 bits."""


def for_matrices(bits: int, device: torch.device) -> Way:
    """Float32 is twice as fast as float64 on CPUs, but four products of slices are not."""
    if device.type == "cpu":
        return Way.FLOAT32 if bits <= WHOLE_BITS else Way.FLOAT64
    return Way.INT8 if device.type == "cuda" and bits <= SLICE_BITS else Way.FLOAT64


def for_planes(bits: int, x: Tensor) -> Way:
    """Direct convolution is faster even in four slices: there are no patches to write and to read."""
    if x.device.type == "cpu" and bits <= SLICED_BITS and x.numel() and torch.backends.mkldnn.enabled:
        return Way.DIRECT
    return for_matrices(bits, x.device)


def check_exact(terms: int, bits: int) -> None:
    """Raises InexactError unless sums of `terms` products of two `bits`-bit integers are exact in float64."""
    if terms << (2 * bits - 2) >= EXACT_IN_FLOAT64:
        raise InexactError(
            f"sums of {terms} products of {bits}-bit integers exceed 2^53; check_bounds refuses such tasks"
        )


_AT_ONCE: Final = 3
"""Parts that a kernel adds up at once: those of Karatsuba."""


class Slice(NamedTuple):
    """`part`: integers in float32, |part| ≤ `peak` ≤ 256. `weight`: what it, or a product of two, counts for."""

    part: Tensor
    peak: int
    weight: int


def digits(q: Tensor, bits: int) -> list[Slice]:
    """q = Σ weight · part: itself, or a multiple of 2^8 and the rest."""
    if bits <= WHOLE_BITS:
        return [Slice(q, 2 ** (bits - 1) - 1, 1)]
    if bits > SLICED_BITS:
        raise InexactError(f"{bits}-bit integers are more than two digits of {SLICE_BITS} bits")
    base = 1 << SLICE_BITS
    numbers = flat(q)
    if numbers is not None:
        high, low = torch.empty_like(q), torch.empty_like(q)
        grids.digits(members(len(numbers)), numbers, flat(high), flat(low), base)
        return [Slice(high, base // 2, base), Slice(low, base // 2, 1)]
    high = torch.mul(q, 1.0 / base).round_()
    return [Slice(high, base // 2, base), Slice(torch.sub(q, high, alpha=base), base // 2, 1)]


def factors(q: Tensor, bits: int) -> list[Slice]:
    """q·q' = Σ weight · part · part': with digits q = 2^8·h + l three products in place of four (Karatsuba),

    q·q' = (2^16 − 2^8)·h·h' + 2^8·(h + l)·(h' + l') − (2^8 − 1)·l·l'.
    """
    if bits <= WHOLE_BITS:
        return digits(q, bits)
    high, low = digits(q, bits)
    base = high.weight
    both = Slice(high.part + low.part, high.peak + low.peak, base)
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


def add_up(parts: Iterator[tuple[Tensor, int]]) -> Tensor:
    """Σ integers · weight: in float64, but for a single part of weight 1."""
    (total, weight), *others = first = [*islice(parts, _AT_ONCE)]
    numbers = [flat(part) for part, _ in first]
    if len(first) == _AT_ONCE and all(
        part.dtype == torch.float32 and part.stride() == total.stride() and vector is not None
        for (part, _), vector in zip(first, numbers, strict=True)
    ):
        total = torch.empty_like(total, dtype=torch.float64)
        sums.weighted(members(total.numel()), *numbers, flat(total), *(float(weight) for _, weight in first))
        others = []
    elif weight != 1:
        total = total.double().mul_(weight)
    for integers, weight in chain(others, parts):
        total = total.double().add_(integers.double(), alpha=weight)
    return total
