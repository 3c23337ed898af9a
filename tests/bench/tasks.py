"""The base tasks of the networks, and others, with data for them."""

from dataclasses import replace

import numpy as np

from deepblock.blockstore import Files
from deepblock.data import pack_split
from deepblock.spec import (
    GELU,
    RATE_ONE,
    Attention,
    Conv2d,
    Embedding,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    Layer,
    LayerNorm,
    Linear,
    Positions,
    ReLU,
    Residual,
    TaskSpec,
)
from node.config import load_params
from tests.digits import digits_mlp

TITLES = {
    "digits": "digits MLP",
    "testnet": "Fashion-MNIST CNN",
    "wide": "784-512-512-10 MLP",
    "residual": "residual CNN with GroupNorm",
    "transformer": "transformer, 4 blocks of 128",
    "transformer-256": "transformer, 2 blocks of 256",
}
WIDE = (Flatten(), Linear(512), ReLU(), Linear(512), ReLU(), Linear(10))
"""Of a batch of 128: large enough that its time is not Python's."""

RESIDUAL = (
    Conv2d(16, 3, 1, 1),
    GroupNorm(4),
    ReLU(),
    Residual((Conv2d(16, 3, 1, 1), GroupNorm(4), ReLU(), Conv2d(16, 3, 1, 1), GroupNorm(4)), ()),
    ReLU(),
    Residual(
        (Conv2d(32, 3, 2, 1), GroupNorm(4), ReLU(), Conv2d(32, 3, 1, 1), GroupNorm(4)), (Conv2d(32, 1, 2, 0),)
    ),
    ReLU(),
    GlobalAvgPool(),
    Linear(10),
)
TOKENS = 64
TEXT = (
    b"zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    * 12
)


def with_data(network: str, files: Files) -> TaskSpec:
    """A task whose data are in `files` then: an MLP for the digits; testnet's with images of the same
    number and shape that are made here, so that the benchmark needs no download; "wide" and "residual" are other
    networks on those, and transformers predict each next character of a text."""
    match network:
        case "digits":
            return digits_mlp(files)
        case "testnet":
            spec = load_params(network).base_tasks[0]
            train, heldout = (
                files.put_file(_images(spec, count)) for count in (spec.n_train, spec.n_heldout)
            )
            return replace(spec, train=train, heldout=heldout)
        case "wide":
            return replace(with_data("testnet", files), layers=WIDE, batch=128)
        case "residual":
            return replace(with_data("testnet", files), layers=RESIDUAL)
        case "transformer":
            return _language_task(_transformer(width=128, heads=4, blocks=4), files)
        case "transformer-256":
            return _language_task(_transformer(width=256, heads=8, blocks=2), files)
    raise ValueError(f"no benchmark trains {network}")


def _transformer(width: int, heads: int, blocks: int) -> tuple[Layer, ...]:
    block = (
        Residual((LayerNorm(), Attention(heads)), ()),
        Residual((LayerNorm(), Linear(4 * width), GELU(), Linear(width)), ()),
    )
    return Embedding(128, width), Positions(), *(block * blocks), LayerNorm(), Linear(128)


def _language_task(layers: tuple[Layer, ...], files: Files) -> TaskSpec:
    """Windows of a text, each with the characters that follow its own; in batches of 16."""
    characters = np.frombuffer(TEXT, np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(characters, TOKENS + 1)
    split = files.put_file(pack_split(windows[:, :-1], windows[:, 1:]))
    return replace(
        digits_mlp(files),
        input_shape=(TOKENS,),
        input_zero=0,
        input_span=1,
        classes=128,
        layers=layers,
        train=split,
        heldout=split,
        n_train=len(windows),
        n_heldout=len(windows),
        batch=16,
        lr_high=RATE_ONE // 50,
        lr_low=RATE_ONE // 200,
    )


def _images(spec: TaskSpec, count: int) -> bytes:
    """Noise with a bright stripe at a height that tells the class: something can be learned."""
    labels = np.arange(count, dtype=np.uint8) % spec.classes
    images = np.random.default_rng(count).integers(0, 128, (count, *spec.input_shape), np.uint8)
    for label in range(spec.classes):
        images[labels == label, :, 2 * label : 2 * label + 2] += 100
    return pack_split(images, labels)
