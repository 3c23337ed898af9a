"""Layers in their places: the shapes between them and those of their parameters.

Parameters carry the names and shapes that torch gives the same layers (`Sequential`, `MultiheadAttention`; a Residual
is a module with two Sequentials, `layers` and `shortcut`), so `load_state_dict` takes a model file as it is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepblock.spec.layers import (
    Attention,
    AvgPool,
    Conv2d,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GroupedConv2d,
    GroupNorm,
    Layer,
    LayerNorm,
    Linear,
    MaxPool,
    Positions,
    Residual,
)
from deepblock.spec.task import SpecError, TaskSpec

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A layer in its place, and the shapes before and after it.

    `name`: '3', or '3.layers.0' in a Residual: what its parameters' names begin with. `layers`, `shortcut`: those of
    a Residual, in their places.
    """

    name: str
    layer: Layer
    before: Shape
    after: Shape
    layers: tuple["Placed", ...] = ()
    shortcut: tuple["Placed", ...] = ()

    @property
    def parameters(self) -> dict[str, Shape]:
        """Name → shape of each tensor of weights of this layer, and of those in it."""
        own = {f"{self.name}.{name}": shape for name, shape in _parameters(self.layer, self.before).items()}
        for place in (*self.layers, *self.shortcut):
            own |= place.parameters
        return own


def placed(spec: TaskSpec) -> tuple[Placed, ...]:
    """The layers with their shapes, in order. Raises SpecError where one does not fit on the one before."""
    return _chain("", spec.layers, spec.input_shape)


def all_placed(spec: TaskSpec) -> Iterator[Placed]:
    """Those, each Residual followed by the layers in it."""
    return nested(placed(spec))


def nested(places: Sequence[Placed]) -> Iterator[Placed]:
    """These, each Residual followed by the layers in it."""
    for place in places:
        yield place
        yield from place.layers
        yield from place.shortcut


def parameters(spec: TaskSpec) -> dict[str, Shape]:
    """Name → shape of each tensor of weights, in the order of the layers: '0.weight', '0.bias', …"""
    return _of(placed(spec))


def trained_parameters(spec: TaskSpec) -> dict[str, Shape]:
    """Of those, the ones that a session changes: all but the frozen layers'."""
    return _of(placed(spec)[spec.frozen :])


def started_parameters(spec: TaskSpec) -> dict[str, Shape]:
    """Of those, the ones whose first values the start file has."""
    return _of(placed(spec)[: spec.start.layers if spec.start else 0])


def label_shape(spec: TaskSpec) -> Shape:
    """Of an example's labels: () for a class, (tokens,) where each token has one."""
    return placed(spec)[-1].after[:-1]


def heldout_labels(spec: TaskSpec) -> int:
    """How many predictions a score adds up: the held-out examples, or all their tokens."""
    return spec.n_heldout * math.prod(label_shape(spec))


def _of(places: Sequence[Placed]) -> dict[str, Shape]:
    return {name: shape for place in places for name, shape in place.parameters.items()}


def _chain(prefix: str, layers: Sequence[Layer], shape: Shape) -> tuple[Placed, ...]:
    places = []
    for index, layer in enumerate(layers):
        places.append(_place(f"{prefix}{index}", layer, shape))
        shape = places[-1].after
    return tuple(places)


def _place(name: str, layer: Layer, before: Shape) -> Placed:
    if not isinstance(layer, Residual):
        return Placed(name, layer, before, _output_shape(name, layer, before))
    body = _chain(f"{name}.layers.", layer.layers, before)
    shortcut = _chain(f"{name}.shortcut.", layer.shortcut, before)
    after, beside = (chain[-1].after if chain else before for chain in (body, shortcut))
    if not body:
        raise SpecError(f"layer {name} (residual) has no layers")
    if after != beside:
        raise SpecError(f"layer {name} (residual) adds shapes of {after} and {beside}")
    return Placed(name, layer, before, after, body, shortcut)


def _parameters(layer: Layer, before: Shape) -> dict[str, Shape]:
    match layer:
        case Linear(out=out):
            return {"weight": (out, before[-1]), "bias": (out,)}
        case Conv2d(out=out, kernel=kernel):
            return {"weight": (out, before[0], kernel, kernel), "bias": (out,)}
        case GroupedConv2d(out=out, kernel=kernel, groups=groups):
            return {"weight": (out, before[0] // groups, kernel, kernel), "bias": (out,)}
        case GroupNorm():
            return {"weight": before[:1], "bias": before[:1]}
        case LayerNorm():
            return {"weight": before[-1:], "bias": before[-1:]}
        case Embedding(vocabulary=vocabulary, features=features):
            return {"weight": (vocabulary, features)}
        case Positions():
            return {"weight": before}
        case Attention():
            width = before[1]
            return {
                "in_proj_weight": (3 * width, width),
                "in_proj_bias": (3 * width,),
                "out_proj.weight": (width, width),
                "out_proj.bias": (width,),
            }
    return {}


def _output_shape(name: str, layer: Layer, shape: Shape) -> Shape:
    def need(fits: bool, why: str) -> None:
        if not fits:
            raise SpecError(f"layer {name} ({layer.kind}) cannot follow a shape of {shape}: {why}")

    match layer:
        case Conv2d() | GroupedConv2d() | MaxPool() | AvgPool() | GlobalAvgPool() | GroupNorm():
            need(len(shape) == 3, "it needs (channels, height, width)")
        case Linear() | LayerNorm():
            need(len(shape) in (1, 2), "it needs (features,) or (tokens, features); put a flatten before it")
        case Positions() | Attention():
            need(len(shape) == 2, "it needs (tokens, features)")
        case Embedding():
            need(len(shape) == 1, "it needs (tokens,)")
    match layer:
        case Linear(out=out):
            return (*shape[:-1], out)
        case Conv2d(out=out, kernel=kernel, stride=stride, padding=padding):
            groups = 1
        case GroupedConv2d(out=out, kernel=kernel, stride=stride, padding=padding, groups=groups):
            need(_divides(groups, shape[0]) and _divides(groups, out), f"{groups} groups for {out} outputs")
        case MaxPool(size=size) | AvgPool(size=size):
            need(
                _divides(size, shape[1]) and _divides(size, shape[2]),
                f"squares of {size} do not fill the plane",
            )
            return (shape[0], shape[1] // size, shape[2] // size)
        case GlobalAvgPool():
            return shape[:1]
        case Flatten():
            return (math.prod(shape),)
        case Embedding(features=features):
            return (*shape, features)
        case GroupNorm(groups=groups):
            need(_divides(groups, shape[0]), f"the channels do not make {groups} groups")
            return shape
        case Attention(heads=heads):
            need(_divides(heads, shape[1]), f"the features do not make {heads} heads")
            return shape
        case _:
            return shape
    need(
        kernel >= 1 and stride >= 1 and padding < kernel,
        f"kernel {kernel} and stride {stride} must be ≥ 1, padding {padding} < kernel",
    )
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
    need(height >= 1 and width >= 1, f"the kernel of {kernel} is larger than the padded plane")
    return (out, height, width)


def _divides(parts: int, whole: int) -> bool:
    return parts >= 1 and whole % parts == 0
