"""One training: sessions in sequence, in exact arithmetic or in float32."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from deepblock import streams
from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.exact.loss import cross_entropy
from deepblock.spec import TaskSpec, heldout_labels, parameters
from deepblock.tensors import model_manifest, pack
from deepblock.training.examples import load_examples
from deepblock.training.model import join, split
from deepblock.training.score import MICRO, score
from deepblock.training.state import CPU, State, Work, derive_state, load_model, store_average
from deepblock.training.step import Trainer
from deepblock.types import Hash32, Score
from tests.accuracy.tasks import Task
from tests.bench.plain import PlainLoop

FLOAT = "float32"
REVERSED = "float32, batches reversed"
"""The same sums in another order: what is between this and float32 is float32's own noise."""

ARITHMETICS = {"8 bits": 8, "10 bits": 10, "12 bits": 12, "16 bits": 16, FLOAT: None, REVERSED: None}
"""Bits of each; None: the plain loop of tests/bench."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one training came to: the scores of its last iterate and of its last session's average, out of `labels`.
    `in_float32`: the score of that same average as a plain float32 network computes it."""

    task: str
    arithmetic: str
    seed: int
    labels: int
    last: Score
    average: Score
    in_float32: Score
    seconds: float


def train(name: str, task: Task, files: Files, arithmetic: str, seed: int) -> Run:
    """Runs all sessions of `task`. Initial weights, noise and batches follow from `seed`: they are those of every
    other arithmetic."""
    began = time.perf_counter()
    bits = ARITHMETICS[arithmetic]
    spec = replace(task.spec, bits=bits or task.spec.bits, init_seed=Hash32(_seed(name, seed)))
    average = None
    for session in range(task.sessions):
        work = Work(spec, _seed(name, seed, session), average)
        last, average = _session(work, files, arithmetic)
    assert average
    return Run(
        task=name,
        arithmetic=arithmetic,
        seed=seed,
        labels=heldout_labels(spec),
        last=score(spec, files, last) if bits else float_score(spec, files, last),
        average=score(spec, files, average) if bits else float_score(spec, files, average),
        in_float32=float_score(spec, files, average),
        seconds=round(time.perf_counter() - began, 1),
    )


def float_score(spec: TaskSpec, files: Files, model: Cid) -> Score:
    """What `score` gives, of logits that a plain float32 network computes."""
    examples = load_examples(spec, files, spec.heldout, spec.n_heldout, CPU)
    weights = join(load_model(spec, files, model), parameters(spec))
    network = PlainLoop(spec, torch.from_numpy(weights), examples)
    loss, correct = 0, 0
    for indices in torch.arange(len(examples)).split(200):
        labels = examples.labels[indices].long()
        losses, right = cross_entropy(network.logits(indices), labels)
        loss += int(losses.mul(MICRO).round_().long().sum())
        correct += int(right.sum())
    return Score(loss, correct)


def _session(work: Work, files: Files, arithmetic: str) -> tuple[Cid, Cid]:
    """The models of the last iterate and of the average."""
    spec, state = work.spec, derive_state(work, files, CPU)
    exact = ARITHMETICS[arithmetic] is not None
    step = Trainer(work, files, CPU).step if exact else _plain(work, files, state, arithmetic == REVERSED)
    with torch.inference_mode(exact):
        for segment in range(spec.segments):
            for index in range(segment * spec.steps, (segment + 1) * spec.steps):
                step(state, index)
            if segment >= spec.segments - spec.averaged:
                state.add_to_sum()
    last = files.put_file(pack(split(state.weights.numpy(), parameters(spec)), model_manifest(spec)))
    return last, store_average(spec, files, state)


def _plain(work: Work, files: Files, start: State, backwards: bool) -> Callable[[State, int], None]:
    """A float32 step that does to the state what `Trainer.step` does."""
    spec = work.spec
    loop = PlainLoop(spec, start.weights, load_examples(spec, files, spec.train, spec.n_train, CPU))

    def step(state: State, index: int) -> None:
        batch = torch.from_numpy(streams.batch(work.seed, index, spec.batch, spec.n_train))
        loop.step(index, batch.flip(0) if backwards else batch)
        state.weights.copy_(loop.weights)

    return step


def _seed(*words: object) -> bytes:
    return hashlib.sha256(" ".join(map(str, ("accuracy", *words))).encode()).digest()
