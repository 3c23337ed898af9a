"""What is trained, and the examples that score it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import mpmath.function_docs
import numpy as np

from deepblock.blockstore import Files
from deepblock.data import DataError, import_fashion_mnist, pack_split
from deepblock.spec import (
    GELU,
    RATE_ONE,
    Attention,
    Embedding,
    LayerNorm,
    Linear,
    Positions,
    Residual,
    TaskSpec,
)
from deepblock.types import Hash32
from node.config import load_params
from tests.digits import digits_mlp

FASHION_MNIST: Final = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's dataset-fashion-mnist puts it."""

TEXT: Final = Path(mpmath.function_docs.__file__)
TEXT_SHA256: Final = "8383cff27e882d798770bc80e74b312ba4e6a7f678fe944dfb00c4ad4f03d62e"
"""Of mpmath 1.3.0, which locks/run.txt names: 283,512 characters of English, formulas and numbers (BSD licence)."""

TOKENS: Final = 64
BLOCK: Final = 4096
"""Characters that stay together: no window reaches from one block into another."""


@dataclass(frozen=True, slots=True)
class Task:
    """`sessions` of `spec`, each from the average of the one before. Its held-out split is what scores a model here:
    data that no session and no choice of a rate has looked at."""

    spec: TaskSpec
    sessions: int


def digits(files: Files) -> Task:
    """An MLP: 8 sessions are 89 epochs. The 360 held-out digits are all that there are."""
    return Task(digits_mlp(files), 8)


def fashion_mnist(files: Files) -> Task:
    """Testnet's network and batches, scored on the 10,000 test images: five sessions of one epoch, 54 segments of 16
    steps. The rate stays at testnet's highest, at which averaging has most to do (exact: Precision)."""
    if not FASHION_MNIST.exists():
        raise DataError(
            f"{FASHION_MNIST}: there is no such folder; Debian's package dataset-fashion-mnist makes it"
        )
    data = import_fashion_mnist(FASHION_MNIST)
    spec = load_params("testnet").base_tasks[0]
    train, test = files.put_file(data.train), files.put_file(data.test)
    if train != spec.train:
        raise DataError(f"{FASHION_MNIST}: the training images are {train}, testnet's are {spec.train}")
    return Task(replace(spec, heldout=test, n_heldout=10_000, segments=54, lr_low=spec.lr_high), 5)


def text(files: Files) -> Task:
    """The next character of a manual, by a transformer of two blocks: 5 sessions read ten times as many characters as
    there are. A tenth of the text, every tenth block of it, is the test."""
    data = TEXT.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != TEXT_SHA256:
        raise DataError(f"{TEXT}: SHA-256 {found}, not that of mpmath 1.3.0, {TEXT_SHA256}")
    blocks = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    train = windows([block for index, block in enumerate(blocks) if index % 10 != 9], TOKENS // 8)
    test = windows(blocks[9::10], TOKENS)
    attention = Residual((LayerNorm(), Attention(4)), ())
    perceptron = Residual((LayerNorm(), Linear(128), GELU(), Linear(32)), ())
    spec = TaskSpec(
        name="text",
        input_shape=(TOKENS,),
        input_zero=0,
        input_span=1,
        classes=128,
        layers=(Embedding(128, 32), Positions(), *(attention, perceptron) * 2, LayerNorm(), Linear(128)),
        init_seed=Hash32(bytes(32)),
        train=files.put_file(pack_split(*train)),
        heldout=files.put_file(pack_split(*test)),
        n_train=len(train[0]),
        n_heldout=len(test[0]),
        segments=32,
        steps=16,
        batch=16,
        lr_high=RATE_ONE // 5,
        lr_low=RATE_ONE // 5,
        momentum=RATE_ONE // 10 * 9,
        decay=0,
        bits=8,
    )
    return Task(spec, 5)


def windows(blocks: list[bytes], stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels, U8 [n, TOKENS]: every `stride` characters a window, and the characters one further on."""
    every = [
        np.lib.stride_tricks.sliding_window_view(np.frombuffer(block, np.uint8), TOKENS + 1)[::stride]
        for block in blocks
        if len(block) > TOKENS
    ]
    windows = np.concatenate(every)
    return windows[:, :-1], windows[:, 1:]


TASKS: Final[dict[str, Callable[[Files], Task]]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "text": text,
}
