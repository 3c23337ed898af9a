"""Kernels of GELU (exact: GELU): the polynomials of ../gelu.py, a number at a time as in `reference.layers.gelu`."""

import numpy as np

from deepblock.exact.compiled.kernel import Array, kernel, part
from deepblock.exact.compiled.team import span, together
from deepblock.exact.constants import GELU_REACH, GELU_SLOPE_TERMS, GELU_TERMS, TINY

_REACH = np.float32(GELU_REACH)
_OVER_REACH = np.float32(1.0 / GELU_REACH)
_TINY = np.float32(TINY)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_T = tuple(np.float32(term) for term in GELU_TERMS)
_U = tuple(np.float32(term) for term in GELU_SLOPE_TERMS)


@part
def _values(index: int, members: int, x: Array, y: Array) -> None:
    first, last = span(len(x), index, members)
    x, y = x[first:last], y[first:last]
    for i in range(len(x)):
        a = abs(x[i])
        a = _ZERO if a <= _TINY else a
        reach = _REACH if a > _REACH else a
        w = _ONE - reach * _OVER_REACH
        bump = ((((_T[0] * w + _T[1]) * w + _T[2]) * w + _T[3]) * w + _T[4]) * w + _T[5]
        above = a if x[i] > _ZERO else _ZERO
        y[i] = (above - bump * w * w * reach) + _ZERO


@kernel("void(int64, float32[::1], float32[::1])")
def values(members: int, x: Array, y: Array) -> None:
    """y of x. NaN is not expected."""
    if members == 1:
        _values(0, 1, x, y)
    else:
        together(members, _values, (x, y))


@part
def _slopes(index: int, members: int, x: Array, dy: Array, dx: Array) -> None:
    first, last = span(len(x), index, members)
    x, dy, dx = x[first:last], dy[first:last], dx[first:last]
    for i in range(len(x)):
        a = abs(x[i])
        a = _ZERO if a <= _TINY else a
        reach = _REACH if a > _REACH else a
        w = _ONE - reach * _OVER_REACH
        slope = (((((_U[0] * w + _U[1]) * w + _U[2]) * w + _U[3]) * w + _U[4]) * w + _U[5]) * w + _U[6]
        slope = slope * w
        passed = (_ONE - slope if x[i] > _TINY else slope) * dy[i]
        dx[i] = passed + _ZERO if passed == passed else _ZERO


@kernel("void(int64, float32[::1], float32[::1], float32[::1])")
def slopes(members: int, x: Array, dy: Array, dx: Array) -> None:
    """dx = dy · y' of x, where NaN (Inf · 0) counts as 0."""
    if members == 1:
        _slopes(0, 1, x, dy, dx)
    else:
        together(members, _slopes, (x, dy, dx))
