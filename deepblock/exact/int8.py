"""The integer product on a GPU's int8 units, with int32 sums: a way (README: Ways).

Gives the integers of `reference.arithmetic.integer_product`. Exact because in a run of 2^16 terms products of digits,
each at most 2^14, add up to less than 2^31. Never on CPUs: without VNNI their int8 GEMM saturates sums of two products
when |q| > 64. Nothing here waits for the device.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from deepblock.exact.ways import EXACT_IN_FLOAT32, check_exact

Int8Matmul = Callable[[Tensor, Tensor], Tensor]
"""int8 [m, k] and [k, n] → int32 [m, n]."""

BASE: Final = 256
"""A digit is in −128 … 127 of this base."""

LONGEST: Final = 1 << 16
"""Terms of one int32 sum: 2^16 · 2^14 < 2^31."""

_MULTIPLE: Final = 8
_FEWEST_ROWS: Final = 24
"""`torch._int_mm` takes k and n in multiples of 8, and more than 16 rows. Zeros are added; they change no sum."""


def matmul(a: Tensor, b: Tensor, bits: int, int8_matmul: Int8Matmul = torch._int_mm) -> Tensor:
    """The integer product of float32 [m, k] and [k, n]: over pairs of digits and over runs of k, added in float64.

    Float32 where one product of two digits gives it all and is below 2^24. Raises InexactError where float64 could
    not hold the sums.
    """
    check_exact(a.shape[1], bits)
    (m, k), n = a.shape, b.shape[1]
    left = digits(pad(a, (0, -k % _MULTIPLE, 0, max(0, _FEWEST_ROWS - m))), bits)
    right = digits(pad(b, (0, -n % _MULTIPLE, 0, -k % _MULTIPLE)), bits)
    if len(left) == 1 and k * (2 ** (bits - 1) - 1) ** 2 < EXACT_IN_FLOAT32:
        return int8_matmul(left[0], right[0])[:m, :n].float()
    total = a.new_zeros((m, n), dtype=torch.float64)
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            for start in range(0, k, LONGEST):
                integers = int8_matmul(x[:, start : start + LONGEST], y[start : start + LONGEST])
                total.add_(integers[:m, :n].double().mul_(float(BASE ** (i + j))))
    return total


def digits(q: Tensor, bits: int) -> list[Tensor]:
    """The digits of q, lowest first, int8: 1 up to 8 bits, 2 up to 15, 3 for 16, whose largest has a carry."""
    found = []
    largest = 2 ** (bits - 1) - 1
    while largest >= BASE // 2:
        high = torch.add(q, BASE // 2).mul_(1.0 / BASE).floor_()
        found.append(torch.sub(q, high, alpha=BASE).to(torch.int8))
        q, largest = high, (largest + BASE // 2) // BASE
    return [*found, q.to(torch.int8)]
