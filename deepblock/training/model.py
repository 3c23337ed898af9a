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
from deepblock.exact import layers
from deepblock.exact.layers import Parameter
from deepblock.spec import Placed, Shape, TaskSpec


class Network:
    """Forward and backward of a task's layers. `weights` and `gradient`: float32 [parameter count]."""

    def __init__(self, spec: TaskSpec, device: torch.device) -> None:
        self._shapes = specification.parameters(spec)
        self.weights = torch.zeros(specification.parameter_count(spec), device=device)
        self.gradient = torch.zeros_like(self.weights)
        values, gradients = split(self.weights, self._shapes), split(self.gradient, self._shapes)
        parameters = {name: Parameter(values[name], gradients[name]) for name in self._shapes}
        self._layers = [_layer(place, parameters, spec.bits) for place in specification.placed(spec)]
        self._first = next(i for i, place in enumerate(specification.placed(spec)) if place.parameters)

    def load(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        """Sets the weights to a model's."""
        self.weights.copy_(torch.from_numpy(join(parameters, self._shapes)))

    def forward(self, x: Tensor, *, per_example: bool) -> tuple[Tensor, list[layers.Saved]]:
        """Logits [N, classes] of inputs [N, *input shape], and what `backward` needs.

        `per_example`: each example's activations have their own grid (scoring), not the batch's (training).
        """
        tape = []
        for layer in self._layers:
            x, saved = layer.forward(x, per_example)
            tape.append(saved)
        return x, tape

    def backward(self, gradient: Tensor, tape: list[layers.Saved]) -> None:
        """Writes `self.gradient`, given the loss's gradient with respect to the logits."""
        for index in range(len(self._layers) - 1, self._first - 1, -1):
            passed = self._layers[index].backward(gradient, tape[index], needs_input=index > self._first)
            if passed is not None:
                gradient = passed


def _layer(place: Placed, parameters: Mapping[str, Parameter], bits: int) -> layers.Layer:
    own = {name.split(".")[1]: parameters[name] for name in place.parameters}
    match place.layer:
        case specification.Linear():
            return layers.Linear(**own, bits=bits)
        case specification.Conv2d(stride=stride, padding=padding):
            return layers.Conv2d(**own, stride=stride, padding=padding, bits=bits)
        case specification.ReLU():
            return layers.ReLU()
        case specification.MaxPool(size=size):
            return layers.MaxPool(size)
        case specification.Flatten():
            return layers.Flatten()


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
    return np.concatenate([tensors[name].reshape(-1) for name in shapes])
