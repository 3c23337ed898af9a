"""What a task trains: a declarative description, its shapes and its cost (protocol: Tasks; exact: Layers).

Everything here follows from the description alone, in integers: a node knows a session's cost, the size of
its files and whether its arithmetic can be exact before it touches the data. No numpy, no torch.

Shapes have no batch dimension: (features,) or (channels, height, width). Parameters carry the names and
shapes that `torch.nn.Sequential` gives the same layers, so its `load_state_dict` takes a model file as it is.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final

from pydantic import Discriminator, Tag, model_serializer

from deepblock.cid import Cid
from deepblock.codec import U8, U32
from deepblock.types import Hash32

RATE_ONE: Final = 1 << 32
"""What 1.0 is as a rate: real-valued parameters are integers / 2^32."""

Shape = tuple[int, ...]


class SpecError(ValueError):
    """The description is not of a task that can be trained; the message says which number is wrong."""


# --- layers ---------------------------------------------------------------------------------------------


class _Kind:
    """JSON of a layer: its fields and its kind, as in DAG-CBOR."""

    __slots__ = ()
    kind: ClassVar[str]

    @model_serializer(mode="wrap")
    def _with_kind(self, fields: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"kind": self.kind, **fields(self)}


@dataclass(frozen=True, slots=True)
class Linear(_Kind):
    """Fully connected, with bias: (features,) → (out,)."""

    kind: ClassVar[str] = "linear"
    out: U32


@dataclass(frozen=True, slots=True)
class Conv2d(_Kind):
    """Square convolution, zero padding on every side, with bias: (channels, h, w) → (out, h', w')."""

    kind: ClassVar[str] = "conv2d"
    out: U32
    kernel: U8
    stride: U8
    padding: U8


@dataclass(frozen=True, slots=True)
class ReLU(_Kind):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


@dataclass(frozen=True, slots=True)
class MaxPool(_Kind):
    """The largest of each `size` × `size` square; squares do not overlap and must fill the plane."""

    kind: ClassVar[str] = "maxpool"
    size: U8


@dataclass(frozen=True, slots=True)
class Flatten(_Kind):
    """Any shape → (features,), in row-major order of (channels, h, w)."""

    kind: ClassVar[str] = "flatten"


def _kind_of(layer: Any) -> Any:
    return layer.get("kind") if isinstance(layer, dict) else getattr(layer, "kind", None)


Layer = Annotated[
    Annotated[Linear, Tag("linear")]
    | Annotated[Conv2d, Tag("conv2d")]
    | Annotated[ReLU, Tag("relu")]
    | Annotated[MaxPool, Tag("maxpool")]
    | Annotated[Flatten, Tag("flatten")],
    Discriminator(_kind_of),
]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task. `lr_high`, `lr_low`, `momentum` and `decay` are integers / 2^32 (`RATE_ONE`).

    An input byte x enters as f32((x − input_zero) / input_span). `train` and `heldout` name canonical dataset
    files. A session is `segments` (K) segments of `steps` (m) SGD steps on `batch` (B) examples; within each
    segment the learning rate falls from `lr_high` to `lr_low`. Products are formed on a grid of `bits`.
    """

    name: str
    input_shape: tuple[U32, ...]
    input_zero: U8
    input_span: U8
    classes: U32
    layers: tuple[Layer, ...]
    init_seed: Hash32
    train: Cid
    heldout: Cid
    n_train: U32
    n_heldout: U32
    segments: U32
    steps: U32
    batch: U32
    lr_high: U32
    lr_low: U32
    momentum: U32
    decay: U32
    bits: U8


# --- shapes and cost ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Placed:
    """A layer in its place: `index` in the list, and the shapes before and after it."""

    index: int
    layer: Layer
    before: Shape
    after: Shape

    @property
    def positions(self) -> int:
        """At how many places of one example the layer applies its weights."""
        return math.prod(self.after[1:])

    @property
    def fan_in(self) -> int:
        """Inputs of one output of a layer with weights; 0 for the others."""
        match self.layer:
            case Linear():
                return self.before[0]
            case Conv2d(kernel=kernel):
                return self.before[0] * kernel * kernel
        return 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass of one example: those of its product."""
        return self.fan_in * math.prod(self.after)

    @property
    def parameters(self) -> dict[str, Shape]:
        match self.layer:
            case Linear(out=out):
                weight: Shape = (out, self.before[0])
            case Conv2d(out=out, kernel=kernel):
                weight = (out, self.before[0], kernel, kernel)
            case _:
                return {}
        return {f"{self.index}.weight": weight, f"{self.index}.bias": (out,)}


def placed(spec: TaskSpec) -> Iterator[Placed]:
    """The layers with their shapes, in order. Raises SpecError where one does not fit on the one before."""
    shape: Shape = spec.input_shape
    for index, layer in enumerate(spec.layers):
        after = _output_shape(index, layer, shape)
        yield Placed(index, layer, shape, after)
        shape = after


def _output_shape(index: int, layer: Layer, shape: Shape) -> Shape:
    def refuse(why: str) -> SpecError:
        return SpecError(f"layer {index} ({layer.kind}) cannot follow a shape of {shape}: {why}")

    match layer:
        case Linear(out=out):
            if len(shape) != 1:
                raise refuse("it needs (features,); put a flatten before it")
            return (out,)
        case Conv2d(out=out, kernel=kernel, stride=stride, padding=padding):
            if len(shape) != 3:
                raise refuse("it needs (channels, height, width)")
            if kernel < 1 or stride < 1 or padding >= kernel:
                raise refuse(f"kernel {kernel} and stride {stride} must be ≥ 1, padding {padding} < kernel")
            height, width = ((side + 2 * padding - kernel) // stride + 1 for side in shape[1:])
            if height < 1 or width < 1:
                raise refuse(f"the kernel of {kernel} is larger than the padded plane")
            return (out, height, width)
        case MaxPool(size=size):
            if len(shape) != 3:
                raise refuse("it needs (channels, height, width)")
            if size < 1 or shape[1] % size or shape[2] % size:
                raise refuse(f"squares of {size} do not fill the plane")
            return (shape[0], shape[1] // size, shape[2] // size)
        case Flatten():
            return (math.prod(shape),)
    return shape


def parameters(spec: TaskSpec) -> dict[str, Shape]:
    """Name → shape of each trainable tensor, in the order of the layers: '0.weight', '0.bias', …"""
    return {name: shape for layer in placed(spec) for name, shape in layer.parameters.items()}


def parameter_count(spec: TaskSpec) -> int:
    return sum(math.prod(shape) for shape in parameters(spec).values())


def forward_macs(spec: TaskSpec) -> int:
    """F: multiply-accumulates of the forward pass of one example."""
    return sum(layer.macs for layer in placed(spec))


def segment_macs(spec: TaskSpec) -> int:
    """Multiply-accumulates of one segment: m·B forward and backward passes.

    Backward costs each product twice, for its weights and for its input; the first has no input gradient.
    """
    macs = [layer.macs for layer in placed(spec) if layer.macs]
    return spec.steps * spec.batch * (3 * sum(macs) - macs[0])


def session_macs(spec: TaskSpec) -> int:
    """c: the cost of a session, K·m·B·(3F − F of the first layer with weights)."""
    return spec.segments * segment_macs(spec)


# --- bounds ---------------------------------------------------------------------------------------------

BITS: Final = range(6, 17)
"""Of the grid: at 6 a small CNN loses about a point of accuracy, at 16 none (exact: The definition)."""

MIN_RATE: Final = RATE_ONE >> 12
"""A session that learns nothing would be no work: every step's learning rate is at least 2^-12."""

MAX_CLASSES: Final = 256
"""Labels are bytes. (Softmax sums `classes` integers of 40 bits exactly.)"""

MAX_LAYERS: Final = 64
MAX_NAME: Final = 64
MAX_SIDE: Final = 1 << 16
"""Of any dimension of a tensor, except those that the model's size bounds."""

MAX_SEGMENTS: Final = 1024
"""Each is a CID in the seal. (A SWA sum stays below 2^39 · K, exact in float64.)"""

MAX_STEPS: Final = 1 << 16
MAX_BATCH: Final = 1 << 16
MAX_MODEL_BYTES: Final = 64 << 20
"""Of a model's float32 weights; a state is four times as large."""

MAX_SPLIT_BYTES: Final = 4 << 30
"""Of the inputs of a split."""

MAX_BATCH_NUMBERS: Final = 1 << 28
"""Inputs, patches and outputs of all layers for one batch: what a step keeps in memory, 8 bytes each."""


def check_bounds(spec: TaskSpec, min_train: int) -> None:
    """Raises SpecError unless the task can be trained exactly, by anybody, and is cheap to check.

    `min_train`: the fewest training examples that the network asks for.
    """
    _within("the name's length", len(spec.name.encode()), 1, MAX_NAME)
    _within("the number of input dimensions", len(spec.input_shape), 1, 3)
    for side in spec.input_shape:
        _within("a side of the input", side, 1, MAX_SIDE)
    _within("input_span", spec.input_span, 1, 255)
    _within("classes", spec.classes, 2, MAX_CLASSES)
    _within("the number of layers", len(spec.layers), 1, MAX_LAYERS)
    _within("bits", spec.bits, BITS.start, BITS.stop - 1)
    _within("segments", spec.segments, 2, MAX_SEGMENTS)
    _within("steps", spec.steps, 2, MAX_STEPS)
    _within("batch", spec.batch, 1, MAX_BATCH)
    _within("lr_low", spec.lr_low, MIN_RATE, RATE_ONE - 1)
    _within("lr_high", spec.lr_high, spec.lr_low, RATE_ONE - 1)
    _within("momentum", spec.momentum, 0, RATE_ONE - 1)
    _within("decay", spec.decay, 0, RATE_ONE - 1)
    most = MAX_SPLIT_BYTES // math.prod(spec.input_shape)
    _within("n_train", spec.n_train, max(1, min_train), most)
    _within("n_heldout", spec.n_heldout, 1, most)

    layers = list(placed(spec))
    for place in layers:
        _within(f"the outputs of layer {place.index}", place.after[0], 1, MAX_MODEL_BYTES)
        _check_exact(spec, place)
    if layers[-1].after != (spec.classes,):
        raise SpecError(
            f"the last layer gives {layers[-1].after}, not one number per class: ({spec.classes},)"
        )
    if not any(place.parameters for place in layers):
        raise SpecError("no layer has weights to train")
    _within("a model's size in bytes", 4 * parameter_count(spec), 1, MAX_MODEL_BYTES)
    patches = sum(place.fan_in * place.positions for place in layers)
    numbers = patches + sum(math.prod(place.before) + math.prod(place.after) for place in layers)
    _within("the numbers a batch has to keep", spec.batch * numbers, 1, MAX_BATCH_NUMBERS)

    checking = 3 * spec.n_heldout * forward_macs(spec) + segment_macs(spec)
    if 10 * checking > session_macs(spec):
        raise SpecError(
            f"checking costs {checking} MACs (3 evaluations of {spec.n_heldout} held-out examples, and one "
            f"segment): more than a tenth of a session's {session_macs(spec)}"
        )


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise SpecError(f"{what} is {value}, not between {low} and {high}")


def _check_exact(spec: TaskSpec, place: Placed) -> None:
    """Every integer that a product of this layer sums to must be exact in float64 (exact: Product)."""
    if not place.parameters:
        return
    kernel_area = place.fan_in // place.before[0]
    longest = max(place.fan_in, spec.batch * place.positions, place.after[0] * kernel_area)
    if longest << (2 * spec.bits - 2) >= 1 << 53:
        raise SpecError(
            f"layer {place.index} sums {longest} products of {spec.bits}-bit numbers, more than float64 holds"
        )


# --- the bar before a task's first block ----------------------------------------------------------------


def ln_micro(n: int) -> int:
    """round_half_even(10^6 · ln n), in integers: the loss of guessing among n classes, an example.

    n = 2^k · x with 1 ≤ x < 2, and ln n = k·ln 2 + ln x, both as 2·artanh(y) = 2·(y + y³/3 + y⁵/5 + …) with
    y ≤ 1/3, with an error below 10^-30. (ln n is irrational for n > 1, so there are no ties.)
    """
    k = n.bit_length() - 1
    return round(10**6 * (k * _ln(Fraction(2)) + _ln(Fraction(n, 1 << k))))


def _ln(x: Fraction) -> Fraction:
    scale = 10**40
    y = (x - 1) / (x + 1)
    return Fraction(2 * sum(int(scale * y**power) // power for power in range(1, 90, 2)), scale)
