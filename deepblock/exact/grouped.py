"""Convolution in groups of channels (exact: Layers). One group is Conv2d, in layers.py, with the same bits.

The slow twin is `reference.layers.conv2d`, which takes groups too. Products are float64, below 2^53 (`check_exact`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import fold, unfold

from deepblock.exact.grid import quantise
from deepblock.exact.layers import Parameter
from deepblock.exact.product import exact_sum, rescale
from deepblock.exact.ways import check_exact

_Kept = tuple[Tensor, Tensor | float, Tensor, Tensor | float, torch.Size]
"""Patches of x and their step; W as [groups, out / groups, k] and its step; the shape of x."""


@dataclass(frozen=True, slots=True)
class GroupedConv2d:
    """Conv2d whose output o sees only the channels of its group: W [out, channels / groups, kernel, kernel].

    x, W and dy each have one grid, for all groups. The patches of x, [N, groups, k, positions] with
    k = channels / groups · kernel², are multiplied group by group; overlapping patches are added up as integers.
    """

    weight: Parameter
    bias: Parameter
    stride: int
    padding: int
    groups: int
    bits: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, _Kept]:
        grid = quantise(x, self.bits, per_example)
        weight = quantise(self.weight.value, self.bits)
        kernels = weight.q.double().reshape(self.groups, len(weight.q) // self.groups, -1)
        side, pad = self.weight.value.shape[2], self.padding
        height, width = ((length + 2 * pad - side) // self.stride + 1 for length in x.shape[2:])
        patches = unfold(grid.q.double(), side, padding=pad, stride=self.stride)
        patches = patches.view(len(x), self.groups, -1, height * width)
        check_exact(patches.shape[2], self.bits)
        integers = (kernels @ patches).view(len(x), -1, height, width)
        y = rescale(integers, grid.step, weight.step).add_(self.bias.value[:, None, None])
        return y, (patches, grid.step, kernels, weight.step, x.shape)

    def backward(self, gradient: Tensor, saved: _Kept, needs_input: bool) -> Tensor | None:
        patches, x_step, kernels, weight_step, x_shape = saved
        examples, groups, fan_in, positions = patches.shape
        out, _, side, _ = self.weight.value.shape
        dy = quantise(gradient, self.bits)
        outputs = dy.q.double().reshape(examples, groups, -1, positions)
        check_exact(examples * positions, self.bits)
        integers = (outputs @ patches.transpose(2, 3)).sum(0).view(self.weight.value.shape)
        self.weight.gradient.copy_(rescale(integers, dy.step, x_step))
        self.bias.gradient.copy_(exact_sum(gradient, (0, 2, 3)))
        if not needs_input:
            return None
        check_exact(out // groups * side * side, self.bits)
        spread = (kernels.transpose(1, 2) @ outputs).view(examples, groups * fan_in, positions)
        gathered = fold(spread, x_shape[2:], side, padding=self.padding, stride=self.stride)
        return rescale(gathered, dy.step, weight_step)
