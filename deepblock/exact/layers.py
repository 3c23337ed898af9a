"""Layers, forward and backward (exact: Layers).

Tensors are float32 [N, features], [N, channels, height, width] or [N, tokens, features].

A layer's `forward` gives its output and what `backward` needs; `backward` takes the loss's gradient with respect
to the output, writes those of its parameters, and gives that with respect to the input if it `needs_input`.

Planes are kept in channels-last memory order: a patch is then k runs of k·channels numbers, and a convolution is one
matrix product without transposing anything. That is a matter of speed; no value depends on it.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

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
    """y = x ⊗ Wᵀ + b, with W [out, in]. dW = dyᵀ ⊗ x, db = Sum dy over examples, dx = dy ⊗ W.

    x is [N, in], or [N, tokens, in] with each token as an example of its own, but for the grids.
    """

    weight: Parameter
    bias: Parameter
    bits: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        grid = quantise(x, self.bits, per_example)
        weight = quantise(self.weight.value, self.bits)
        integers = matmul(grid.q.reshape(-1, x.shape[-1]), weight.q.T, self.bits)
        y = rescale(integers.view(*x.shape[:-1], -1), grid.step, weight.step)
        return y.add_(self.bias.value), (grid, weight)

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        x, weight = saved
        dy = quantise(gradient, self.bits)
        rows = dy.q.reshape(-1, gradient.shape[-1])
        integers = matmul(rows.T, x.q.reshape(-1, x.q.shape[-1]), self.bits)
        self.weight.gradient.copy_(rescale(integers, dy.step, x.step))
        self.bias.gradient.copy_(exact_sum(gradient, tuple(range(gradient.dim() - 1))))
        if not needs_input:
            return None
        return rescale(matmul(rows, weight.q, self.bits).view(x.q.shape), dy.step, weight.step)


@dataclass(frozen=True, slots=True)
class Conv2d:
    """y[n,o,i,j] = Σ_{c,a,b} x[n, c, stride·i + a − padding, stride·j + b − padding] ⊗ W[o,c,a,b] + bias[o].

    x is zero outside. One product with the patches of x: k = channels · kernel². dW sums dy ⊗ x over examples and
    positions; dx sums dy ⊗ W over outputs and the patches that a pixel is in, as integers; each rounds once.
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
        """[N, channels, height, width] → a view [N, height', width', kernel, kernel, channels] of padded planes."""
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
    """max(x, 0) + 0.0 (so never −0). The gradient passes where x > 0, else it is +0."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        y = x.clamp_min(0.0).add_(0.0)
        return y, y

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        passed: Tensor = torch.ops.aten.threshold_backward(gradient, saved, 0.0)
        return passed


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The first maximum, in row-major order, of each square of `size`, + 0.0; it alone gets the gradient."""

    size: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        y, chosen = max_pool2d(x, self.size, return_indices=True)
        return y.add_(0.0), (x, chosen)

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        x, chosen = saved
        size = [self.size, self.size]
        placed: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, x, size, size, [0, 0], [1, 1], False, chosen
        )
        return placed


@dataclass(frozen=True, slots=True)
class Flatten:
    """[N, …] → [N, features], in row-major order of (channels, height, width)."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        return x.reshape(len(x), -1), x.shape

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        return gradient.reshape(saved)
