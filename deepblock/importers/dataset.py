"""Examples as bytes, whatever they were before, and their splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from deepblock import streams
from deepblock.data import DataError, pack_split
from deepblock.spec.bounds import MAX_CLASSES
from deepblock.tensors import Array

Kind = Literal["images", "vectors", "texts", "tokens"]
"""[channels, height, width]; [features]; bytes of a text, with one label; the same with a label for each byte."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """`inputs`: U8 [n, *shape]; `labels`: U8 [n] or [n, tokens]; `classes`: their names, by label. `notes`: sentences
    that say what was done to the data."""

    kind: Kind
    inputs: Array
    labels: Array
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inputs.shape[1:]

    def noting(self, *notes: str) -> Self:
        return replace(self, notes=(*self.notes, *notes))

    def without_copies(self) -> Self:
        """Every example once: a copy on the other side of the split would be no measure of what was learnt."""
        rows = zip(self.inputs, self.labels, strict=True)
        first = {(x.tobytes(), y.tobytes()): index for index, (x, y) in reversed(list(enumerate(rows)))}
        if len(first) == len(self):
            return self
        kept = sorted(first.values())
        once = replace(self, inputs=self.inputs[kept], labels=self.labels[kept])
        return once.noting(f"{len(self) - len(kept):,} copies of other examples were left out")


@dataclass(frozen=True, slots=True)
class Splits:
    """Two canonical files (`deepblock.data`), and how many examples each has."""

    train: bytes
    heldout: bytes
    n_train: int
    n_heldout: int


def split(data: Dataset, heldout: int, seed: bytes) -> Splits:
    """Keeps `heldout` examples back. Their order is that of `streams.order`, so the seed decides who is on which
    side, and another computer makes the same files. Raises DataError where a class is in one of them alone."""
    order = streams.order(seed, len(data))
    sides = order[heldout:], order[:heldout]
    trained, tested = (set(np.unique(data.labels[side]).tolist()) for side in sides)
    if data.kind != "tokens" and not tested <= trained:
        names = ", ".join(data.classes[label] for label in sorted(tested - trained))
        raise DataError(f"all examples of {names} would be held out; there are too few of them to train on")
    train, tested_on = (pack_split(data.inputs[side], data.labels[side]) for side in sides)
    return Splits(train, tested_on, *map(len, sides))


def numbered(names: Sequence[str], where: object) -> tuple[Array, tuple[str, ...]]:
    """Labels 0 … (U8 [n]) for these names of classes, and the names in the order of their labels: by number where all
    are numbers. Raises DataError unless there are 2 … 256."""
    found = set(names)
    is_numeric = all(name.isdecimal() for name in found)
    classes = sorted(found, key=lambda name: (int(name), name)) if is_numeric else sorted(found)
    if len(classes) < 2:
        there = f"one class, {classes[0]!r}" if classes else "no class"
        raise DataError(f"{where}: has only {there}; two at least are needed to tell apart")
    if len(classes) > MAX_CLASSES:
        raise DataError(f"{where}: has {len(classes):,} classes; labels are bytes, so {MAX_CLASSES} at most")
    label = {name: index for index, name in enumerate(classes)}
    return np.array([label[name] for name in names], np.uint8), tuple(classes)
