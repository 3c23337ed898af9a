"""Layers one after the other, and two such chains beside each other (exact: Layers).

The slow twin of the addition is `reference.layers.add`: one IEEE-754 addition, so there is no bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from deepblock.exact.elementwise import add
from deepblock.exact.layers import Layer, Saved


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers in their order; an empty chain changes nothing. `first`: the index of the first that has weights, or
    the chain's length."""

    layers: Sequence[Layer]
    first: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, list[Saved]]:
        tape: list[Saved] = []
        for layer in self.layers:
            x, saved = layer.forward(x, per_example)
            tape.append(saved)
        return x, tape

    def backward(self, gradient: Tensor, saved: list[Saved], needs_input: bool) -> Tensor | None:
        """Unless it `needs_input`, goes back only to the first layer with weights. What was saved is gone then: it is
        given up layer by layer, as the gradients are what takes the memory."""
        end = 0 if needs_input else self.first
        passed: Tensor | None = gradient
        for index in range(len(self.layers) - 1, end - 1, -1):
            if passed is not None:
                passed = self.layers[index].backward(passed, saved.pop(), needs_input or index > self.first)
        return passed if needs_input else None


@dataclass(frozen=True, slots=True)
class Residual:
    """y = f32(body(x) + shortcut(x)), dx = f32(dx of the body + dx of the shortcut); Inf − Inf counts as 0."""

    body: Chain
    shortcut: Chain

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, tuple[list[Saved], list[Saved]]]:
        y, body = self.body.forward(x, per_example)
        beside, shortcut = self.shortcut.forward(x, per_example)
        return add(y, beside), (body, shortcut)

    def backward(
        self, gradient: Tensor, saved: tuple[list[Saved], list[Saved]], needs_input: bool
    ) -> Tensor | None:
        passed = self.body.backward(gradient, saved[0], needs_input)
        beside = self.shortcut.backward(gradient, saved[1], needs_input)
        if passed is None or beside is None:
            return None
        return add(passed, beside)
