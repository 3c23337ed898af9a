"""A task's whole network by the slow reference: what the engine's training has to equal."""

import numpy as np

from deepblock import spec as specification
from deepblock.exact import reference


def forward(places, weights, x, bits, loss_bits=0):
    """The output of these layers, and a function from its gradient to that of x and to those of the weights.
    `loss_bits`: of the gradient that the last layer gets, if it is a Linear."""
    backs = []
    for index, place in enumerate(places):
        x, back = _layer(place, weights, x, bits, loss_bits if index == len(places) - 1 else 0)
        backs.append(back)

    def backward(dy):
        gradients = {}
        for back in reversed(backs):
            dy, own = back(dy)
            gradients |= own
        return dy, gradients

    return x, backward


def gradients(spec, weights, x, labels):
    """Of the trained weights, by name: those of the mean loss of a batch."""
    places = specification.placed(spec)
    frozen, trained = places[: spec.frozen], places[spec.frozen :]
    features = [forward(frozen, weights, x[[index]], spec.bits)[0] for index in range(len(x))]
    logits, backward = forward(trained, weights, np.concatenate(features), spec.bits, specification.LOSS_BITS)
    rows = logits.reshape(-1, spec.classes)
    dy = reference.cross_entropy_gradient(rows, labels.reshape(-1)).reshape(logits.shape)
    return backward(dy)[1]


def outcomes(spec, weights, x, labels):
    """The loss of each label of one example, and whether the largest logit is the label's."""
    logits, _ = forward(specification.placed(spec), weights, x[None], spec.bits)
    rows = logits.reshape(-1, spec.classes)
    return [reference.cross_entropy(row, int(label)) for row, label in zip(rows, labels.flat, strict=True)]


def _layer(place, weights, x, bits, gradient_bits):
    if isinstance(place.layer, specification.Residual):
        return _residual(place, weights, x, bits)
    names = list(place.parameters)
    own = [weights[name] for name in names]
    y, back = _plain(place, own, x, bits, gradient_bits)

    def backward(dy):
        *found, dx = back(dy)
        return dx, dict(zip(names, found, strict=True))

    return y, backward


def _residual(place, weights, x, bits):
    y, back = forward(place.layers, weights, x, bits)
    beside, back_beside = forward(place.shortcut, weights, x, bits)

    def backward(dy):
        (dx, own), (dx_beside, own_beside) = back(dy), back_beside(dy)
        return reference.add(dx, dx_beside), own | own_beside

    return reference.add(y, beside), backward


def _plain(place, own, x, bits, gradient_bits):
    """y, and a function from dy to the gradients of the parameters in their order, and of x."""
    match place.layer:
        case specification.Linear():
            y = reference.linear(x, *own, bits)
            return y, lambda dy: reference.linear_backward(x, own[0], dy, bits, gradient_bits)
        case (
            specification.Conv2d(stride=stride, padding=padding)
            | specification.GroupedConv2d(stride=stride, padding=padding)
        ):
            y = reference.conv2d(x, *own, stride, padding, bits)
            return y, lambda dy: reference.conv2d_backward(x, own[0], dy, stride, padding, bits)
        case specification.ReLU():
            return reference.relu(x), lambda dy: [reference.relu_backward(x, dy)]
        case specification.GELU():
            return reference.gelu(x), lambda dy: [reference.gelu_backward(x, dy)]
        case specification.MaxPool(size=size):
            return reference.maxpool(x, size), lambda dy: [reference.maxpool_backward(x, dy, size)]
        case specification.AvgPool(size=size):
            return reference.avgpool(x, size), lambda dy: [reference.avgpool_backward(x, dy, size)]
        case specification.GlobalAvgPool():
            return reference.global_avgpool(x), lambda dy: [reference.global_avgpool_backward(x, dy)]
        case specification.Flatten():
            return x.reshape(len(x), -1), lambda dy: [dy.reshape(x.shape)]
        case specification.GroupNorm(groups=groups):
            weight, bias = (parameter[:, None, None] for parameter in own)
            rows = (len(x), groups, x[0].size // groups)
            return reference.norm(x, weight, bias, rows), lambda dy: reference.norm_backward(
                x, weight, dy, rows, 1
            )
        case specification.LayerNorm():
            y = reference.norm(x, *own, x.shape)
            return y, lambda dy: reference.norm_backward(x, own[0], dy, x.shape, x.ndim - 1)
        case specification.Embedding(vocabulary=vocabulary):
            y = reference.embedding(x, *own)
            return y, lambda dy: [reference.embedding_backward(x, vocabulary, dy), np.zeros_like(x)]
        case specification.Positions():
            return reference.positions(x, *own), lambda dy: [reference.positions_backward(dy), dy]
        case specification.Attention(heads=heads):
            y = reference.attention(x, *own, heads, bits)
            return y, lambda dy: reference.attention_backward(x, *own[:3], dy, heads, bits)
