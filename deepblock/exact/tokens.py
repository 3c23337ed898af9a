"""Tokens and their places: Embedding and learned positions (exact: Layers). Tensors are [N, tokens, features].

The slow twins are `embedding` and `positions` in `reference.layers`. n integers of 52 − ⌈log2 n⌉ bits stay below 2^51.
"""

from dataclasses import dataclass

from torch import Tensor

from deepblock.exact.compiled import tokens as kernels
from deepblock.exact.compiled.kernel import rows
from deepblock.exact.compiled.team import members
from deepblock.exact.grid import peak_of, quantise
from deepblock.exact.layers import Parameter
from deepblock.exact.product import exact_sum
from deepblock.exact.rows import sum_bits


@dataclass(frozen=True, slots=True)
class Embedding:
    """y[n,t] = W[x[n,t]], where x holds bytes as float32. W: [vocabulary, features].

    dW[v] = Sum of dy over the places of v: n = N·tokens terms on one grid of 52 − ⌈log2 n⌉ bits are added as integers,
    so it does not matter in which order, atomically or not. There is no gradient with respect to tokens.
    """

    weight: Parameter

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, Tensor]:
        tokens = x.long()
        return self.weight.value[tokens], tokens.flatten()

    def backward(self, gradient: Tensor, saved: Tensor, needs_input: bool) -> Tensor | None:
        """`saved`: the tokens, [N · tokens]."""
        terms, features = len(saved), gradient.shape[-1]
        bits, peak = sum_bits(terms), peak_of(gradient)
        dy = rows(gradient)
        if dy is not None:
            into = self.weight.gradient.numpy()
            kernels.gradient(members(dy.size), dy, saved.numpy(), peak, bits, into)
            return None
        grid = quantise(gradient, bits, peak=peak)
        integers = grid.q.new_zeros(self.weight.value.shape).double()
        integers.index_add_(0, saved, grid.q.double().reshape(terms, features))
        self.weight.gradient.copy_(integers.mul_(grid.step).float().add_(0.0))
        return None


@dataclass(frozen=True, slots=True)
class Positions:
    """y = f32(x + P) + 0.0, with P [tokens, features]. dP = Sum dy over examples, dx = dy."""

    weight: Parameter

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, None]:
        return (x + self.weight.value).add_(0.0), None

    def backward(self, gradient: Tensor, saved: None, needs_input: bool) -> Tensor | None:
        self.weight.gradient.copy_(exact_sum(gradient, (0,)))
        return gradient
