"""Pictures in subfolders, each the name of a class. Needs Pillow, which is loaded only here."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from deepblock.data import DataError
from deepblock.importers.dataset import Dataset, numbered
from deepblock.spec.bounds import MAX_SPLIT_BYTES

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES: Final = (".png", ".jpg", ".jpeg")

GREY: Final = ("1", "L", "LA", "I;16")
"""What Pillow calls pictures without colours."""


def folders(path: Path) -> dict[str, list[Path]]:
    """The pictures of each class, by the name of its folder; only folders that have some."""
    found = {
        folder.name: sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    }
    return {name: files for name, files in found.items() if files}


def read(
    path: Path, classes: dict[str, list[Path]], size: tuple[int, int] | None, channels: int | None
) -> Dataset:
    """Inputs of [channels, height, width]; one channel where no picture has colours. Pictures of several sizes need
    a `size`: the sides that are too long for its shape are cropped alike, and the rest is resized. Raises DataError."""
    files = [(file, name) for name, of_class in classes.items() for file in of_class]
    labels, names = numbered([name for _, name in files], path)
    sizes, has_colours = _survey([file for file, _ in files])
    channels = channels or (3 if has_colours else 1)
    if size is None and len(sizes) > 1:
        (most, count), *_ = sizes.most_common(1)
        raise DataError(
            f"{path}: the pictures have {len(sizes):,} sizes, most often {_text(most)} ({count:,} of {len(files):,}); "
            "say --size N or HEIGHTxWIDTH, and each is cropped to that shape around its centre and resized"
        )
    height, width = size or next(iter(sizes))
    if channels * height * width * len(files) > MAX_SPLIT_BYTES:
        raise DataError(
            f"{path}: {len(files):,} pictures of {_text((height, width))} are more than {MAX_SPLIT_BYTES >> 30} GiB; "
            "say a smaller --size"
        )
    inputs = np.empty((len(files), channels, height, width), np.uint8)
    for index, (file, _) in enumerate(files):
        inputs[index] = _pixels(file, (height, width), channels)
    data = Dataset("images", inputs, labels, names)
    if resized := len(files) - sizes[height, width]:
        data = data.noting(
            f"{resized:,} pictures of other sizes were cropped around their centre and resized to "
            f"{_text((height, width))}"
        )
    return data.noting("colours were dropped") if has_colours and channels == 1 else data


def _survey(files: list[Path]) -> tuple[Counter[tuple[int, int]], bool]:
    """How many pictures have which (height, width), and whether any has colours. Headers only."""
    sizes: Counter[tuple[int, int]] = Counter()
    has_colours = False
    for file in files:
        with _opened(file) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) >= 5  # orientations that lie on their side
            sizes[(width, height) if turned else (height, width)] += 1
            has_colours = has_colours or picture.mode not in GREY
    return sizes, has_colours


def _pixels(file: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """U8 [channels, height, width]."""
    from PIL import ImageOps

    with _opened(file) as picture:
        flat = ImageOps.exif_transpose(picture).convert("L" if channels == 1 else "RGB")
        if flat.size != size[::-1]:
            flat = ImageOps.fit(flat, size[::-1])
        pixels = np.asarray(flat)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


@contextmanager
def _opened(file: Path) -> "Iterator[Image.Image]":
    """What is wrong with a file shows when it is opened, or not before its pixels are asked for."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: is no picture that can be read ({error})") from None


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
