"""Kernels of ReLU and max-pooling in one, by squares of 2 × 2, for planes with their channels last: as `relu` after
`maxpool` in `reference.layers`. There are only comparisons.

Planes come as lines, [N · height, width · channels]. Loops are short, each with few arrays and numbers of one size, so
that LLVM makes vector instructions of all of them. Places in a square are 0, 1, 2 and 3, in row-major order, and 4
where the maximum is not above 0.
"""

from typing import Final

import numpy as np
from torch import Tensor

from deepblock.exact.compiled.kernel import Array, columns, kernel, part
from deepblock.exact.compiled.team import span, together

_0: Final = np.float32(0.0)
_1: Final = np.float32(1.0)
_2: Final = np.float32(2.0)
_3: Final = np.float32(3.0)
_4: Final = np.float32(4.0)


def lines(x: Tensor) -> Array | None:
    """[N · height, width · channels] of planes, in their memory; None where that is not its order."""
    numbers = columns(x)
    return None if numbers is None else numbers.reshape(len(x) * x.shape[2], -1)


@part
def _higher(upper: Array, lower: Array, best: Array, place: Array) -> None:
    """The larger of two lines, column by column, and its place: 0 or 2."""
    for i in range(len(best)):
        below = lower[i] > upper[i]
        best[i] = lower[i] if below else upper[i]
        place[i] = _2 if below else _0


@part
def _largest(left: Array, right: Array, y: Array) -> None:
    for i in range(len(y)):
        best = right[i] if right[i] > left[i] else left[i]
        y[i] = best if best > _0 else _0


@part
def _first(left: Array, right: Array, left_place: Array, right_place: Array, y: Array, place: Array) -> None:
    """The place of the first of a square that is y."""
    for i in range(len(y)):
        beside = right_place[i] + _1
        earlier = (right[i] > left[i]) | ((right[i] == left[i]) & (beside < left_place[i]))
        at = beside if earlier else left_place[i]
        place[i] = at if y[i] > _0 else _4


@part
def _cast(numbers: Array, to: Array) -> None:
    for i in range(len(to)):
        to[i] = numbers[i]


@part
def _pooled(index: int, members: int, x: Array, y: Array, chosen: Array, channels: int) -> None:
    rows, length = y.shape
    first, last = span(rows, index, members)
    best, place = np.empty(2 * length, np.float32), np.empty(2 * length, np.float32)
    places = np.empty(length, np.float32)
    for row in range(first, last):
        _higher(x[2 * row], x[2 * row + 1], best, place)
        out = y[row]
        for start in range(0, length, channels):
            left, middle, right = 2 * start, 2 * start + channels, 2 * start + 2 * channels
            here = out[start : start + channels]
            _largest(best[left:middle], best[middle:right], here)
            _first(
                best[left:middle],
                best[middle:right],
                place[left:middle],
                place[middle:right],
                here,
                places[start : start + channels],
            )
        _cast(places, chosen[row])


@kernel("void(int64, float32[:, ::1], float32[:, ::1], uint8[:, ::1], int64)")
def forward(members: int, x: Array, y: Array, chosen: Array, channels: int) -> None:
    """y = max(0, the largest of each square), and which of the four it is."""
    together(members, _pooled, (x, y, chosen, channels))


@part
def _passed(dy: Array, place: Array, own: np.float32, dx: Array) -> None:
    for i in range(len(dx)):
        dx[i] = dy[i] if place[i] == own else _0


@part
def _placed(index: int, members: int, dy: Array, chosen: Array, dx: Array, channels: int) -> None:
    rows, length = dy.shape
    first, last = span(rows, index, members)
    places = np.empty(length, np.float32)
    for row in range(first, last):
        _cast(chosen[row], places)
        given, upper, lower = dy[row], dx[2 * row], dx[2 * row + 1]
        for start in range(0, length, channels):
            left, middle, right = 2 * start, 2 * start + channels, 2 * start + 2 * channels
            here, place = given[start : start + channels], places[start : start + channels]
            _passed(here, place, _0, upper[left:middle])
            _passed(here, place, _1, upper[middle:right])
            _passed(here, place, _2, lower[left:middle])
            _passed(here, place, _3, lower[middle:right])


@kernel("void(int64, float32[:, ::1], uint8[:, ::1], float32[:, ::1], int64)")
def backward(members: int, dy: Array, chosen: Array, dx: Array, channels: int) -> None:
    """dx: dy at the chosen places, +0 elsewhere."""
    together(members, _placed, (dy, chosen, dx, channels))
