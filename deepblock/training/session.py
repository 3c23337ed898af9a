"""A whole session: K segments, the average, its score (protocol: Session; Score)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.training.audit import derive_average
from deepblock.training.score import score
from deepblock.training.state import Work
from deepblock.training.step import OnSegment, OnStep, ShouldStop, Trainer, run_segments
from deepblock.types import Score


@dataclass(frozen=True, slots=True)
class SessionResult:
    """What the seal shows: the CIDs of K states and of the average, and the average's held-out score."""

    states: tuple[Cid, ...]
    average: Cid
    score: Score


def run_session(
    work: Work,
    files: Files,
    *,
    finished: Sequence[Cid] = (),
    on_segment: OnSegment,
    on_step: OnStep,
    should_stop: ShouldStop,
    device: str = "cpu",
    trainer: Trainer | None = None,
) -> SessionResult:
    """Runs the session of `work`; its states and average are in `files` then.

    `finished`: the states, from the first on, that an interrupted run of the same session has left in `files`; it
    goes on after them, and `on_step` counts their steps too. `trainer`: one of this session, on `device`. Raises
    Cancelled where `should_stop()`; Malformed where the data or the model are not those of the task; and what `files`
    raises where they are missing.
    """
    spec = work.spec
    before = len(finished)
    state = finished[-1] if finished else None

    def count(done: int, total: int) -> None:
        on_step(before * spec.steps + done, spec.segments * spec.steps)

    trainer = trainer or Trainer(work, files, torch.device(device))
    rest = run_segments(trainer, files, before, state, spec.segments, on_segment, count, should_stop)
    states = (*finished, *rest)
    average = derive_average(spec, files, states[-1])
    return SessionResult(states, average, score(spec, files, average, device=device))
