"""From data and a template to a task that a network takes."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from deepblock import api
from deepblock.cid import RAW, cid_of_block
from deepblock.data import DataError
from deepblock.importers import Dataset, split
from deepblock.primitives import Hash32
from deepblock.spec import RATE_ONE, SpecError, TaskSpec, check_bounds, most_heldout, session_macs
from deepblock.sponsor.template import Template
from deepblock.sponsor.transfer import Trained, started
from deepblock.unixfs import file_cid

LEAST_HELDOUT: Final = 64
"""Fewer examples say little about a model."""

ENOUGH_HELDOUT: Final = 2_000

LEAST_BATCH: Final = 4

MOST_GROWTH: Final = 4
"""Times the steps of the template."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`files`: what the task names, to be served. `notes`: what people should know of how it came about."""

    spec: TaskSpec
    files: tuple[bytes, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """What else a person may say. `seed`: decides the split and the first weights. `trained`, `frozen`: where to
    start. `heldout`: examples to hold back."""

    name: str
    seed: str = "1"
    trained: Trained | None = None
    frozen: int = 0
    heldout: int | None = None


def make(data: Dataset, template: Template, choices: Choices, node: api.NodeInfo) -> Plan:
    """The task, within what the network takes. Raises SpecError, DataError."""
    if data.kind not in template.inputs:
        raise SpecError(f"the template is for {' or '.join(template.inputs)}, and the data are {data.kind}")
    spec = _drafted(data, template, choices)
    files: tuple[bytes, ...] = ()
    notes = data.notes
    if choices.trained:
        spec, weights = started(spec, choices.trained, choices.frozen)
        files = (weights,)
        notes = (*notes, _inherited(spec, choices.trained))
    fitted = _fitted(spec, node)
    if fitted != spec:
        was, now = (f"{one.steps} steps of {one.batch} examples" for one in (spec, fitted))
        notes = (
            *notes,
            f"a segment has {now} and not {was}: sessions count up to {node.base_session_macs:,} MACs here",
        )
    heldout = _heldout(fitted, len(data), choices.heldout, node.min_train)
    splits = split(data, heldout, _seed(choices, "split"))
    spec = replace(
        fitted,
        train=file_cid(splits.train),
        heldout=file_cid(splits.heldout),
        n_train=splits.n_train,
        n_heldout=splits.n_heldout,
    )
    check_bounds(spec, node.min_train)
    return Plan(spec, (splits.train, splits.heldout, *files), notes)


def _inherited(spec: TaskSpec, trained: Trained) -> str:
    layers = spec.start.layers if spec.start else 0
    kept = f"; the first {spec.frozen} are frozen" if spec.frozen else ""
    return f"the first {layers} of {len(spec.layers)} layers start from {trained.name}{kept}"


def _drafted(data: Dataset, template: Template, choices: Choices) -> TaskSpec:
    """The task, but for its data."""
    zero, span = _scale(data, choices.trained.spec if choices.trained else None)
    unknown = cid_of_block(b"", RAW)
    return TaskSpec(
        name=choices.name,
        input_shape=data.shape,
        input_zero=zero,
        input_span=span,
        classes=len(data.classes),
        layers=template.for_classes(len(data.classes)),
        init_seed=Hash32(_seed(choices, "init")),
        train=unknown,
        heldout=unknown,
        n_train=len(data),
        n_heldout=1,
        segments=template.segments,
        steps=template.steps,
        batch=template.batch,
        lr_high=int(template.lr_high * RATE_ONE),
        lr_low=int(template.lr_low * RATE_ONE),
        momentum=int(template.momentum * RATE_ONE),
        decay=int(template.decay * RATE_ONE),
        bits=template.bits,
    )


def _scale(data: Dataset, origin: TaskSpec | None) -> tuple[int, int]:
    """Zero and span of the inputs: those that the weights to start from know; else tokens are as they are, and other
    bytes have mean 0 and deviation 1."""
    if origin:
        return origin.input_zero, origin.input_span
    if data.kind in ("texts", "tokens"):
        return 0, 1
    counts = np.bincount(data.inputs.reshape(-1), minlength=256)
    mean = float(np.average(np.arange(256), weights=counts))
    deviation = math.sqrt(float(np.average((np.arange(256) - mean) ** 2, weights=counts)))
    return round(mean), min(255, max(1, round(deviation)))


def _fitted(spec: TaskSpec, node: api.NodeInfo) -> TaskSpec:
    """The task with as many steps as make a session cost what it can count, that of the network's base task: a dearer
    one wins no more for it, and of cheaper ones it takes more. Where that pays for too few held-out examples, dearer
    ones, as far as the network takes them."""
    fitted = _sized(spec, node.base_session_macs)
    if fitted is None or most_heldout(fitted) < LEAST_HELDOUT:
        fitted = _sized(spec, node.max_session_macs)
    if fitted is None:
        raise SpecError(
            f"training on an example costs {_example_macs(spec):,} MACs: too much for this network, where a session "
            f"has at most {node.max_session_macs:,}; choose a smaller template, such as mlp, or smaller inputs"
        )
    return fitted


def _sized(spec: TaskSpec, macs: int) -> TaskSpec | None:
    """The task with sessions of at most `macs`: by its steps, but not much longer ones than the template's, and where
    there would be none, by its batches. None where that does not do."""
    examples = macs // (spec.segments * _example_macs(spec))
    steps = min(examples // spec.batch, MOST_GROWTH * spec.steps)
    if steps >= 2:
        return replace(spec, steps=steps)
    return replace(spec, steps=2, batch=examples // 2) if examples // 2 >= LEAST_BATCH else None


def _example_macs(spec: TaskSpec) -> int:
    """Of a step, for each example."""
    return max(1, session_macs(spec) // (spec.segments * spec.steps * spec.batch))


def _heldout(spec: TaskSpec, examples: int, wanted: int | None, min_train: int) -> int:
    """How many examples to hold back."""
    if examples < min_train + LEAST_HELDOUT:
        raise DataError(
            f"there are {examples:,} examples; this network asks for {min_train:,} to train on, and {LEAST_HELDOUT} "
            f"at least are held out: {min_train + LEAST_HELDOUT - examples:,} more are needed"
        )
    most = most_heldout(spec)
    if most < LEAST_HELDOUT:
        raise SpecError(
            f"a session of {session_macs(spec):,} MACs pays for checking {most} held-out examples of this model, and "
            f"{LEAST_HELDOUT} at least are needed; choose a smaller template, such as mlp, or smaller inputs"
        )
    if wanted is None:
        return min(most, ENOUGH_HELDOUT, examples // 6, examples - min_train)
    if not 1 <= wanted <= min(most, examples - min_train):
        raise SpecError(
            f"--heldout {wanted}: it can be 1 to {min(most, examples - min_train):,}; more would make checking dear, "
            f"or leave fewer than {min_train:,} to train on"
        )
    return wanted


def _seed(choices: Choices, purpose: str) -> bytes:
    return hashlib.sha256(f"deepblock/task {purpose}/1 {choices.name} {choices.seed}".encode()).digest()
