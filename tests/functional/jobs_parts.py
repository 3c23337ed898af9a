"""What the tests of jobs share: small tasks on the embedded digits, and what is true of them."""

from dataclasses import replace
from pathlib import Path

import torch

from deepblock.blockstore import Blockstore
from deepblock.data import embedded
from deepblock.primitives import Hash32
from deepblock.spec import RATE_ONE, Flatten, Linear, ReLU, TaskSpec
from deepblock.training.state import Work
from deepblock.types import Seal
from deepblock.unixfs import file_cid
from tests.session_vectors import whole_session

SEED = bytes(range(32))

_TRAIN, _HELDOUT = embedded()

SMALL = TaskSpec(
    name="digits, small",
    input_shape=(1, 8, 8),
    input_zero=0,
    input_span=16,
    classes=10,
    layers=(Flatten(), Linear(16), ReLU(), Linear(10)),
    init_seed=Hash32(bytes(32)),
    train=file_cid(_TRAIN),
    heldout=file_cid(_HELDOUT),
    n_train=1437,
    n_heldout=360,
    segments=4,
    steps=4,
    batch=16,
    lr_high=RATE_ONE // 10,
    lr_low=RATE_ONE // 100,
    momentum=RATE_ONE // 10 * 9,
    decay=0,
    bits=8,
)

LONG = replace(SMALL, name="digits, long", segments=40, steps=50)
"""Takes long enough to be disturbed."""


def new_blobs(folder: Path) -> Blockstore:
    """A Blockstore with the digits in it."""
    blobs = Blockstore(folder)
    for split in embedded():
        blobs.put_file(split)
    return blobs


def true_seal(spec: TaskSpec, blobs: Blockstore) -> Seal:
    """By a session in this process; leaves its files in `blobs`."""
    torch.set_num_threads(1)  # two only get into each other's way on matrices this small
    result = whole_session(Work(spec, SEED, None), blobs)
    return Seal(result.states, result.average, result.score)
