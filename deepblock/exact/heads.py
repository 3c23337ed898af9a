"""What attention does between its products (exact: Attention): by kernels, or by torch's operations with the same bits.

The slow twins are in `reference.attention`: `_heads` of `split`, `_weights` of `weigh`, `_attend` of `join`,
`_heads_backward` of `shares`, `_scores_backward` of `score_gradients`. Exact because t_i adds up T integers below
2^(bits−1), far below 2^53, and r_i is a `row_sums`.

Tokens are [N, T, features], heads [N, heads, T, d] with features = heads · d, weights [N, heads, T, T].
"""

import torch
from torch import Tensor

from deepblock.exact.compiled import heads as kernels
from deepblock.exact.compiled.kernel import Array, rows
from deepblock.exact.compiled.team import members
from deepblock.exact.elementwise import exp32
from deepblock.exact.grid import Grid, quantise
from deepblock.exact.rows import row_sums, sum_bits


def split(x: Tensor, parts: int, heads: int, bits: int, per_example: bool = False) -> list[Grid]:
    """The parts of tokens [N, T, parts · features] as heads, each part on a grid of its own."""
    tokens = _numbers(x)
    if tokens is None or per_example:
        return [quantise(_split(part, heads), bits, per_example) for part in x.chunk(parts, -1)]
    q = torch.empty(parts, len(x), heads, x.shape[1], x.shape[2] // (parts * heads))
    steps = torch.empty(parts, dtype=torch.float64)
    flat = q.view(parts, -1, q.shape[-1]).numpy()
    kernels.split(members(tokens.size), tokens, x.shape[1], bits, flat, steps.numpy())
    return [Grid(one, step) for one, step in zip(q, steps.tolist(), strict=True)]


def weigh(integers: Tensor, factor: Tensor, one: float) -> tuple[Tensor, Tensor]:
    """q: integers in float32, 0 where j > i; and t, float64 [N, heads, T, 1]. Of I; overwrites it.

    `factor`: what turns I into z, float64; `one`: what exp(0) becomes.
    """
    scores = _numbers(integers)
    if scores is not None and factor.dim() == 0:
        totals = torch.empty(*integers.shape[:-1], 1, dtype=torch.float64)
        kernels.weigh(members(scores.size), scores, factor.item(), one, totals.view(-1).numpy())
        return integers, totals
    tokens = integers.shape[-1]
    later = torch.ones(tokens, tokens, dtype=torch.bool, device=integers.device).triu_(1)
    integers.masked_fill_(later, -torch.inf)
    below = integers.sub_(integers.amax(-1, keepdim=True)).float()
    weights = exp32(below.mul_(factor.float())).mul_(one).round_()
    return weights, weights.sum(-1, keepdim=True, dtype=torch.float64)


def join(integers: Tensor, step: Tensor | float, totals: Tensor | None = None) -> Tensor:
    """f32((integers · step) / t) + 0.0 of heads, as tokens; t is 1 if there is none."""
    numbers = _numbers(integers)
    if numbers is not None and isinstance(step, float):
        examples, heads, tokens, size = integers.shape
        out = torch.empty(examples, tokens, heads * size)
        divisors = torch.ones(len(numbers), dtype=torch.float64) if totals is None else totals.view(-1)
        into = out.view(-1, heads * size).numpy()
        kernels.joined(members(numbers.size), numbers, divisors.numpy(), tokens, step, into)
        return out
    values = integers.double().mul_(step)
    if totals is not None:
        values.div_(totals)
    return values.float().add_(0.0).transpose(1, 2).flatten(2)


def shares(d_out: Tensor, totals: Tensor, heads: int, bits: int) -> tuple[Grid, Grid]:
    """The grids of dO and of f32(dO_i / t_i), as heads, of dO as tokens."""
    tokens = _numbers(d_out)
    if tokens is None:
        by_head = _split(d_out, heads)
        return quantise(by_head, bits), quantise(by_head.double().div_(totals).float(), bits)
    outs, shared = torch.empty(2, len(d_out), heads, d_out.shape[1], d_out.shape[2] // heads)
    into = (one.view(-1, one.shape[-1]).numpy() for one in (outs, shared))
    steps = kernels.shares(members(tokens.size), tokens, totals.view(-1).numpy(), d_out.shape[1], bits, *into)
    return Grid(outs, steps[0]), Grid(shared, steps[1])


def score_gradients(
    integers: Tensor, step: Tensor | float, weights: Tensor, totals: Tensor, temperature: Tensor, bits: int
) -> Grid:
    """The grid of dz_ij = f32(((q_ij / t_i)·(D_ij − r_i))·(1/√d)) + 0.0, of the integers of D; overwrites them."""
    d, q = _numbers(integers), _numbers(weights)
    if d is not None and q is not None and isinstance(step, float):
        numbers = (totals.view(-1).numpy(), step, temperature.item(), sum_bits(d.shape[1]), bits)
        found = kernels.score_gradients(members(d.size), d, q, *numbers)
        return Grid(integers, found)
    d_weights = integers.double().mul_(step)
    means = row_sums((weights * d_weights).float()).div_(totals)
    d_scores = (weights / totals).mul_(d_weights.sub_(means)).mul_(temperature)
    return quantise(d_scores.float().add_(0.0), bits)


def _numbers(x: Tensor) -> Array | None:
    """[n, features], for kernels: these take float32 only."""
    return rows(x) if x.dtype == torch.float32 else None


def _split(x: Tensor, heads: int) -> Tensor:
    """[N, T, features] → [N, heads, T, d]."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
