"""GroupNorm and LayerNorm (exact: Norms): both take rows of m numbers of one example to mean 0 and variance 1.

The slow twin is `reference/norms.py`; what makes it exact is that every sum of a row is an integer of at most 2^48.

A row's integers q are on a grid of its own of B = min(20, ⌊(48 − ⌈log2 m⌉)/2⌋) bits. With r = round_half_even(Σq / m),
c = q − r and δ = Σc / m, the mean is (r + δ)·step and the variance (Σc²/m − δ²)·step²: |c| < 2^B, so
Σc² < m·2^(2B) ≤ 2^48 is exact, and as |δ| ≤ ½ nothing cancels, however large the mean. Then with R = 1/√(variance + ε)

    x̂ = 2^-B · round_half_even((c − δ)·(step·R)·2^B),   y = x̂·scale + shift.

|x̂| ≤ √m, so x̂ is an integer of 2^-B that float32 holds. With h = dy·scale, of integers p on a grid of the same kind,

    dx = R·(h − mean(h) − x̂·mean(h·x̂)),   dscale = Σ dy·x̂,   dshift = Σ dy;

|Σ p·x̂·2^B| ≤ √Σp² · √Σ(x̂·2^B)² < m · 2^(B−1) · 2^(B+1) ≤ 2^48 (Cauchy and Schwarz), also for a part of the row: exact.

A row with an Inf, or with none above 2^-40, gives x̂ = 0. x̂ and y are 0 or at least 2^-107: never subnormal.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deepblock.exact.compiled import norms as kernels
from deepblock.exact.compiled import planes
from deepblock.exact.compiled.kernel import Array, Function, columns, rows
from deepblock.exact.compiled.team import members
from deepblock.exact.constants import NORM_EPSILON
from deepblock.exact.layers import Parameter
from deepblock.exact.product import exact_sum
from deepblock.exact.rows import number, row_grid, sum_bits


def norm_bits(terms: int) -> int:
    """B, for rows of m = `terms` numbers."""
    return min(20, (48 - (terms - 1).bit_length()) // 2)


def standardise(x: Tensor) -> tuple[Tensor, Tensor]:
    """x̂ of rows [..., m], float32; and R, float64 [..., 1]."""
    terms = x.shape[-1]
    bits = norm_bits(terms)
    count = number(terms, x)
    q, step = row_grid(x, bits)
    c = q.sub_(q.sum(-1, keepdim=True).div_(count).round_())
    delta = c.sum(-1, keepdim=True).div_(count)
    variance = (c * c).sum(-1, keepdim=True).div_(count).sub_(delta * delta)
    inverse = number(1.0, x) / (variance * (step * step)).add_(NORM_EPSILON).sqrt_()
    x_hat = c.sub_(delta).mul_(step * inverse).mul_(2.0**bits).round_().mul_(2.0**-bits)
    return x_hat.float().add_(0.0), inverse


def standardise_backward(h: Tensor, x_hat: Tensor, inverse: Tensor) -> Tensor:
    """f32(R·((h − mean(h)) − x̂·mean(h·x̂))) + 0.0 of rows; float32. `h`: the gradient with respect to x̂."""
    terms = h.shape[-1]
    count = number(terms, h)
    p, step = row_grid(h, norm_bits(terms))
    x_hat = x_hat.double()
    mean = p.sum(-1, keepdim=True).div_(count)
    slope = (p * x_hat).sum(-1, keepdim=True).div_(count)
    return p.sub_(mean).sub_(x_hat * slope).mul_(step * inverse).float().add_(0.0)


@dataclass(frozen=True, slots=True)
class GroupNorm:
    """Rows are `groups` equal parts of an example's channels. `weight` (scale), `bias` (shift): [channels]."""

    weight: Parameter
    bias: Parameter
    groups: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        numbers = columns(x)
        if numbers is not None:
            return _forward(self, planes.standardise, x, numbers.reshape(len(x), -1), self.groups)
        x_hat, inverse = standardise(x.reshape(len(x), self.groups, -1))
        x_hat = x_hat.view(x.shape)
        y = x_hat * self.weight.value[:, None, None]
        return y.add_(self.bias.value[:, None, None]).add_(0.0), (x_hat, inverse)

    def backward(self, gradient: Tensor, saved: tuple[Tensor, Tensor], needs_input: bool) -> Tensor | None:
        """`saved`: x̂, and R of each row."""
        x_hat, inverse = saved
        dy, hats = columns(gradient), columns(x_hat)
        if dy is not None and hats is not None:
            shape = (len(gradient), -1)
            return _backward(self, planes.backward, gradient, dy.reshape(shape), hats.reshape(shape), inverse)
        _gradients(self, gradient, x_hat, (0, 2, 3))
        if not needs_input:
            return None
        h = (gradient * self.weight.value[:, None, None]).reshape(len(gradient), self.groups, -1)
        dx = standardise_backward(h, x_hat.reshape(h.shape), inverse.view(*h.shape[:2], 1))
        return dx.view(gradient.shape)


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Rows are the features: of an example, or of each token. `weight` (scale), `bias` (shift): [features]."""

    weight: Parameter
    bias: Parameter

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        numbers = rows(x)
        if numbers is not None:
            return _forward(self, kernels.standardise, x, numbers, 1)
        x_hat, inverse = standardise(x)
        y = (x_hat * self.weight.value).add_(self.bias.value).add_(0.0)
        return y, (x_hat, inverse)

    def backward(self, gradient: Tensor, saved: tuple[Tensor, Tensor], needs_input: bool) -> Tensor | None:
        """`saved`: x̂, and R of each row."""
        x_hat, inverse = saved
        dy, hats = rows(gradient), rows(x_hat)
        if dy is not None and hats is not None:
            return _backward(self, kernels.backward, gradient, dy, hats, inverse)
        _gradients(self, gradient, x_hat, tuple(range(gradient.dim() - 1)))
        if not needs_input:
            return None
        h = gradient * self.weight.value
        return standardise_backward(h, x_hat, inverse.view(*h.shape[:-1], 1))


Norm = GroupNorm | LayerNorm


def _gradients(norm: Norm, dy: Tensor, x_hat: Tensor, dims: tuple[int, ...]) -> None:
    norm.weight.gradient.copy_(exact_sum(dy * x_hat, dims))
    norm.bias.gradient.copy_(exact_sum(dy, dims))


# --- the same by kernels -------------------------------------------------------------------------------------


def _forward(
    norm: Norm, kernel: Function, x: Tensor, numbers: Array, groups: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """y, x̂ and R [n, groups], of x as the kernel takes it: [n, …], with `groups` rows in each of n."""
    x_hat, y = torch.empty_like(x), torch.empty_like(x)
    inverse = torch.empty(len(numbers), groups, dtype=torch.float64)
    bits = norm_bits(numbers.shape[1] // groups)
    weight, bias = norm.weight.value.numpy(), norm.bias.value.numpy()
    into = (x_hat.numpy().ravel("K").reshape(numbers.shape), y.numpy().ravel("K").reshape(numbers.shape))
    kernel(members(numbers.size), numbers, weight, bias, bits, *into, inverse.numpy())
    return y, (x_hat, inverse)


def _backward(
    norm: Norm, kernel: Function, gradient: Tensor, dy: Array, x_hat: Array, inverse: Tensor
) -> Tensor:
    """dx; dscale and dshift go where they belong. `dy`, `x_hat`: [n, …] as the kernel takes them."""
    team, groups = members(dy.size), inverse.numel() // len(dy)
    dx, peaks = torch.empty_like(gradient), np.zeros((team, 2), np.int32)
    weight, inverses = norm.weight.value.numpy(), inverse.view(-1, groups).numpy()
    into = dx.numpy().ravel("K").reshape(dy.shape)
    kernel(team, dy, x_hat, weight, inverses, norm_bits(dy.shape[1] // groups), into, peaks)
    sums = (norm.weight.gradient.numpy(), norm.bias.gradient.numpy())
    kernels.gradients(team, dy.ravel(), x_hat.ravel(), peaks, sum_bits(dy.size // len(weight)), *sums)
    return dx
