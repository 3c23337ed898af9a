"""Which importer a folder is for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deepblock.data import DataError
from deepblock.importers import arrays, pictures, texts
from deepblock.importers.dataset import Dataset

EXPECTED = (
    "pictures (PNG, JPEG) in subfolders, one a class; a .npz file with arrays x and y; a .csv file with columns "
    "text and label; or .txt files"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the inputs should be, where people or another task's weights say. `size`: of pictures, (height, width);
    `channels`: 1 or 3; `tokens`: bytes of a text."""

    size: tuple[int, int] | None = None
    channels: int | None = None
    tokens: int | None = None


def read(path: Path, wanted: Wanted) -> Dataset:
    """What is in the folder or file `path`. Raises DataError."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    readers = _readers(path, wanted)
    if not readers:
        there = "is empty" if path.is_dir() and not any(path.iterdir()) else "has no data set"
        raise DataError(f"{path}: {there}; what can be read are {EXPECTED}")
    if len(readers) > 1:
        raise DataError(
            f"{path}: has {' and '.join(readers)}; name the file that is meant, or remove the others"
        )
    (reader,) = readers.values()
    return reader().without_copies()


def _readers(path: Path, wanted: Wanted) -> dict[str, Callable[[], Dataset]]:
    """What there is to be read, in words, and how."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    readers: dict[str, Callable[[], Dataset]] = {}
    for file in files:
        if file.suffix == ".npz":
            readers[file.name] = partial(arrays.read, file)
        elif file.suffix == ".csv":
            readers[file.name] = partial(texts.read_csv, file, wanted.tokens)
    if plain := [file for file in files if file.suffix == ".txt" and file.is_file()]:
        readers["plain text"] = partial(texts.read_plain, plain, wanted.tokens)
    if path.is_dir() and (classes := pictures.folders(path)):
        readers["pictures"] = partial(pictures.read, path, classes, wanted.size, wanted.channels)
    return readers
