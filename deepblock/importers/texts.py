"""Texts: a CSV of texts and labels, or plain text of which each next byte is to be told. A token is a byte of UTF-8."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from deepblock.data import DataError
from deepblock.importers.dataset import Dataset, numbered

TOKENS: Final = 64
"""Bytes of a text, unless said."""

COLUMNS: Final = ("text", "label")
LONGEST_CELL: Final = 1 << 24
BYTES: Final = tuple(f"{byte:#04x}" for byte in range(256))
"""The names of the classes where bytes are to be told."""


def read_csv(file: Path, tokens: int | None) -> Dataset:
    """Inputs: the first `tokens` bytes of each text, with zeros after a shorter one. Raises DataError."""
    length = tokens or TOKENS
    rows = _rows(file)
    labels, classes = numbered([label for _, label in rows], file)
    encoded = [text.encode() for text, _ in rows]
    inputs = np.frombuffer(b"".join(text[:length].ljust(length, b"\0") for text in encoded), np.uint8)
    data = Dataset("texts", inputs.reshape(-1, length), labels, classes)
    cut = sum(len(text) > length for text in encoded)
    return (
        data.noting(f"{cut:,} of {len(rows):,} texts were cut to {length} bytes (--tokens)") if cut else data
    )


def read_plain(files: Sequence[Path], tokens: int | None) -> Dataset:
    """Windows of `tokens` bytes that do not overlap; the label of each byte is the next one. Raises DataError."""
    length = tokens or TOKENS
    text = np.frombuffer(b"\n".join(file.read_bytes() for file in files), np.uint8)
    count = max(0, len(text) - 1) // length
    if not count:
        raise DataError(
            f"{files[0].parent}: has {len(text):,} bytes of text, not one window of {length} and the byte after"
        )
    windows, after = (text[shift : shift + count * length].reshape(count, length) for shift in (0, 1))
    return Dataset("tokens", windows, after, BYTES)


def _rows(file: Path) -> list[tuple[str, str]]:
    """Text and label of each row."""
    csv.field_size_limit(LONGEST_CELL)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            named = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
            if any(column not in named for column in COLUMNS):
                there = ", ".join(named) or "none"
                raise DataError(
                    f"{file}: its first row has to name the columns text and label; it names {there}"
                )
            text, label = (named[column] for column in COLUMNS)
            return [
                (_cell(file, reader.line_num, row, text), _cell(file, reader.line_num, row, label).strip())
                for row in reader
            ]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: byte {error.start:,} is not UTF-8; convert it, as `iconv -f latin1 -t utf-8` does"
        ) from None
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num:,} is not CSV ({error})") from None


def _cell(file: Path, line: int, row: dict[str, str | None], column: str) -> str:
    value = row[column]
    if not value or not value.strip():
        raise DataError(f"{file}: line {line:,} has no {column.strip().lower()}")
    return value
