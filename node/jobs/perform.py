"""What the worker computes. Runs in the worker process only: it needs torch."""

import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import torch

from deepblock import tensors
from deepblock.blockstore import Blockstore, Missing
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.spec import data_files
from deepblock.training import audit, ensemble, score, session
from deepblock.training.state import Work as TrainingWork
from deepblock.training.step import Cancelled as TrainingCancelled
from deepblock.training.step import Trainer
from deepblock.types import Seal
from node.jobs.messages import (
    Audit,
    Audited,
    Cancelled,
    Combine,
    Combined,
    DataMissing,
    Evaluate,
    Failed,
    Failure,
    Progress,
    Result,
    Scored,
    Sealed,
    SegmentDone,
    Session,
    SessionProgress,
    Work,
)

PROGRESS_PAUSE: Final = 0.1
"""Seconds between two reports of progress within a segment."""

_LONGEST_TEXT: Final = 20_000

Tell = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


class Performer:
    """Performs jobs on one device, with the files of one Blockstore."""

    def __init__(self, blobs: Path, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._files = Blockstore(blobs)
        self._device = device
        there = torch.empty(0, device=device).device  # raises where there is no such device
        self.device_name = torch.cuda.get_device_name(there) if there.type == "cuda" else device

    def perform(self, work: Work, tell: Tell, should_stop: ShouldStop) -> Result | Failure:
        """Never raises: whatever goes wrong is an outcome, and the next job is none the worse for it."""
        try:
            return self._perform(work, tell, should_stop)
        except TrainingCancelled:
            return Cancelled()
        except Exception as error:
            trace = traceback.format_exc()
            return Failed(type(error).__name__, str(error)[:_LONGEST_TEXT], trace[-_LONGEST_TEXT:])

    def _perform(self, work: Work, tell: Tell, should_stop: ShouldStop) -> Result | Failure:
        try:
            match work:
                case Session():
                    return self._session(work, tell, should_stop)
                case Audit():
                    return self._audit(work, tell, should_stop)
                case Evaluate():
                    return Scored(score.score(work.spec, self._files, work.model, device=self._device))
                case Combine():
                    return self._combine(work)
        except Missing as error:
            return DataMissing(self._whole_file(work, error.cid))

    def _session(self, work: Session, tell: Tell, should_stop: ShouldStop) -> Sealed:
        meter = _Meter(work.spec.steps, work.spec.segments, tell)
        result = session.run_session(
            TrainingWork(work.spec, work.seed, work.model),
            self._files,
            finished=work.finished,
            on_segment=lambda segment, state: tell(SegmentDone(segment, state)),
            on_step=partial(meter.add, 0),
            should_stop=should_stop,
            device=self._device,
        )
        return Sealed(Seal(result.states, result.average, result.score))

    def _audit(self, work: Audit, tell: Tell, should_stop: ShouldStop) -> Audited:
        """Recomputes what the order asks for, and what lies between it and the nearest states at hand.

        The average is derived from the last state as recomputed: where it differs from the claimed one, that
        is the verdict already.
        """
        spec, claimed = work.spec, work.seal.states
        here = _ClaimedStates(work, self._files)
        runs = plan_runs(work.segments, here.at_hand, spec.segments)
        meter = _Meter(spec.steps, sum(upto - start for start, upto in runs), tell)
        found: dict[int, Cid] = {}
        training, trainer = TrainingWork(spec, work.seed, work.model), None
        for start, upto in runs:
            trainer = trainer or Trainer(training, self._files, torch.device(self._device))
            states = audit.replay(
                training,
                self._files,
                start=start,
                state=claimed[start - 1] if start else None,
                upto=upto,
                on_step=partial(meter.add, len(found) * spec.steps),
                should_stop=should_stop,
                trainer=trainer,
            )
            found.update(enumerate(states, start + 1))
        last = found.get(spec.segments, claimed[-1])
        average = audit.derive_average(spec, self._files, last)
        return Audited(
            tuple(SegmentDone(segment, state) for segment, state in found.items()),
            average,
            score.score(spec, self._files, average, device=self._device),
        )

    def _combine(self, work: Combine) -> Combined:
        return Combined(
            ensemble.combine(work.spec, self._files, work.members, work.model, device=self._device)
        )

    def _whole_file(self, work: Work, block: Cid) -> Cid:
        """The file that is incomplete without `block`: that is what somebody has to fetch."""
        files = [*data_files(work.spec)]
        match work:
            case Combine(members=members, model=model):
                files += [*members, *([model] if model else [])]
            case Session(model=model) | Audit(model=model) | Evaluate(model=model) if model:
                files.append(model)
        return next((file for file in files if block in self._files.missing(file)), block)


class _ClaimedStates:
    """Which of the states that a seal names can be started from."""

    def __init__(self, work: Audit, files: Blockstore) -> None:
        self._states = work.seal.states
        self._files = files
        self._manifest = tensors.state_manifest(work.spec)
        self._size = tensors.file_size(self._manifest)

    def at_hand(self, segment: int) -> bool:
        """Whether the state after `segment` is here as a whole. A file that is none is nothing to start from: a replay
        shows where the segment really ends, and so the verdict is the same for those who lack the file."""
        try:
            tensors.unpack(self._files.get_file(self._states[segment - 1], self._size), self._manifest)
        except (Missing, Malformed):
            return False
        return True


def plan_runs(segments: Iterable[int], at_hand: Callable[[int], bool], count: int) -> list[tuple[int, int]]:
    """The replays (start, upto) that give the states after each of `segments` (ascending) and after the last.

    Each segment is replayed from the state before it, else from the nearest before that: a claimed one that
    is `at_hand`, the last one recomputed (that replay then goes on), or state 0.
    `count`: segments of the session.
    """
    wanted = list(segments)
    if count not in wanted and not at_hand(count):
        wanted.append(count)
    runs: list[tuple[int, int]] = []
    for segment in wanted:
        reached = runs[-1][1] if runs else 0
        start = next((i for i in range(segment - 1, reached, -1) if at_hand(i)), reached)
        if runs and start == reached:
            start, _ = runs.pop()
        runs.append((start, segment))
    return runs


class _Meter:
    """Turns counted steps into reports: at each segment's end, and every PROGRESS_PAUSE in between."""

    def __init__(self, steps: int, segments: int, tell: Tell) -> None:
        self._steps, self._segments = steps, segments
        self._tell = tell
        self._next = 0.0

    def add(self, before: int, done: int, total: int) -> None:
        """`done` steps of a run of `total`, which began after `before` other steps."""
        done += before
        now = time.monotonic()
        if now >= self._next or done % self._steps == 0:
            self._next = now + PROGRESS_PAUSE
            self._tell(
                SessionProgress(done // self._steps, self._segments, done, self._segments * self._steps)
            )
