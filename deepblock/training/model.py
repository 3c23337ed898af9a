"""A task's network: its layers over one flat vector of weights and one of gradients.

Flat, because an optimiser step is elementwise: the bits are the same, and a step costs a dozen operations rather
than a dozen for each tensor.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepblock import spec as specification
from deepblock.exact.layers import Parameter, Saved
from deepblock.spec import Shape, TaskSpec
from deepblock.training.registry import build, build_network


class Network:
    """Forward and backward of a task's trained layers on `weights`, float32 [trained parameters], which are shared;
    `gradient` is of the same shape."""

    def __init__(self, spec: TaskSpec, weights: Tensor) -> None:
        self.weights = weights
        self.gradient = torch.zeros_like(weights)
        shapes = specification.trained_parameters(spec)
        values, gradients = split(weights, shapes), split(self.gradient, shapes)
        parameters = {name: Parameter(values[name], gradients[name]) for name in shapes}
        self._layers = build_network(specification.placed(spec)[spec.frozen :], parameters, spec.bits)

    def forward(self, features: Tensor, *, per_example: bool) -> tuple[Tensor, Saved]:
        """Logits [N, classes] or [N, tokens, classes] of what the frozen layers gave, and what `backward` needs.

        `per_example`: each example's activations have their own grid (scoring), not the batch's (training).
        """
        return self._layers.forward(features, per_example)

    def backward(self, gradient: Tensor, saved: Saved) -> None:
        """Writes `self.gradient`, given the loss's gradient with respect to the logits."""
        self._layers.backward(gradient, saved, needs_input=False)


class Frozen:
    """A task's frozen layers, the first ones. `parameters`: theirs, and perhaps others."""

    def __init__(self, spec: TaskSpec, parameters: Mapping[str, NDArray[Any]], device: torch.device) -> None:
        nowhere = torch.empty(0, device=device)
        places = specification.placed(spec)[: spec.frozen]
        own = {
            name: Parameter(torch.tensor(parameters[name], device=device), nowhere)
            for place in places
            for name in place.parameters
        }
        self._layers = build(places, own, spec.bits)

    def features(self, x: Tensor) -> Tensor:
        """What they make of inputs [N, *input shape]. Each example's activations always have their own grid here, so
        its features do not depend on the others of its batch."""
        return self._layers.forward(x, True)[0]


def split(flat: Any, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Views of a flat vector (numpy or torch) as named tensors, in the order of `shapes`."""
    views = {}
    offset = 0
    for name, shape in shapes.items():
        end = offset + math.prod(shape)
        views[name] = flat[offset:end].reshape(shape)
        offset = end
    return views


def join(tensors: Mapping[str, NDArray[Any]], shapes: Mapping[str, Shape]) -> NDArray[Any]:
    """The flat vector of named tensors, in the order of `shapes`; a copy."""
    flat = [tensors[name].reshape(-1) for name in shapes]
    return np.concatenate(flat) if flat else np.empty(0, np.float32)
