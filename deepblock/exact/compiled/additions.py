"""Kernel of additions whose result is never NaN (exact: No NaN): `elementwise.add`, and `reference.layers.add`."""

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.team import span, together

_ZERO = np.float32(0.0)


@part
def _add(index: int, members: int, a: Array, b: Array, y: Array) -> None:
    first, last = span(len(a), index, members)
    a, b, y = a[first:last], b[first:last], y[first:last]
    for i in range(len(a)):
        total = a[i] + b[i]
        y[i] = total + _ZERO if total == total else _ZERO


@kernel("void(int64, float32[::1], float32[::1], float32[::1])")
def add(members: int, a: Array, b: Array, y: Array) -> None:
    """y = a + b, +0 where that is NaN or −0."""
    together(members, _add, (a, b, y))
