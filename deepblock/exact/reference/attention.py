"""Causal multi-head self-attention. See exact/attention.py for the reasons."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from deepblock.exact.reference.arithmetic import (
    Array,
    Integers,
    exact_sum,
    exp32,
    f32,
    integer_product,
    product,
    quantise,
    sum_bits,
    value,
)
from deepblock.exact.reference.layers import add, linear, linear_backward


@dataclass(frozen=True, slots=True)
class _Head:
    """Q, K, V of one head of one example, as integers [T, d] with their scales; the weights q, integers [T, T]."""

    q: Integers
    k: Integers
    v: Integers
    scales: tuple[Fraction, Fraction, Fraction]
    weights: Integers

    @property
    def totals(self) -> list[float]:
        return [float(sum(row)) for row in self.weights]


def _heads(qkv: Array, heads: int, bits: int) -> list[list[_Head]]:
    """By example and head, of [N, T, 3·features]."""
    features = qkv.shape[-1] // 3
    grids = [quantise(qkv[:, :, part * features : (part + 1) * features], bits) for part in range(3)]
    scales = (grids[0][1], grids[1][1], grids[2][1])
    size = features // heads
    examples = []
    for n in range(len(qkv)):
        own = []
        for head in range(heads):
            q, k, v = (integers[n, :, head * size : (head + 1) * size] for integers, _ in grids)
            own.append(_Head(q, k, v, scales, _weights(q, k, scales[0] * scales[1], bits)))
        examples.append(own)
    return examples


def _weights(q: Integers, k: Integers, scale: Fraction, bits: int) -> Integers:
    """q_ij of one head, [T, T], of its Q and K, [T, d]; `scale`: the product of theirs."""
    factor = np.float32(min(float(1 / scale) * (1.0 / math.sqrt(q.shape[1])), 2.0**127))
    one = np.float32(2.0 ** (bits - 1) - 1.0)
    weights = np.full((len(q), len(q)), 0, object)
    for i, row in enumerate(integer_product(q, k.T)):
        earlier = row[: i + 1]
        below = [np.float32(float(integer - max(earlier))) for integer in earlier]
        with np.errstate(over="ignore"):
            weights[i, : i + 1] = [round(float(exp32(number * factor) * one)) for number in below]
    return weights


def _attend(examples: list[list[_Head]]) -> Array:
    """O, [N, T, features]."""
    outs = []
    for own in examples:
        parts = []
        for head in own:
            sums = integer_product(head.weights, head.v)
            rows = [
                [f32(float(integer / head.scales[2]) / total) for integer in row]
                for row, total in zip(sums, head.totals, strict=True)
            ]
            parts.append(np.array(rows, np.float32))
        outs.append(np.concatenate(parts, 1))
    return np.stack(outs)


def attention(
    x: Array, in_weight: Array, in_bias: Array, out_weight: Array, out_bias: Array, heads: int, bits: int
) -> Array:
    """y, [N, T, features], of x alike. in_weight: [3·features, features], out_weight: [features, features]."""
    examples = _heads(linear(x, in_weight, in_bias, bits), heads, bits)
    return linear(_attend(examples), out_weight, out_bias, bits)


def attention_backward(
    x: Array, in_weight: Array, in_bias: Array, out_weight: Array, dy: Array, heads: int, bits: int
) -> tuple[Array, Array, Array, Array, Array]:
    """The gradients of in_weight, in_bias, out_weight, out_bias and x."""
    examples = _heads(linear(x, in_weight, in_bias, bits), heads, bits)
    d_out_weight, d_out_bias, d_out = linear_backward(_attend(examples), out_weight, dy, bits)
    parts = _heads_backward(d_out, examples, bits)
    features = x.shape[-1]
    rows = x.reshape(-1, features)
    d_parts = [part.reshape(-1, features) for part in parts]
    d_in_weight = np.concatenate([product(part.T, rows, bits) for part in d_parts])
    d_in_bias = np.concatenate([exact_sum(part) for part in d_parts])
    qw, sw = quantise(in_weight, bits)  # one grid for the three
    dx = []
    for index, part in enumerate(d_parts):
        qp, sp = quantise(part, bits)
        integers = integer_product(qp, qw[index * features : (index + 1) * features])
        dx.append(
            np.vectorize(lambda integer, scale=sp * sw: value(integer, scale), otypes=[np.float32])(integers)
        )
    return d_in_weight, d_in_bias, d_out_weight, d_out_bias, add(add(dx[0], dx[1]), dx[2]).reshape(x.shape)


def _heads_backward(d_out: Array, examples: list[list[_Head]], bits: int) -> tuple[Array, Array, Array]:
    """dQ, dK, dV, each [N, T, features], of dO."""
    size = examples[0][0].q.shape[1]
    shares, d_scores = np.empty_like(d_out), {}
    q_out, s_out = quantise(d_out, bits)
    for n, own in enumerate(examples):
        for index, head in enumerate(own):
            columns = slice(index * size, (index + 1) * size)
            for i, total in enumerate(head.totals):
                shares[n, i, columns] = [f32(float(number) / total) for number in d_out[n, i, columns]]
            d_scores[n, index] = _scores_backward(head, q_out[n, :, columns], s_out)
    q_shares, s_shares = quantise(shares, bits)
    q_scores, s_scores = quantise(np.stack(list(d_scores.values())), bits)
    grads = [np.empty_like(d_out) for _ in range(3)]
    for place, (n, index) in zip(q_scores, d_scores, strict=True):
        head, columns = examples[n][index], slice(index * size, (index + 1) * size)
        pairs = [
            (integer_product(place, head.k), s_scores * head.scales[1]),
            (integer_product(place.T, head.q), s_scores * head.scales[0]),
            (integer_product(head.weights.T, q_shares[n, :, columns]), s_shares),
        ]
        for gradient, (integers, scale) in zip(grads, pairs, strict=True):
            for t, d in np.ndindex(integers.shape):
                gradient[n, t, columns.start + d] = value(integers[t, d], scale)
    return grads[0], grads[1], grads[2]


def _scores_backward(head: _Head, q_out: Integers, s_out: Fraction) -> Array:
    """dz of one head, [T, T]."""
    temperature = 1.0 / math.sqrt(head.q.shape[1])
    scale = s_out * head.scales[2]
    rows = []
    for integers, weights, total in zip(
        integer_product(q_out, head.v.T), head.weights, head.totals, strict=True
    ):
        d_weights = [float(integer / scale) for integer in integers]
        terms = [f32(float(q) * one) for q, one in zip(weights, d_weights, strict=True)]
        mean = _row_sum(np.array(terms, np.float32)) / total
        pairs = zip(weights, d_weights, strict=True)
        rows.append([f32(float(q) / total * (one - mean) * temperature) for q, one in pairs])
    return np.array(rows, np.float32)


def _row_sum(row: Array) -> float:
    q, scale = quantise(row, sum_bits(len(row)))
    return float(sum(q) / scale)
