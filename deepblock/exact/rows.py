"""Sums over the last dimension, each row on a grid of its own, so that no row depends on another (exact: Sum).

The slow twin is `reference.arithmetic.exact_sum`, a row at a time. n integers of 52 − ⌈log2 n⌉ bits stay below 2^51.
"""

import torch
from torch import Tensor

from deepblock.exact.grid import Grid, quantise


def row_grid(x: Tensor, bits: int) -> Grid:
    """The grid of each row. q: float64 of x's shape; step: [..., 1]. A row with NaN or Inf is all zeros."""
    grid = quantise(x.reshape(-1, x.shape[-1]), bits, per_example=True)
    return Grid(grid.q.double().view(x.shape), torch.as_tensor(grid.step).view(*x.shape[:-1], 1))


def sum_bits(terms: int) -> int:
    """Of the grid that so many numbers are added on: 52 − ⌈log2 n⌉."""
    return 52 - max(0, terms - 1).bit_length()


def row_sums(x: Tensor) -> Tensor:
    """Σ x over the last dimension, of n numbers, on grids of 52 − ⌈log2 n⌉ bits: float64 [..., 1]."""
    grid = row_grid(x, sum_bits(x.shape[-1]))
    return grid.q.sum(-1, keepdim=True).mul_(grid.step)


def number(value: float, like: Tensor) -> Tensor:
    """A float64 scalar on the device of `like`, to divide by: division by a Python number is not a division there."""
    return torch.full((), value, dtype=torch.float64, device=like.device)
