"""Kernel of the gradient of an embedding (exact: Sum): as in ../tokens.py, and `reference.layers`."""

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.rows import on_grid, power, scale_of, step_of
from deepblock.exact.compiled.team import span, together

_ZERO = np.float32(0.0)


@part
def _sums(
    index: int, members: int, dy: Array, tokens: Array, scale: np.float32, limit: np.float32, sums: Array
) -> None:
    first, last = span(dy.shape[1], index, members)
    for place in range(len(tokens)):
        own, total = dy[place, first:last], sums[tokens[place], first:last]
        for i in range(len(own)):
            total[i] += on_grid(own[i], scale, limit)


@kernel("void(int64, float32[:,::1], int64[::1], float64, int64, float32[:,::1])")
def gradient(members: int, dy: Array, tokens: Array, peak: float, bits: int, into: Array) -> None:
    """Sums of dy [n, features] over the places of each token; `peak`: max|dy|. Members share out the features."""
    scale = scale_of(np.float32(peak).view(np.int32), bits)
    sums = np.zeros(into.shape)
    if scale > 0.0:
        together(members, _sums, (dy, tokens, np.float32(scale), np.float32(power(bits - 1) - 1.0), sums))
    step = step_of(scale)
    for token in range(len(into)):
        for i in range(into.shape[1]):
            into[token, i] = np.float32(sums[token, i] * step) + _ZERO
