"""Kernels of the update (exact: Update), as in ../elementwise.py and `reference.arithmetic`; of the batch."""

from typing import Final

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.team import span, together
from deepblock.exact.constants import LIMIT, TINY

_LIMIT: Final = np.float32(LIMIT)
_TINY: Final = np.float32(TINY)
_NOTHING: Final = np.float32(0.0)


@part
def _settled(x: np.float32) -> np.float32:
    x = _LIMIT if x > _LIMIT else x
    x = -_LIMIT if x < -_LIMIT else x
    return _NOTHING if abs(x) < _TINY else x


@part
def _updated(
    index: int, members: int, w: Array, v: Array, g: Array, lr: np.float32, mu: np.float32, decay: np.float32
) -> None:
    first, last = span(len(w), index, members)
    w, v, g = w[first:last], v[first:last], g[first:last]
    for i in range(len(w)):
        moved = v[i] * mu + (w[i] * decay + g[i])
        v[i] = _settled(moved)
        w[i] = _settled(w[i] - moved * lr)


@kernel("void(int64, float32[::1], float32[::1], float32[::1], float64, float64, float64)")
def sgd(members: int, w: Array, v: Array, g: Array, lr: float, mu: float, decay: float) -> None:
    """u = decay·w + g, v = μ·v + u, w = w − lr·v, in place; then w and v settle."""
    rates = np.float32(lr), np.float32(mu), np.float32(decay)
    together(members, _updated, (w, v, g, rates[0], rates[1], rates[2]))


@kernel("void(uint8[:, ::1], int64[::1], float32[::1], float32[:, ::1])")
def gather(examples: Array, indices: Array, values: Array, inputs: Array) -> None:
    """inputs[i] = the values of the bytes of examples[indices[i]]."""
    for row in range(len(indices)):
        example, out = examples[indices[row]], inputs[row]
        for i in range(len(out)):
            out[i] = values[example[i]]
