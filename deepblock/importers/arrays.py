"""A .npz file with arrays x and y, as `numpy.savez` writes them."""

import zipfile
from pathlib import Path

import numpy as np

from deepblock.data import DataError
from deepblock.importers.dataset import Dataset, Kind, numbered
from deepblock.tensors import Array

MOST_CHANNELS = 4
"""A last dimension of at most as many is that of channels."""


def read(file: Path) -> Dataset:
    """Inputs x: [n, features], [n, h, w], [n, h, w, channels] or [n, channels, h, w], bytes or what fits into them;
    labels y: [n], numbers or names. Raises DataError."""
    x, y = _arrays(file)
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise DataError(
            f"{file}: x is {x.shape} and y {y.shape}; y has one label for each of the examples of x"
        )
    inputs, notes = _as_bytes(file, x)
    kind, inputs = _laid_out(file, inputs)
    labels, classes = numbered([str(label) for label in y.tolist()], file)
    return Dataset(kind, inputs, labels, classes, notes)


def _arrays(file: Path) -> tuple[Array, Array]:
    if not zipfile.is_zipfile(file):
        raise DataError(f"{file}: is not a .npz file")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            there = arrays.files
            found = [arrays[name] for name in ("x", "y") if name in there]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read as plain arrays ({error})") from None
    if len(found) < 2:
        raise DataError(
            f"{file}: has arrays {', '.join(there) or 'of no name'}, not x and y; "
            "write it with numpy.savez(FILE, x=inputs, y=labels)"
        )
    return found[0], found[1]


def _as_bytes(file: Path, x: Array) -> tuple[Array, tuple[str, ...]]:
    """x as U8, and what was done to it."""
    if x.dtype == np.uint8:
        return x, ()
    if x.dtype.kind not in "biuf" or not np.isfinite(x).all():
        raise DataError(
            f"{file}: x holds {x.dtype}, or NaN or Inf; it has to be numbers that bytes can stand for"
        )
    low, high = float(x.min()), float(x.max())
    if x.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(x * 255).astype(np.uint8), ("x of 0 … 1 was multiplied by 255 and rounded to bytes",)
    if low >= 0 and high <= 255 and np.array_equal(x, np.rint(x)):
        return x.astype(np.uint8), ()
    raise DataError(
        f"{file}: x is {x.dtype} from {low:g} to {high:g}; inputs are bytes: whole numbers of 0 … 255, "
        "or fractions of 0 … 1"
    )


def _laid_out(file: Path, x: Array) -> tuple[Kind, Array]:
    """[n, features] or [n, channels, h, w]."""
    match x.ndim:
        case 2:
            return "vectors", x
        case 3:
            return "images", x[:, None]
        case 4 if x.shape[3] <= MOST_CHANNELS < x.shape[1]:
            return "images", np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        case 4:
            return "images", x
    raise DataError(f"{file}: x has {x.ndim} dimensions, {x.shape}; 2, 3 or 4 are understood")
