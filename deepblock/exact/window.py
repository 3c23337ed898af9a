"""How a kernel moves over a plane: its side, stride and padding, and the sides of what comes out."""

from typing import NamedTuple

import torch


class Window(NamedTuple):
    """A square `kernel` that moves by `stride` over a plane with `padding` zeros on every side."""

    kernel: int
    stride: int
    padding: int

    def output_sides(self, shape: torch.Size) -> list[int]:
        """Height and width of what comes out, for a shape that ends with (height, width)."""
        return [(side + 2 * self.padding - self.kernel) // self.stride + 1 for side in shape[-2:]]
