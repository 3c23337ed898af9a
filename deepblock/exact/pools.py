"""Means over squares and planes (exact: Layers). The maximum is in layers.py.

The slow twins are `avgpool` and `global_avgpool` in `reference.layers`. n integers of 52 − ⌈log2 n⌉ bits stay below
2^51.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepblock.exact.grid import quantise
from deepblock.exact.rows import number, sum_bits


def _mean(x: Tensor, terms: int, sums: tuple[int, ...]) -> Tensor:
    """f32((Σ q · step) / n) + 0.0 over the dimensions `sums`: n terms on each example's grid of 52 − ⌈log2 n⌉ bits."""
    grid = quantise(x, sum_bits(terms), per_example=True)
    integers = grid.q.double().sum(sums, keepdim=True)
    return integers.mul_(grid.step).div_(number(terms, x)).float().add_(0.0)


def _share(gradient: Tensor, terms: int) -> Tensor:
    """f32(dy / n) + 0.0: what each of the n numbers gets of a mean's gradient."""
    return gradient.div(torch.full((), float(terms), device=gradient.device)).add_(0.0)


@dataclass(frozen=True, slots=True)
class AvgPool:
    """The mean of each square of `size`, by an exact sum and one division. dx = dy / size², to each of the square.

    [N, channels, height, width] → [N, channels, height / size, width / size]. An example's grid is its own in training
    too: no sum goes beyond an example.
    """

    size: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, None]:
        examples, channels, height, width = x.shape
        side = self.size
        squares = x.reshape(examples, channels, height // side, side, width // side, side)
        y = _mean(squares, side * side, (3, 5))
        return y.view(examples, channels, height // side, width // side), None

    def backward(self, gradient: Tensor, saved: None, needs_input: bool) -> Tensor | None:
        shares = _share(gradient, self.size * self.size)
        return shares.repeat_interleave(self.size, 2).repeat_interleave(self.size, 3)


@dataclass(frozen=True, slots=True)
class GlobalAvgPool:
    """The mean of each plane: [N, channels, height, width] → [N, channels]. dx = dy / (height·width)."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, torch.Size]:
        return _mean(x, x.shape[2] * x.shape[3], (2, 3)).view(x.shape[:2]), x.shape

    def backward(self, gradient: Tensor, saved: torch.Size, needs_input: bool) -> Tensor | None:
        shares = _share(gradient, saved[2] * saved[3])
        return shares[:, :, None, None].expand(saved)
