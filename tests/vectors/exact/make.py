"""How the vectors of the residual networks, the transformers and the transfer came to be.

`python -m tests.vectors.exact.make` writes their descriptions, their data (always the same bytes) and their results.
`mlp` and `cnn` are older than this file. Data come from SHAKE-256, so another implementation can make them too, but
has no need to: the vectors hold the files.
"""

import base64
import hashlib
import math
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from deepblock import streams
from deepblock.data import pack_split
from deepblock.primitives import Hash32
from deepblock.spec import (
    GELU,
    RATE_ONE,
    Attention,
    AvgPool,
    Conv2d,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GroupedConv2d,
    GroupNorm,
    LayerNorm,
    Linear,
    MaxPool,
    Positions,
    ReLU,
    Residual,
    Start,
    TaskSpec,
    check_bounds,
    started_parameters,
)
from deepblock.tensors import pack, start_manifest
from deepblock.unixfs import file_cid
from tests.vectors.exact.session import run, write

COUNTED = (
    b"zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    * 12
)
TOKENS = 24

RESIDUAL = (
    Conv2d(8, 3, 1, 1),
    GroupNorm(2),
    ReLU(),
    Residual((Conv2d(8, 3, 1, 1), GroupNorm(4), GELU(), Conv2d(8, 3, 1, 1), GroupNorm(4)), ()),
    ReLU(),
    Residual(
        (Conv2d(16, 3, 2, 1), GroupNorm(4), ReLU(), GroupedConv2d(16, 3, 1, 1, 4), GroupNorm(1)),
        (AvgPool(2), Conv2d(16, 1, 1, 0)),
    ),
    ReLU(),
    GlobalAvgPool(),
    Linear(5),
)
TRANSFORMER = (
    Embedding(128, 24),
    Positions(),
    Residual((LayerNorm(), Attention(3)), ()),
    Residual((LayerNorm(), Linear(48), GELU(), Linear(24)), ()),
    Residual((LayerNorm(), Attention(4)), ()),
    LayerNorm(),
    Linear(128),
)
TRANSFER = (
    Conv2d(6, 3, 1, 1),
    GroupNorm(2),
    ReLU(),
    Residual((Conv2d(6, 3, 1, 1), GELU()), ()),
    MaxPool(2),
    Flatten(),
    Linear(5),
)

WIDE_RESIDUAL = (
    Conv2d(20, 3, 1, 1),
    GroupNorm(4),
    GELU(),
    Residual((Conv2d(20, 3, 1, 1), GroupNorm(5), ReLU(), GroupedConv2d(20, 3, 1, 1, 4)), ()),
    MaxPool(2),
    Conv2d(24, 5, 2, 2),
    ReLU(),
    AvgPool(2),
    GlobalAvgPool(),
    Linear(5),
)
WIDE_TRANSFORMER = (
    Embedding(128, 48),
    Positions(),
    Residual((LayerNorm(), Attention(4)), ()),
    Residual((LayerNorm(), Linear(96), GELU(), Linear(48)), ()),
    LayerNorm(),
    Linear(128),
)
"""A batch of either is more than one thread's share, than a float32 sum holds, and than is converted at a time."""


def noise(label: str, count: int) -> np.ndarray:
    return np.frombuffer(hashlib.shake_256(label.encode()).digest(count), np.uint8)


def pictures(label: str, examples: int, shape: tuple[int, ...] = (2, 6, 6)) -> bytes:
    """One of five random pictures of this shape, and noise on it."""
    size = math.prod(shape)
    classes = noise("pictures", 5 * size).reshape(5, *shape) // 2
    labels = noise(f"{label} labels", examples) % 5
    inputs = classes[labels] + noise(label, examples * size).reshape(examples, *shape) // 2
    return pack_split(inputs, labels)


def text(label: str, examples: int, tokens: int = TOKENS) -> bytes:
    """Windows of a text that counts in words, each with the characters that follow its own."""
    starts = noise(label, examples).astype(int)
    windows = np.stack([np.frombuffer(COUNTED, np.uint8)[start : start + tokens + 1] for start in starts])
    return pack_split(windows[:, :-1], windows[:, 1:])


def weights(spec: TaskSpec) -> bytes:
    """Start weights for its first layers, as if they had been trained: no bias is 0, no scale 1."""
    seed = hashlib.sha256(b"teacher").digest()
    shapes = started_parameters(spec).items()
    return pack(
        {name: streams.uniform("init", seed, name, shape) for name, shape in shapes}, start_manifest(spec)
    )


def transfer(**fields: Any) -> dict[str, Any]:
    """Four layers start from given weights; the first three stay frozen."""
    train, heldout = pictures("train", 160), pictures("heldout", 8)

    def started(file: bytes) -> dict[str, Any]:
        return vector("transfer", TRANSFER, train, heldout, **fields, start=Start(file_cid(file), 4, 3))

    spec = TypeAdapter(TaskSpec).validate_python(started(b"")["spec"])
    file = weights(spec)
    return started(file) | {"start": base64.b64encode(file).decode()}


def vector(name: str, layers: tuple[Any, ...], train: bytes, heldout: bytes, **fields: Any) -> dict[str, Any]:
    seeds = [hashlib.sha256(f"{name} {what}".encode()).digest() for what in ("weights", "session")]
    spec = TaskSpec(
        name=name,
        layers=layers,
        init_seed=Hash32(seeds[0]),
        train=file_cid(train),
        heldout=file_cid(heldout),
        lr_high=RATE_ONE // 10,
        lr_low=RATE_ONE // 40,
        momentum=RATE_ONE // 10 * 9,
        decay=RATE_ONE // 2000,
        **fields,
    )
    check_bounds(spec, min_train=1)
    return {
        "comment": "A published session: tests/vectors/README.md.",
        "spec": TypeAdapter(TaskSpec).dump_python(spec, mode="json"),
        "seed": seeds[1].hex(),
        "train": base64.b64encode(train).decode(),
        "heldout": base64.b64encode(heldout).decode(),
    }


def main() -> None:
    planes = dict(input_zero=128, input_span=64, classes=5, bits=8)
    tokens = dict(input_zero=0, input_span=1, classes=128)
    small = dict(segments=12, steps=6, batch=20, n_heldout=16)
    large = dict(segments=11, steps=2, batch=32, n_train=40, n_heldout=3)
    side, length = (3, 16, 16), 40
    shapes = dict(input_shape=(2, 6, 6), n_train=160), dict(input_shape=(TOKENS,), n_train=200)
    made = [
        vector(
            "residual",
            RESIDUAL,
            pictures("train", 160),
            pictures("heldout", 16),
            **planes,
            **small,
            **shapes[0],
        ),
        vector(
            "transformer",
            TRANSFORMER,
            text("train", 200),
            text("heldout", 16),
            **tokens,
            **small,
            **shapes[1],
            bits=10,
        ),
        vector(
            "wide-residual",
            WIDE_RESIDUAL,
            pictures("wide train", 40, side),
            pictures("wide heldout", 3, side),
            **planes,
            **large,
            input_shape=side,
        ),
        vector(
            "wide-transformer",
            WIDE_TRANSFORMER,
            text("wide train", 40, length),
            text("wide heldout", 3, length),
            **tokens,
            **large,
            input_shape=(length,),
            bits=8,
        ),
        transfer(**planes | small | shapes[0] | {"n_heldout": 8}),
    ]
    for one in made:
        write(one, {"sessions": []})  # for `run` to find it
        write(one, run(one["spec"]["name"]))


if __name__ == "__main__":
    main()
