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
from deepblock.training.registry import build


class Network:
    """Forward and backward of a task's layers. `weights` and `gradient`: float32 [trained parameters].

    The frozen layers come before the others, so their values are the front part of one flat vector of all.
    """

    def __init__(self, spec: TaskSpec, device: torch.device) -> None:
        shapes, trained = specification.parameters(spec), specification.trained_parameters(spec)
        self._frozen_shapes = {name: shape for name, shape in shapes.items() if name not in trained}
        every = torch.zeros(specification.parameter_count(spec), device=device)
        self._fixed, self.weights = every.tensor_split([len(every) - specification.trained_count(spec)])
        self.gradient = torch.zeros_like(self.weights)
        values, gradients = split(every, shapes), split(self.gradient, trained)
        nowhere = every.new_empty(0)
        parameters = {name: Parameter(values[name], gradients.get(name, nowhere)) for name in shapes}
        places = specification.placed(spec)
        self._frozen = build(places[: spec.frozen], parameters, spec.bits)
        self._trained = build(places[spec.frozen :], parameters, spec.bits)
        self._trained_shapes = trained

    def load(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        """Sets the weights to a model's."""
        self.load_frozen(parameters)
        self.weights.copy_(torch.from_numpy(join(parameters, self._trained_shapes)))

    def load_frozen(self, parameters: Mapping[str, NDArray[Any]]) -> None:
        """Sets those of the frozen layers, which are among `parameters`."""
        self._fixed.copy_(torch.from_numpy(join(parameters, self._frozen_shapes)))

    def features(self, x: Tensor) -> Tensor:
        """What the frozen layers make of inputs [N, *input shape]. Each example's activations always have their own
        grid here, so its features do not depend on the others of its batch."""
        return self._frozen.forward(x, True)[0]

    def forward(self, features: Tensor, *, per_example: bool) -> tuple[Tensor, Saved]:
        """Logits [N, classes] or [N, tokens, classes] of `features`, and what `backward` needs.

        `per_example`: each example's activations have their own grid (scoring), not the batch's (training).
        """
        return self._trained.forward(features, per_example)

    def backward(self, gradient: Tensor, saved: Saved) -> None:
        """Writes `self.gradient`, given the loss's gradient with respect to the logits."""
        self._trained.backward(gradient, saved, needs_input=False)


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
