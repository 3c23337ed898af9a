"""From what a description names to what computes it: one line for each kind of layer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deepblock import spec as specification
from deepblock.exact.attention import Attention
from deepblock.exact.gelu import GELU
from deepblock.exact.grouped import GroupedConv2d
from deepblock.exact.layers import Conv2d, Flatten, Layer, Linear, MaxPool, Parameter, ReLU, ReLUMaxPool
from deepblock.exact.norms import GroupNorm, LayerNorm
from deepblock.exact.pools import AvgPool, GlobalAvgPool
from deepblock.exact.residual import Chain, Residual
from deepblock.exact.tokens import Embedding, Positions
from deepblock.spec import LOSS_BITS, Placed


def build_network(places: Sequence[Placed], parameters: Mapping[str, Parameter], bits: int) -> Chain:
    """The layers of a whole network: the last one, if it is a Linear, puts the loss's gradient on a grid of its own."""
    chain = build(places, parameters, bits)
    if isinstance(last := chain.layers[-1], Linear):
        return replace(chain, layers=[*chain.layers[:-1], replace(last, gradient_bits=LOSS_BITS)])
    return chain


def build(places: Sequence[Placed], parameters: Mapping[str, Parameter], bits: int) -> Chain:
    """The layers in these places, with their parameters by name; ReLU, MaxPool are one layer."""
    layers: list[Layer] = []
    first = None
    for place in places:
        layer = _layer(place, parameters, bits)
        if isinstance(layer, MaxPool) and layers and isinstance(layers[-1], ReLU):
            layers[-1] = ReLUMaxPool(layer.size)
        else:
            layers.append(layer)
        if place.parameters and first is None:
            first = len(layers) - 1
    return Chain(layers, len(layers) if first is None else first)


def _layer(place: Placed, parameters: Mapping[str, Parameter], bits: int) -> Layer:
    own = {_field(name, place): parameters[name] for name in place.parameters}
    match place.layer:
        case specification.Linear():
            return Linear(own["weight"], own["bias"], bits)
        case specification.Conv2d(stride=stride, padding=padding):
            return Conv2d(**own, stride=stride, padding=padding, bits=bits)
        case specification.GroupedConv2d(stride=stride, padding=padding, groups=groups):
            return GroupedConv2d(**own, stride=stride, padding=padding, groups=groups, bits=bits)
        case specification.ReLU():
            return ReLU()
        case specification.GELU():
            return GELU()
        case specification.MaxPool(size=size):
            return MaxPool(size)
        case specification.AvgPool(size=size):
            return AvgPool(size)
        case specification.GlobalAvgPool():
            return GlobalAvgPool()
        case specification.Flatten():
            return Flatten()
        case specification.GroupNorm(groups=groups):
            return GroupNorm(**own, groups=groups)
        case specification.LayerNorm():
            return LayerNorm(**own)
        case specification.Embedding():
            return Embedding(**own)
        case specification.Positions():
            return Positions(**own)
        case specification.Attention(heads=heads):
            return Attention(**own, heads=heads, bits=bits)
        case specification.Residual():
            return Residual(build(place.layers, parameters, bits), build(place.shortcut, parameters, bits))


def _field(name: str, place: Placed) -> str:
    """'3.out_proj.weight' of layer 3 is its `out_proj_weight`."""
    return name.removeprefix(f"{place.name}.").replace(".", "_")
