"""Causal multi-head self-attention (exact: Attention). What is between its products is in heads.py.

The slow twin is `reference/attention.py`. Every product checks its bound, 2^53 or in float32 2^24 (`_product`,
`matmul`); t_i and r_i are sums of integers too.

    Q, K, V = the three parts of x ⊗ Wᵀ + b, each [N, heads, T, d];   z_ij = Q_i·K_j / √d, for j ≤ i
    q_ij = round_half_even(exp(z_ij − max_j z_ij) · (2^(bits−1) − 1)),   t_i = Σ_j q_ij
    O_i = Σ_j q_ij·V_j / t_i,   y = O ⊗ W_outᵀ + b_out

The weights p_ij = q_ij / t_i need no grid: q are integers already, the largest of a row is 2^(bits−1) − 1 however many
share the row, and Σ_j p_ij is 1. Q, K and V have a grid each. The largest of a row is taken off while z are integers,
and so exactly; what is left is scaled in float32, and rounding exp32 of −Inf gives 0 where j > i. Backward, with
dO = dy ⊗ W_out and the rounding of q passed through:

    dV_j = Σ_i q_ij ⊗ (dO_i / t_i),   dP_ij = dO_i ⊗ V_j,   r_i = Σ_j p_ij·dP_ij,   dz_ij = p_ij·(dP_ij − r_i)·(1/√d)
    dQ_i = Σ_j dz_ij ⊗ K_j,   dK_j = Σ_i dz_ij ⊗ Q_i

because d p_ij / d z_ik = p_ij·([j = k] − p_ik). dQ, dK and dV differ in size, so each has its own grid in the last
products: dx = f32(f32(dQ ⊗ W_Q + dK ⊗ W_K) + dV ⊗ W_V). Nothing goes from one example to another.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from torch import Tensor

from deepblock.exact import heads
from deepblock.exact.elementwise import add
from deepblock.exact.grid import Grid, peak_of, quantise
from deepblock.exact.layers import Parameter
from deepblock.exact.product import exact_sum, matmul, rescale
from deepblock.exact.rows import number
from deepblock.exact.ways import EXACT_IN_FLOAT32, WHOLE_BITS, check_exact

LARGEST_FACTOR: Final = 2.0**127
"""Times any integer but 0 it is beyond all that exp32 tells from 0; and times 0 it is 0."""


class _Tape(NamedTuple):
    """`x`, `heads` (Q, K, V) and `out` (O) on their grids; `weights`: q, `totals`: t. Shapes: Attention."""

    x: Grid
    heads: tuple[Grid, Grid, Grid]
    weights: Tensor
    totals: Tensor
    out: Grid


@dataclass(frozen=True, slots=True)
class Attention:
    """Weights as in torch.nn.MultiheadAttention. With N examples, T tokens, h heads and d = features / h:

    | what | shape |
    |---|---|
    | x, y, dy, dx; O joined, dO; dQ, dK, dV joined | [N, T, features] |
    | in_proj_weight (W_Q, W_K, W_V, one above the other), in_proj_bias | [3·features, features], [3·features] |
    | out_proj_weight, out_proj_bias | [features, features], [features] |
    | Q, K, V: the grids in `_Tape.heads` | [N, h, T, d] |
    | I, q (`_Tape.weights`), D, dz: row i for a query, column j for a key; q, dz are 0 where j > i | [N, h, T, T] |
    | t (`_Tape.totals`), r: one number for each row | [N, h, T, 1] |
    """

    in_proj_weight: Parameter
    in_proj_bias: Parameter
    out_proj_weight: Parameter
    out_proj_bias: Parameter
    heads: int
    bits: int

    def forward(self, x: Tensor, per_example: bool) -> tuple[Tensor, _Tape]:
        inputs = quantise(x, self.bits, per_example)
        projected = self._apply(inputs, self.in_proj_weight, self.in_proj_bias)
        queries, keys, values = heads.split(projected, 3, self.heads, self.bits, per_example)
        factor = (self._temperature(x) * queries.step * keys.step).clamp_max_(LARGEST_FACTOR)
        integers = self._product(queries.q, keys.q.transpose(-1, -2))
        weights, totals = heads.weigh(integers, factor, 2.0 ** (self.bits - 1) - 1.0)
        joined = heads.join(self._product(weights, values.q), values.step, totals)
        out = quantise(joined, self.bits, per_example)
        y = self._apply(out, self.out_proj_weight, self.out_proj_bias)
        return y, _Tape(inputs, (queries, keys, values), weights, totals, out)

    def backward(self, gradient: Tensor, saved: _Tape, needs_input: bool) -> Tensor | None:
        out_weight = quantise(self.out_proj_weight.value, self.bits)
        peak = peak_of(gradient)
        dy = quantise(gradient, self.bits, peak=peak)
        self.out_proj_weight.gradient.copy_(self._weight_gradient(dy, saved.out))
        self.out_proj_bias.gradient.copy_(exact_sum(gradient, (0, 1), peak))
        d_out = rescale(self._rows(dy.q, out_weight.q), dy.step, out_weight.step)

        weight_gradients = self.in_proj_weight.gradient.chunk(3)
        bias_gradients = self.in_proj_bias.gradient.chunk(3)
        grids = []
        for part, of_weight, of_bias in zip(
            self._heads_backward(d_out, saved), weight_gradients, bias_gradients, strict=True
        ):
            peak = peak_of(part)
            grids.append(quantise(part, self.bits, peak=peak))
            of_weight.copy_(self._weight_gradient(grids[-1], saved.x))
            of_bias.copy_(exact_sum(part, (0, 1), peak))
        if not needs_input:
            return None
        in_weight = quantise(self.in_proj_weight.value, self.bits)
        by_query, by_key, by_value = (
            rescale(self._rows(grid.q, part), grid.step, in_weight.step)
            for grid, part in zip(grids, in_weight.q.chunk(3), strict=True)
        )
        return add(add(by_query, by_key), by_value)

    def _heads_backward(self, d_out: Tensor, tape: _Tape) -> Iterator[Tensor]:
        """dQ, dK, dV of dO; all [N, T, features]."""
        queries, keys, values = tape.heads
        weights, totals = tape.weights, tape.totals
        outs, shares = heads.shares(d_out, totals, self.heads, self.bits)
        integers = self._product(outs.q, values.q.transpose(-1, -2))
        scores = heads.score_gradients(
            integers, outs.step * values.step, weights, totals, self._temperature(d_out), self.bits
        )
        yield heads.join(self._product(scores.q, keys.q), scores.step * keys.step)
        yield heads.join(self._product(scores.q.transpose(-1, -2), queries.q), scores.step * queries.step)
        yield heads.join(self._product(weights.transpose(-1, -2), shares.q), shares.step)

    def _temperature(self, like: Tensor) -> Tensor:
        """1/√d, the root and the quotient rounded in float64."""
        return number(1.0 / math.sqrt(self.in_proj_weight.value.shape[1] // self.heads), like)

    def _apply(self, x: Grid, weight: Parameter, bias: Parameter) -> Tensor:
        """x ⊗ Wᵀ + b of each token."""
        grid = quantise(weight.value, self.bits)
        return rescale(self._rows(x.q, grid.q.T), x.step, grid.step).add_(bias.value)

    def _weight_gradient(self, dy: Grid, x: Grid) -> Tensor:
        """dyᵀ ⊗ x over all tokens of all examples."""
        return rescale(matmul(dy.q.flatten(0, 1).T, x.q.flatten(0, 1), self.bits), dy.step, x.step)

    def _rows(self, x: Tensor, matrix: Tensor) -> Tensor:
        """The integers of each token's product with a matrix."""
        return matmul(x.flatten(0, 1), matrix, self.bits).view(*x.shape[:2], -1)

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        """The integers a · b, of a matrix for each head: in float32 where that holds them and their differences, else
        in float64."""
        check_exact(a.shape[-1], self.bits)
        largest = a.shape[-1] * (2 ** (self.bits - 1) - 1) ** 2
        if self.bits <= WHOLE_BITS and 2 * largest < EXACT_IN_FLOAT32:
            return a @ b
        return a.double() @ b.double()
