"""One process that trains alone, on the chain's own step: the same network, batches, momentum and decay."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepblock.blockstore import Files
from deepblock.spec import RATE_ONE, TaskSpec, trained_parameters
from deepblock.training.model import split
from deepblock.training.state import CPU, Work, derive_state, store_model
from deepblock.training.step import Trainer
from tests.learning.curve import Point
from tests.learning.tasks import Task

SGD_RATE = RATE_ONE // 100
"""Constant; of 0.005, 0.01, 0.02, 0.04 and 0.08 the one with which SGD is fastest to each accuracy."""

LOOKS = 8
"""At the test images, in as many steps as a session has."""


def sgd(task: Task, files: Files, seed: int, steps: int) -> Iterator[Point]:
    """Its last weights, at a constant rate."""
    constant = replace(task.spec, lr_high=SGD_RATE, lr_low=SGD_RATE)
    for ends in _segments(constant, files, seed, steps):
        yield _point(task, files, ends, ends[-1])


def swa(task: Task, files: Files, seed: int, steps: int) -> Iterator[Point]:
    """The mean of the later half of the segment ends so far: a session that never ends, at a session's rates."""
    for ends in _segments(task.spec, files, seed, steps):
        yield _point(task, files, ends, np.stack(ends[len(ends) // 2 :]).mean(axis=0, dtype=np.float64))


def _segments(spec: TaskSpec, files: Files, seed: int, steps: int) -> Iterator[list[NDArray[np.float32]]]:
    """The weights at all segment ends so far, each [parameter count], whenever it is time to look."""
    work = Work(spec, hashlib.sha256(f"learning alone {seed}".encode()).digest(), None)
    trainer, state = Trainer(work, files, CPU), derive_state(work, files, CPU)
    ends: list[NDArray[np.float32]] = []
    for step in range(steps):
        with torch.inference_mode():
            trainer.step(state, step)
        if (step + 1) % spec.steps == 0:
            ends.append(state.weights.numpy().copy())
            if len(ends) % (spec.segments // LOOKS) == 0:
                yield ends


def _point(task: Task, files: Files, ends: list[NDArray[np.float32]], weights: NDArray[Any]) -> Point:
    spec, steps = task.spec, len(ends) * task.spec.steps
    model = store_model(spec, files, split(weights.astype(np.float32), trained_parameters(spec)))
    return Point(steps, steps * spec.batch, task.accuracy(files, model))
