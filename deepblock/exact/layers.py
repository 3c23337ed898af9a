"""Linear, Conv2d, ReLU, MaxPool and Flatten, forward and backward (exact: Layers).

The slow twins are the functions of those names in `reference.layers`. Nothing here adds up numbers but `matmul`,
`convolution` and `exact_sum`, which check their bounds; the rest are comparisons and moves.

Tensors are float32 [N, features], [N, channels, height, width] or [N, tokens, features]. A layer's `forward` gives its
output and what `backward` needs; `backward` takes the loss's gradient with respect to the output, writes those of its
parameters, and gives that with respect to the input if it `needs_input`. Planes are kept in channels-last memory order,
which is faster; no value depends on it.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, threshold

from deepblock.exact import convolution
from deepblock.exact.compiled import pools
from deepblock.exact.compiled.team import members
from deepblock.exact.grid import Grid, peak_of, quantise
from deepblock.exact.product import exact_sum, matmul, rescale, rescale_into
from deepblock.exact.ways import Way, for_matrices
from deepblock.exact.window import Window

Saved = Any
"""What a layer's `forward` keeps for its own `backward`, and nobody else looks at. Each layer's signature says
what that is; it is Any only where layers of all kinds meet: in the protocol below, and in a chain."""


class Layer(Protocol):
    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Saved]:
        """y, and what `backward` needs. `per_example`: each x[n] has a grid of its own, as in scoring and frozen
        layers; else the batch shares one, as in training."""

    def backward(self, gradient: Tensor, saved: Saved, needs_input: bool) -> Tensor | None:
        """dx, of the shape of x, from dy, of the shape of y; None if nobody `needs_input`.

        Only after a `forward` without `per_example`: a sum over examples needs one step for all of them."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A trainable tensor and where its gradient goes, both float32 of one shape."""

    value: Tensor
    gradient: Tensor


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x ⊗ Wᵀ + b, with W [out, in]. dW = dyᵀ ⊗ x, db = Sum dy over examples, dx = dy ⊗ W.

    x is [N, in], or [N, tokens, in] with each token as an example of its own, but for the grids. `gradient_bits`: of
    dy's grid, where that is finer than x's and W's.
    """

    weight: Parameter
    bias: Parameter
    bits: int
    gradient_bits: int = field(default=0, kw_only=True)

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Grid]:
        wide = for_matrices(self.bits, x.device) is Way.FLOAT64
        grid = quantise(x, self.bits, per_example, wide=wide)
        weight = quantise(self.weight.value, self.bits, wide=wide)
        integers = matmul(grid.q.reshape(-1, x.shape[-1]), weight.q.T, self.bits).view(*x.shape[:-1], -1)
        return rescale(integers, grid.step, weight.step, self.bias.value), grid

    def backward(self, gradient: Tensor, saved: Grid, needs_input: bool) -> Tensor | None:
        """`saved`: the grid of x. To put the weights on theirs again takes less than to keep what may be most of the
        memory."""
        x = saved
        peak = peak_of(gradient)
        self.bias.gradient.copy_(exact_sum(gradient, tuple(range(gradient.dim() - 1)), peak))
        bits = max(self.bits, self.gradient_bits)
        wide = for_matrices(bits, gradient.device) is Way.FLOAT64
        dy = quantise(gradient, bits, peak=peak, wide=wide)
        rows = dy.q.reshape(-1, gradient.shape[-1])
        integers = matmul(rows.T, x.q.reshape(-1, x.q.shape[-1]), bits)
        rescale_into(self.weight.gradient, integers, dy.step, x.step)
        if not needs_input:
            return None
        del integers
        weight = quantise(self.weight.value, self.bits, wide=wide)
        return rescale(matmul(rows, weight.q, bits).view(x.q.shape), dy.step, weight.step)


@dataclass(frozen=True, slots=True)
class Conv2d:
    """y[n,o,i,j] = Σ_{c,a,b} x[n, c, stride·i + a − padding, stride·j + b − padding] ⊗ W[o,c,a,b] + bias[o].

    x: [N, channels, height, width], zero outside; W: [out, channels, kernel, kernel]; y: [N, out, height', width'].

    dW sums dy ⊗ x over examples and positions; dx sums dy ⊗ W over outputs and the patches that a pixel is in. Each of
    the three is one product, of integers, and rounds once.
    """

    weight: Parameter
    bias: Parameter
    stride: int
    padding: int
    bits: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, tuple[Grid, Grid]]:
        grid = quantise(x, self.bits, per_example)
        weight = quantise(self.weight.value, self.bits)
        integers = convolution.forward(grid.q, weight.q, self._window, self.bits)
        return rescale(integers, grid.step, weight.step, self.bias.value), (grid, weight)

    def backward(self, gradient: Tensor, saved: tuple[Grid, Grid], needs_input: bool) -> Tensor | None:
        """`saved`: the grids of x and W."""
        x, weight = saved
        peak = peak_of(gradient)
        self.bias.gradient.copy_(exact_sum(gradient, (0, 2, 3), peak))
        dy = quantise(gradient, self.bits, peak=peak)
        integers = convolution.weight_gradient(dy.q, x.q, weight.q, self._window, self.bits)
        rescale_into(self.weight.gradient, integers, dy.step, x.step)
        if not needs_input:
            return None
        integers = convolution.input_gradient(dy.q, weight.q, x.q, self._window, self.bits)
        return rescale(integers, dy.step, weight.step)

    @property
    def _window(self) -> Window:
        return Window(self.weight.value.shape[2], self.stride, self.padding)


@dataclass(frozen=True, slots=True)
class ReLU:
    """max(x, 0) + 0.0 (so never −0). The gradient passes where x > 0, else it is +0."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Tensor]:
        y = threshold(x, 0.0, 0.0)  # 0.0 in place of whatever is not above 0.0, so of −0 too
        return y, y

    def backward(self, gradient: Tensor, saved: Tensor, needs_input: bool) -> Tensor:
        """`saved`: y."""
        passed: Tensor = torch.ops.aten.threshold_backward(gradient, saved, 0.0)
        return passed


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The first maximum, in row-major order, of each square of `size`, + 0.0; it alone gets the gradient.

    [N, channels, height, width] → [N, channels, height / size, width / size].
    """

    size: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, chosen = max_pool2d(x, self.size, return_indices=True)
        return y.add_(0.0), (x, chosen)

    def backward(self, gradient: Tensor, saved: tuple[Tensor, Tensor], needs_input: bool) -> Tensor | None:
        """`saved`: x, and where in its plane each maximum was."""
        x, chosen = saved
        size = [self.size, self.size]
        order = (
            torch.channels_last
            if x.is_contiguous(memory_format=torch.channels_last)
            else torch.contiguous_format
        )
        placed: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient.contiguous(memory_format=order), x, size, size, [0, 0], [1, 1], False, chosen
        )
        return placed


_Chosen = Tensor | tuple[tuple[Tensor, Tensor], Tensor]
"""The place in its square, 0 to 3, of each maximum above 0, else 4: uint8; or what MaxPool and ReLU keep."""


@dataclass(frozen=True, slots=True)
class ReLUMaxPool:
    """ReLU, then MaxPool; in one pass where a kernel can do it.

    Elsewhere MaxPool comes first: both take maxima, so every bit is the same, on fewer numbers. Forward,
    max(max(x₁, 0), max(x₂, 0), …) = max(max(x₁, x₂, …), 0). Backward, if the largest is above 0, the same x is the
    first to have it; if not, no x gets a gradient.
    """

    size: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, _Chosen]:
        lines = pools.lines(x)
        if lines is None or self.size != 2 or x.shape[2] % 2 or x.shape[3] % 2:
            y, pooled = MaxPool(self.size).forward(x, per_example)
            y, positive = ReLU().forward(y, per_example)
            return y, (pooled, positive)
        examples, channels, height, width = x.shape
        y = x.new_empty(examples, height // 2, width // 2, channels).permute(0, 3, 1, 2)
        chosen = torch.empty_like(y, dtype=torch.uint8)
        pools.forward(members(x.numel()), lines, pools.lines(y), pools.lines(chosen), channels)
        return y, chosen

    def backward(self, gradient: Tensor, saved: _Chosen, needs_input: bool) -> Tensor | None:
        if isinstance(saved, tuple):
            pooled, positive = saved
            passed = ReLU().backward(gradient, positive, needs_input)
            return MaxPool(self.size).backward(passed, pooled, needs_input)
        examples, channels, height, width = gradient.shape
        dx = gradient.new_empty(examples, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
        dy = gradient.contiguous(memory_format=torch.channels_last)
        pools.backward(members(dx.numel()), pools.lines(dy), pools.lines(saved), pools.lines(dx), channels)
        return dx


@dataclass(frozen=True, slots=True)
class Flatten:
    """[N, …] → [N, features], in row-major order of (channels, height, width)."""

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, torch.Size]:
        return x.reshape(len(x), -1), x.shape

    def backward(self, gradient: Tensor, saved: torch.Size, needs_input: bool) -> Tensor | None:
        order = torch.channels_last if len(saved) == 4 else torch.contiguous_format
        return gradient.reshape(saved).contiguous(memory_format=order)
