"""The training loop that anybody would write for a task's network: torch.nn, autograd and torch.optim, in float32."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from deepblock import spec as layers
from deepblock.spec import Placed, TaskSpec, placed
from deepblock.training.examples import Examples
from deepblock.training.step import as_float32, learning_rate


class PlainLoop:
    """Trains from `weights` (float32 [parameter count]) on. Its inputs are numbers before it starts and its batches
    are drawn, so nothing but training is in its time."""

    def __init__(self, spec: TaskSpec, weights: Tensor, examples: Examples) -> None:
        self._spec = spec
        self._inputs, self._labels = examples.take(torch.arange(len(examples), device=weights.device))
        if isinstance(spec.layers[0], layers.Embedding):
            self._inputs = self._inputs.long()
        self._model = _sequential(placed(spec))
        vector_to_parameters(weights.clone(), self._model.parameters())
        self._optimiser = torch.optim.SGD(
            self._model.parameters(), momentum=as_float32(spec.momentum), weight_decay=as_float32(spec.decay)
        )

    def step(self, step: int, batch: Tensor) -> None:
        self._optimiser.param_groups[0]["lr"] = as_float32(learning_rate(self._spec, step % self._spec.steps))
        self._optimiser.zero_grad()
        self._loss(self._inputs[batch], self._labels[batch]).backward()
        self._optimiser.step()

    @property
    def weights(self) -> Tensor:
        return parameters_to_vector(self._model.parameters()).detach()

    def logits(self, indices: Tensor) -> Tensor:
        """Of the examples with these indices: [n, classes] or [n, tokens, classes]."""
        with torch.no_grad():
            return self._model(self._inputs[indices])

    def loss(self, weights: Tensor) -> float:
        """The mean loss of other weights on two hundred examples."""
        kept = self.weights
        with torch.no_grad():
            vector_to_parameters(weights.clone(), self._model.parameters())
            loss = self._loss(self._inputs[:200], self._labels[:200]).item()
            vector_to_parameters(kept, self._model.parameters())
        return loss

    def _loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self._model(inputs).flatten(0, -2), labels.flatten())


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.layers, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + self.shortcut(x)


class _Positions(nn.Module):
    def __init__(self, tokens: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(tokens, features))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class _Attention(nn.Module):
    """Causal self-attention as nanoGPT has it: two Linears around torch's fused attention."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(features, 3 * features), nn.Linear(features, features)
        self._heads = heads

    def forward(self, x: Tensor) -> Tensor:
        parts = self.in_proj(x).chunk(3, -1)
        heads = (part.unflatten(-1, (self._heads, -1)).transpose(1, 2) for part in parts)
        return self.out_proj(scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2))


class _GlobalAvgPool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def _sequential(places: Sequence[Placed]) -> nn.Sequential:
    return nn.Sequential(*map(_module, places))


def _module(place: Placed) -> nn.Module:
    inputs = place.before[0]
    match place.layer:
        case layers.Linear(out=out):
            return nn.Linear(place.before[-1], out)
        case layers.Conv2d(out=out, kernel=kernel, stride=stride, padding=padding):
            return nn.Conv2d(inputs, out, kernel, stride, padding)
        case layers.GroupedConv2d(out=out, kernel=kernel, stride=stride, padding=padding, groups=groups):
            return nn.Conv2d(inputs, out, kernel, stride, padding, groups=groups)
        case layers.ReLU():
            return nn.ReLU()
        case layers.GELU():
            return nn.GELU()
        case layers.MaxPool(size=size):
            return nn.MaxPool2d(size)
        case layers.AvgPool(size=size):
            return nn.AvgPool2d(size)
        case layers.GlobalAvgPool():
            return _GlobalAvgPool()
        case layers.Flatten():
            return nn.Flatten()
        case layers.GroupNorm(groups=groups):
            return nn.GroupNorm(groups, inputs)
        case layers.LayerNorm():
            return nn.LayerNorm(place.before[-1])
        case layers.Embedding(vocabulary=vocabulary, features=features):
            return nn.Embedding(vocabulary, features)
        case layers.Positions():
            return _Positions(*place.before)
        case layers.Attention(heads=heads):
            return _Attention(place.before[1], heads)
        case layers.Residual():
            return _Residual(_sequential(place.layers), _sequential(place.shortcut))
