"""The layers that a description can name, each by its `kind` (exact: Layers). What they compute: deepblock/exact.

Shapes have no batch dimension: (features,), (channels, height, width), or (tokens, features). A layer is never changed
once published, as its encoding is part of a task's id: more options are another kind.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Discriminator, Tag

from deepblock.codec import U8, U32, Tagged, kind_of


@dataclass(frozen=True, slots=True)
class Linear(Tagged):
    """Fully connected, with bias: (features,) → (out,), or (tokens, features) → (tokens, out), each token alike."""

    kind: ClassVar[str] = "linear"
    out: U32


@dataclass(frozen=True, slots=True)
class Conv2d(Tagged):
    """Square convolution, zero padding on every side, with bias: (channels, h, w) → (out, h', w')."""

    kind: ClassVar[str] = "conv2d"
    out: U32
    kernel: U8
    stride: U8
    padding: U8


@dataclass(frozen=True, slots=True)
class GroupedConv2d(Tagged):
    """A convolution for each of `groups` equal parts of the channels; with as many groups as channels, depthwise."""

    kind: ClassVar[str] = "grouped_conv2d"
    out: U32
    kernel: U8
    stride: U8
    padding: U8
    groups: U32


@dataclass(frozen=True, slots=True)
class ReLU(Tagged):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


@dataclass(frozen=True, slots=True)
class GELU(Tagged):
    """x · Φ(x), by a polynomial."""

    kind: ClassVar[str] = "gelu"


@dataclass(frozen=True, slots=True)
class MaxPool(Tagged):
    """The largest of each `size` × `size` square; squares do not overlap and must fill the plane."""

    kind: ClassVar[str] = "maxpool"
    size: U8


@dataclass(frozen=True, slots=True)
class AvgPool(Tagged):
    """The mean of each `size` × `size` square; squares do not overlap and must fill the plane."""

    kind: ClassVar[str] = "avgpool"
    size: U8


@dataclass(frozen=True, slots=True)
class GlobalAvgPool(Tagged):
    """The mean of each plane: (channels, h, w) → (channels,)."""

    kind: ClassVar[str] = "global_avgpool"


@dataclass(frozen=True, slots=True)
class Flatten(Tagged):
    """Any shape → (features,), in row-major order of (channels, h, w)."""

    kind: ClassVar[str] = "flatten"


@dataclass(frozen=True, slots=True)
class GroupNorm(Tagged):
    """Mean 0 and variance 1 in each of `groups` equal parts of an example's channels, then a scale and a shift of each
    channel: (channels, h, w) → the same."""

    kind: ClassVar[str] = "groupnorm"
    groups: U32


@dataclass(frozen=True, slots=True)
class LayerNorm(Tagged):
    """Mean 0 and variance 1 over the features, then a scale and a shift of each: (features,) or (tokens, features)."""

    kind: ClassVar[str] = "layernorm"


@dataclass(frozen=True, slots=True)
class Embedding(Tagged):
    """A learned vector for each byte below `vocabulary`: (tokens,) → (tokens, features). Only as the first layer."""

    kind: ClassVar[str] = "embedding"
    vocabulary: U32
    features: U32


@dataclass(frozen=True, slots=True)
class Positions(Tagged):
    """Adds a learned vector for each position: (tokens, features) → the same."""

    kind: ClassVar[str] = "positions"


@dataclass(frozen=True, slots=True)
class Attention(Tagged):
    """Causal self-attention of `heads` heads, with biases: (tokens, features) → the same."""

    kind: ClassVar[str] = "attention"
    heads: U32


_Plain = (
    Annotated[Linear, Tag("linear")]
    | Annotated[Conv2d, Tag("conv2d")]
    | Annotated[GroupedConv2d, Tag("grouped_conv2d")]
    | Annotated[ReLU, Tag("relu")]
    | Annotated[GELU, Tag("gelu")]
    | Annotated[MaxPool, Tag("maxpool")]
    | Annotated[AvgPool, Tag("avgpool")]
    | Annotated[GlobalAvgPool, Tag("global_avgpool")]
    | Annotated[Flatten, Tag("flatten")]
    | Annotated[GroupNorm, Tag("groupnorm")]
    | Annotated[LayerNorm, Tag("layernorm")]
    | Annotated[Embedding, Tag("embedding")]
    | Annotated[Positions, Tag("positions")]
    | Annotated[Attention, Tag("attention")]
)

Plain = Annotated[_Plain, Discriminator(kind_of)]


@dataclass(frozen=True, slots=True)
class Residual(Tagged):
    """layers(x) + shortcut(x), of one shape. An empty shortcut is x itself.

    There is no Residual inside a Residual: nesting has a depth of one, and no description can say otherwise.
    """

    kind: ClassVar[str] = "residual"
    layers: tuple[Plain, ...]
    shortcut: tuple[Plain, ...]


Layer = Annotated[_Plain | Annotated[Residual, Tag("residual")], Discriminator(kind_of)]
