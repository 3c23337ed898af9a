"""Product and Sum: reductions that are exact in integers, so their order does not matter (exact: Product, Sum).

The slow twins are `product` and `exact_sum` in `reference.arithmetic`. Exact because every sum is an integer below 2^53
(`check_exact`; k · 2^(2·bits−2) for products, n · 2^(51 − ⌈log2 n⌉) for sums), or, in float32, below 2^24; the one
rounding to float32 comes after it.
"""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from deepblock.exact import int8
from deepblock.exact.compiled import sums
from deepblock.exact.compiled.kernel import columns, flat
from deepblock.exact.compiled.team import members
from deepblock.exact.grid import SMALLEST, peak_of, quantise
from deepblock.exact.rows import sum_bits
from deepblock.exact.ways import (
    DIGIT_BITS,
    EXACT_IN_FLOAT32,
    WHOLE_BITS,
    InexactError,
    Way,
    add_up,
    check_exact,
    for_matrices,
    runs,
)

_NO_BIAS: Final = np.zeros(1, np.float32)

_PLAIN_STEP: Final = 2.0**100
"""An integer below 2^24 times at most this is a float32."""

SUMMED_AT_A_TIME: Final = 1 << 17
"""Numbers that a sum on the CPU converts to float64 at a time."""

_ROWS: Final = {2: (0,), 3: (0, 1), 4: (0, 2, 3)}
"""All dimensions of a tensor but that of its features or channels, by their number."""

_UNCLAMPED: Final = 25
"""On grids of so many bits, a float32, of 24 significant bits, cannot be rounded beyond the largest integer."""

_LARGEST_STEP: Final = 2.0**127
"""The largest power of two in float32."""


def matmul(a: Tensor, b: Tensor, bits: int, way: Way | None = None) -> Tensor:
    """The integer matrix product of two grids' q, [m, k] and [k, n]: float32 or float64, whichever held it.

    `bits`: of the finer grid. `way` overrules the choice. Raises InexactError where that way could round.
    """
    match way or for_matrices(bits, a.device):
        case Way.FLOAT32:
            return _float32(a, b, bits)
        case Way.INT8:
            return int8.matmul(a, b, bits)
        case Way.FLOAT64:
            return _float64(a, b, bits)
        case other:
            raise InexactError(f"{other} is no way of multiplying matrices")


def _float64(a: Tensor, b: Tensor, bits: int) -> Tensor:
    """The obvious way: every sum is an integer below k · 2^(2·bits−2), which has to be < 2^53."""
    check_exact(a.shape[1], bits)
    return a.double() @ b.double()


def _float32(a: Tensor, b: Tensor, bits: int) -> Tensor:
    """In as many runs of k as it takes for the sums of each to stay below 2^24; those are added in float64.

    Up to 9 bits: float32 units that round operands to bfloat16 or TF32 leave such integers as they are.
    """
    if bits > WHOLE_BITS:
        raise InexactError(
            f"integers of {bits} bits are not multiplied in float32, whose units may keep {DIGIT_BITS} significant "
            f"bits: {WHOLE_BITS} bits at most; take Way.FLOAT64"
        )
    check_exact(a.shape[1], bits)
    peak = 2 ** (bits - 1) - 1
    if a.shape[1] * peak * peak < EXACT_IN_FLOAT32:
        return a @ b
    found = runs(b.abs() if b.shape[1] < a.shape[0] else a.abs().T, peak)
    return add_up((a[:, run] @ b[run], 1) for run in found)


def rescale(
    integers: Tensor, step_a: Tensor | float, step_b: Tensor | float, bias: Tensor | None = None
) -> Tensor:
    """f32(integers · step_a · step_b) + bias, or + 0.0 without one: the product's value. Overwrites `integers`.

    `integers`: float32 of at most 2^24, or float64. `bias`: [features], or [channels] of planes; never −0, so that it
    makes +0 of −0 as +0.0 does.

    Float32 integers times a power of two from 2^-108 on, as steps are, are exact (barring overflow); float64 ones round
    once, to float32. Then the bias is added; of float32 integers it makes no difference whether that is fused.
    """
    step = step_a * step_b
    compiled = _rescaled_by_kernel(integers, step, bias)
    if compiled is not None:
        return compiled
    if bias is not None and integers.dim() == 4:
        bias = bias[:, None, None]
    added = 0.0 if bias is None else bias
    if integers.dtype == torch.float64:
        return integers.mul_(step).float().add_(added)
    if isinstance(step, float) and step <= _PLAIN_STEP:  # in one pass
        return torch.add(torch.as_tensor(added, dtype=torch.float32), integers, alpha=step, out=integers)
    # Two factors that float32 holds; only what overflows anyhow overflows at the first.
    step = torch.as_tensor(step, dtype=torch.float64, device=integers.device)
    first = step.clamp(max=_LARGEST_STEP)
    return integers.mul_(first.float()).mul_((step / first).float()).add_(added)


def _rescaled_by_kernel(integers: Tensor, step: Tensor | float, bias: Tensor | None) -> Tensor | None:
    """`rescale`, where a kernel can do it; else None."""
    numbers = columns(integers)
    if numbers is None or not isinstance(step, float):
        return None
    row = _NO_BIAS if bias is None else bias.numpy()
    if integers.dtype == torch.float64:
        y = torch.empty_like(integers, dtype=torch.float32)
        sums.rescale_wide(members(len(numbers)), numbers, y.numpy().ravel("K"), step, row)
        return y
    if step > _PLAIN_STEP:
        return None
    sums.rescale(members(len(numbers)), numbers, step, row)
    return integers


def rescale_into(target: Tensor, integers: Tensor, step_a: Tensor | float, step_b: Tensor | float) -> None:
    """Writes `rescale(integers, step_a, step_b)` into a gradient. May overwrite `integers`."""
    step = step_a * step_b
    numbers, gradient = flat(integers), flat(target)
    if (
        numbers is None
        or gradient is None
        or integers.stride() != target.stride()
        or not isinstance(step, float)
    ):
        target.copy_(rescale(integers, step_a, step_b))
        return
    kernel = sums.rescale_wide if integers.dtype == torch.float64 else sums.rescale_apart
    kernel(members(len(numbers)), numbers, gradient, step, _NO_BIAS)


def exact_sum(x: Tensor, dims: tuple[int, ...], peak: float | None = None) -> Tensor:
    """f32(Σ x) + 0.0 over `dims`, float32: n terms on one grid of 52 − ⌈log2 n⌉ bits, summed as integers.

    `peak`: `peak_of(x)`, if it is known.
    """
    terms = 1
    for dim in dims:
        terms *= x.shape[dim]
    bits = sum_bits(terms)
    if peak is None:
        peak = peak_of(x)
    numbers = columns(x)
    if numbers is not None and dims == _ROWS.get(x.dim()) and bits >= _UNCLAMPED:
        assert peak is not None
        last = 1 if x.dim() == 4 else -1
        if not SMALLEST <= peak < math.inf:
            return x.new_zeros(x.shape[last])
        scale = math.ldexp(1.0, bits - 1 - math.frexp(peak)[1])
        return torch.from_numpy(sums.column_sums(members(len(numbers)), numbers, x.shape[last], scale))
    blocks = x.split(_block(x)) if peak is not None and 0 in dims and x.numel() else (x,)
    integers, step = _summed(blocks[0], dims, bits, peak)
    for block in blocks[1:]:
        integers.add_(_summed(block, dims, bits, peak)[0])
    return integers.mul_(step).float().add_(0.0)


def _summed(x: Tensor, dims: tuple[int, ...], bits: int, peak: float | None) -> tuple[Tensor, Tensor | float]:
    grid = quantise(x, bits, peak=peak)
    return grid.q.double().sum(dims), grid.step


def _block(x: Tensor) -> int:
    """How many of x[i] a processor's cache holds, about."""
    return max(1, SUMMED_AT_A_TIME * len(x) // x.numel())
