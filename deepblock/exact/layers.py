"""Layers, forward and backward (exact: Layers). Tensors are float32 [N, features] or [N, channels, height, width].

A layer's `forward` gives its output and what `backward` needs; `backward` takes the loss's gradient with respect to
the output, writes those of its parameters, and gives that with respect to the input (if `needs_input` is set).

Planes are kept in channels-last memory order: a patch is then k runs of k·channels numbers, and a convolution is one
matrix product without transposing anything. That is a matter of speed; no value depends on it.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from deepblock.exact.grid import quantise
from deepblock.exact.product import check_exact, exact_sum, matmul, rescale

Saved = Any
"""What a layer keeps from its forward pass for its backward pass."""


class Layer(Protocol):
    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]: ...

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None: ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """A trainable tensor and where its gradient goes, both float32 of one shape."""

    value: Tensor
    gradient: Tensor


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x ⊗ Wᵀ + b, with W [out, in]. dW = dyᵀ ⊗ x, db = Sum dy over examples, dx = dy ⊗ W."""

    weight: Parameter
    bias: Parameter
    bits: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        grid = quantise(x, self.bits, per_example)
        weight = quantise(self.weight.value, self.bits)
        y = rescale(matmul(grid.q, weight.q.T, self.bits), grid.step, weight.step)
        return y.add_(self.bias.value), (grid, weight)

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        x, weight = saved
        dy = quantise(gradient, self.bits)
        self.weight.gradient.copy_(rescale(matmul(dy.q.T, x.q, self.bits), dy.step, x.step))
        self.bias.gradient.copy_(exact_sum(gradient, (0,)))
        if not needs_input:
            return None
        return rescale(matmul(dy.q, weight.q, self.bits), dy.step, weight.step)


@dataclass(frozen=True, slots=True)
class Conv2d:
    """y[n,o,i,j] = Σ_{c,a,b} x[n, c, stride·i + a − padding, stride·j + b − padding] ⊗ W[o,c,a,b] + bias[o]; x is zero outside.

    One product with the patches of x: k = channels · kernel². dW sums dy ⊗ x over examples and positions; dx sums
    dy ⊗ W over outputs and all the patches that a pixel is in, as integers, and rounds once.
    """

    weight: Parameter
    bias: Parameter
    stride: int
    padding: int
    bits: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        grid = quantise(x, self.bits, per_example)
        weight = quantise(self.weight.value, self.bits)
        patches = self._patches(grid.q)
        examples, height, width = patches.shape[:3]
        rows = patches.reshape(examples * height * width, -1)
        kernels = weight.q.permute(0, 2, 3, 1).reshape(weight.q.shape[0], -1)
        integers = matmul(rows, kernels.T, self.bits).view(examples, height, width, -1).permute(0, 3, 1, 2)
        y = rescale(integers, grid.step, weight.step).add_(self.bias.value[:, None, None])
        return y, (rows, grid.step, kernels, weight.step, x.shape)

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        rows, x_step, kernels, weight_step, x_shape = saved
        dy = quantise(gradient, self.bits)
        columns = dy.q.permute(0, 2, 3, 1).reshape(rows.shape[0], -1)
        out, channels, side, _ = self.weight.value.shape
        integers = matmul(columns.T, rows, self.bits).view(out, side, side, channels).permute(0, 3, 1, 2)
        self.weight.gradient.copy_(rescale(integers, dy.step, x_step))
        self.bias.gradient.copy_(exact_sum(gradient, (0, 2, 3)))
        if not needs_input:
            return None
        check_exact(out * side * side, self.bits)
        spread = matmul(columns, kernels, self.bits)
        return rescale(self._gather(spread, x_shape, gradient.shape), dy.step, weight_step)

    def _patches(self, q: Tensor) -> Tensor:
        """[N, channels, height, width] → a view [N, height', width', kernel, kernel, channels] of the padded planes."""
        examples, channels, height, width = q.shape
        pad, side = self.padding, self.weight.value.shape[2]
        padded = q.new_zeros(examples, height + 2 * pad, width + 2 * pad, channels)
        padded[:, pad : pad + height, pad : pad + width] = q.permute(0, 2, 3, 1)
        return padded.unfold(1, side, self.stride).unfold(2, side, self.stride).permute(0, 1, 2, 4, 5, 3)

    def _gather(self, spread: Tensor, x_shape: torch.Size, y_shape: torch.Size) -> Tensor:
        """Adds up, for each pixel, its integers from the patches that it is in: [N, channels, height, width]."""
        examples, channels, height, width = x_shape
        rows, columns = y_shape[2:]
        pad, side, stride = self.padding, self.weight.value.shape[2], self.stride
        spread = spread.view(examples, rows, columns, side, side, channels)
        padded = spread.new_zeros(examples, height + 2 * pad, width + 2 * pad, channels)
        for a in range(side):
            for b in range(side):
                reached = padded[:, a : a + stride * rows : stride, b : b + stride * columns : stride]
                reached.add_(spread[:, :, :, a, b])
        return padded[:, pad : pad + height, pad : pad + width].permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class ReLU:
    """x where x > 0, else +0. The gradient passes where x > 0."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        positive = x > 0
        return torch.where(positive, x, 0.0), positive

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        return torch.where(saved, gradient, 0.0)


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The first maximum, in row-major order, of each square of `size`; it alone gets the gradient.

    A value replaces the best so far only if it is greater, so equal ones (−0 and +0 too) leave the first.
    """

    size: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        places = self._places(x)
        best = places[0]
        chosen = torch.zeros_like(best, dtype=torch.uint8)
        for place, value in enumerate(places[1:], start=1):
            greater = value > best
            best = torch.where(greater, value, best)
            chosen.masked_fill_(greater, place)
        return best.add(0.0), (chosen, x.shape)

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        chosen, shape = saved
        dx = torch.empty(
            shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
        )
        for place, target in enumerate(self._places(dx)):
            target.copy_(torch.where(chosen == place, gradient, 0.0))
        return dx

    def _places(self, x: Tensor) -> list[Tensor]:
        """Views [N, channels, height/size, width/size] of x: the first pixel of each square, the second, …"""
        return [x[:, :, a :: self.size, b :: self.size] for a in range(self.size) for b in range(self.size)]


@dataclass(frozen=True, slots=True)
class Flatten:
    """[N, …] → [N, features], in row-major order of (channels, height, width)."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        return x.reshape(len(x), -1), x.shape

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        return gradient.reshape(saved)
