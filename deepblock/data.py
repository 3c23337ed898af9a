"""Data sets as the protocol knows them: each split a file of its own, named by its CID.

A split is a canonical safetensors file with exactly two tensors (`deepblock.tensors.split_manifest`):

    inputs   U8 [n, *input shape]     what the task's `input_zero` and `input_span` turn into numbers
    labels   U8 [n]                   0 … classes − 1; [n, tokens] where the task predicts one for each token

The digits of devnet come with the package. Fashion-MNIST is imported from its four published files.
`deepblock.importers` makes splits of what people have in a folder.
"""

import gzip
import math
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.exact.constants import LIMIT, TINY
from deepblock.spec import Embedding, TaskSpec, label_shape
from deepblock.tensors import Array, file_size, pack, split_manifest, start_manifest, unpack

_EMBEDDED: Final = ("digits-train.safetensors", "digits-heldout.safetensors")
_CLASSES: Final = 10


class DataError(ValueError):
    """A file is absent, or is not what its name says. The message says which, and what was expected."""


def embedded() -> list[bytes]:
    """The splits that come with the package: 1,437 digits to train on, 360 held out; [1, 8, 8] of 0 … 16."""
    assets = resources.files("deepblock") / "assets"
    return [(assets / name).read_bytes() for name in _EMBEDDED]


def pack_split(inputs: Array, labels: Array) -> bytes:
    """The split file of `inputs` (U8 [n, *input shape]) and `labels` (U8 [n] or [n, tokens])."""
    manifest = split_manifest(inputs.shape[1:], len(inputs), labels.shape[1:])
    return pack({"inputs": inputs, "labels": labels}, manifest)


# --- a task's files -----------------------------------------------------------------------------------------


def read_split(spec: TaskSpec, files: Files, split: Cid, examples: int) -> tuple[Array, Array]:
    """Inputs and labels of one of a task's splits. Raises Malformed where it is not the canonical file of such a
    split, or has labels or tokens that the task does not know."""
    manifest = split_manifest(spec.input_shape, examples, label_shape(spec))
    tensors = unpack(files.get_file(split, file_size(manifest)), manifest)
    inputs, labels = tensors["inputs"], tensors["labels"]
    if labels.max() >= spec.classes:
        raise Malformed(f"a label is {labels.max()}, and the task has {spec.classes} classes")
    first = spec.layers[0]
    if isinstance(first, Embedding) and inputs.max() >= first.vocabulary:
        raise Malformed(f"a token is {inputs.max()}, and the vocabulary has {first.vocabulary}")
    return inputs, labels


def read_start(spec: TaskSpec, files: Files) -> dict[str, Array]:
    """The parameters that a task starts from; none without a `start`. Raises Malformed where the file has others, or
    numbers that no training leaves behind."""
    if spec.start is None:
        return {}
    manifest = start_manifest(spec)
    tensors = unpack(files.get_file(spec.start.weights, file_size(manifest)), manifest)
    for name, tensor in tensors.items():
        magnitudes = np.abs(tensor)
        if magnitudes.max() > LIMIT or ((magnitudes > 0) & (magnitudes < TINY)).any():
            raise Malformed(f"{name} has magnitudes beyond 2^15 or below 2^-64, which no training leaves")
    return tensors


def check_files(spec: TaskSpec, files: Files) -> None:
    """Raises Malformed where one of the task's files is not what the task says, so that no session could use it."""
    read_start(spec, files)
    read_split(spec, files, spec.train, spec.n_train)
    read_split(spec, files, spec.heldout, spec.n_heldout)


# --- Fashion-MNIST ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FashionMnist:
    """Its splits, with inputs of [1, 28, 28] (protocol: Known limits says what `test` is for)."""

    train: bytes
    """The first 55,000 of the published training images."""
    heldout: bytes
    """The last 1,000 of them: two or three evaluations of it are part of every audit."""
    test: bytes
    """The 10,000 published test images, which the protocol never sees: an honest measure for people."""


def import_fashion_mnist(folder: Path) -> FashionMnist:
    """From {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz in `folder`, as published. Raises DataError.

    Debian's package dataset-fashion-mnist puts them into /usr/share/datasets/fashion-mnist.
    """
    images = _read_idx(folder / "train-images-idx3-ubyte.gz", (60_000, 28, 28))
    labels = _read_labels(folder / "train-labels-idx1-ubyte.gz", 60_000)
    test_images = _read_idx(folder / "t10k-images-idx3-ubyte.gz", (10_000, 28, 28))
    test_labels = _read_labels(folder / "t10k-labels-idx1-ubyte.gz", 10_000)
    return FashionMnist(
        train=pack_split(images[:55_000, None], labels[:55_000]),
        heldout=pack_split(images[-1_000:, None], labels[-1_000:]),
        test=pack_split(test_images[:, None], test_labels),
    )


def _read_labels(file: Path, count: int) -> Array:
    labels = _read_idx(file, (count,))
    if labels.max() >= _CLASSES:
        raise DataError(f"{file}: has a label {labels.max()}; there are only {_CLASSES} classes")
    return labels


def _read_idx(file: Path, shape: tuple[int, ...]) -> Array:
    """An idx file: two zeros, 8 for unsigned bytes, the dimensions' number and big-endian u32s, the bytes."""
    header = bytes((0, 0, 8, len(shape))) + b"".join(side.to_bytes(4, "big") for side in shape)
    size = len(header) + math.prod(shape)
    try:
        with gzip.open(file) as stream:
            data = stream.read(size + 1)  # and no more, whatever it would unpack to
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read as a gzip file ({error})") from error
    if not data.startswith(header):
        wanted, found = " × ".join(map(str, shape)), data[: len(header)].hex()
        raise DataError(f"{file}: not an idx file of {wanted} bytes (it begins with {found})")
    if len(data) != size:
        found = f"{len(data)}" if len(data) < size else "more"
        raise DataError(f"{file}: {size} bytes were expected when unpacked, there are {found}")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)
