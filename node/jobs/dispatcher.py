"""The daemon's door to training: `Jobs` sends sessions, audits, means and scores to worker processes."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from consensus.audit import Findings
from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.types import Result as Model
from deepblock.types import Score, Seal
from node.jobs.errors import DeviceUnusable
from node.jobs.lane import Lane, LaneStatus
from node.jobs.messages import (
    Audit,
    Audited,
    Combine,
    Combined,
    Evaluate,
    Progress,
    Result,
    Scored,
    Sealed,
    SegmentDone,
    Session,
    SessionProgress,
)

OnProgress = Callable[[SessionProgress], None]
OnSegment = Callable[[int, Cid], None]

R = TypeVar("R", Sealed, Audited, Scored, Combined)


class Jobs:
    """Two lanes, each with a process of its own, so that an audit never waits for a session.

    `blobs`: folder of the Blockstore where all files are found and left. `threads`: torch's, in each process.
    `device`: torch's name of what to compute on.

    Every job raises JobError (node.jobs.errors) where it gives no result. Cancelling the task that awaits it
    stops the worker at its next step and keeps it warm for the next job. Callbacks are called on the event
    loop; what one raises ends its job and comes out of it.
    """

    def __init__(self, blobs: Path, *, threads: int = 1, device: str = "cpu") -> None:
        self._device = device
        common = (str(blobs), "--device", device, "--threads", str(threads))
        # The daemon first, then audits, then mining: two cores must still answer peers.
        self._mine = Lane("mine", (*common, "--nice", "10"), eager=False)
        self._audit = Lane("audit", (*common, "--nice", "5"), eager=True)

    async def check_device(self) -> None:
        """Raises DeviceUnusable where torch cannot compute on the device. Takes as long as importing torch."""
        command = (
            sys.executable,
            "-c",
            "import sys, torch; torch.zeros(1, device=sys.argv[1])",
            self._device,
        )
        process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=PIPE)
        _, said = await process.communicate()
        if process.returncode:
            raise DeviceUnusable(self._device, said.decode(errors="replace").strip().rpartition("\n")[2])

    async def start(self) -> None:
        """Returns at once; the audit worker gets ready meanwhile, the mining worker when first needed."""
        self._mine.start()
        self._audit.start()

    async def stop(self) -> None:
        """Ends both workers. Jobs that are still awaited raise JobsStopped."""
        await asyncio.gather(self._mine.stop(), self._audit.stop())

    def status(self) -> tuple[LaneStatus, ...]:
        """What each lane does now."""
        return self._mine.status, self._audit.status

    async def session(
        self,
        spec: TaskSpec,
        seed: bytes,
        model: Cid | None,
        *,
        finished: tuple[Cid, ...] = (),
        on_segment: OnSegment,
        on_progress: OnProgress,
    ) -> Seal:
        """The seal of a whole session. `seed`: the header's. `model`: the task's on the parent's chain.

        `finished`: states of the first segments, left in the store by an interrupted run; it goes on there.
        `on_segment(index, state)`: the state after segment `index` (1 … K) is in the store.
        """

        def listen(news: Progress) -> None:
            if isinstance(news, SegmentDone):
                on_segment(news.segment, news.state)
            else:
                on_progress(news)

        result = await self._mine.do(Session(spec, seed, model, finished), listen)
        return _expect(Sealed, result).seal

    async def audit(
        self,
        spec: TaskSpec,
        seed: bytes,
        model: Cid | None,
        seal: Seal,
        segments: tuple[int, ...],
        *,
        on_progress: OnProgress = lambda progress: None,
    ) -> Findings:
        """What `segments` (1 … K, ascending), the average and its score really are.

        `Findings.states` has every segment that was recomputed: those asked for and, where claimed states are
        not at hand, those from the nearest earlier one on. Judge them all, so that the first false step is
        named: what is false after it follows from it.
        """

        def listen(news: Progress) -> None:
            if isinstance(news, SessionProgress):
                on_progress(news)

        result = await self._audit.do(Audit(spec, seed, model, seal, segments), listen)
        audited = _expect(Audited, result)
        return Findings({one.segment: one.state for one in audited.states}, audited.average, audited.score)

    async def score(self, spec: TaskSpec, model: Cid) -> Score:
        """A model's score on the held-out split, by the mining worker if it is up and idle."""
        lane = self._mine if self._mine.idle else self._audit
        return _expect(Scored, await lane.do(Evaluate(spec, model), lambda news: None)).score

    async def combine(self, spec: TaskSpec, members: tuple[Cid, ...], model: Cid | None) -> tuple[Model, ...]:
        """What follows from averages that are in the store and the task's `model`, with scores: by the mining worker
        if it is up and idle."""
        lane = self._mine if self._mine.idle else self._audit
        return _expect(Combined, await lane.do(Combine(spec, members, model), lambda news: None)).results


def _expect(kind: type[R], result: Result) -> R:
    if not isinstance(result, kind):
        raise TypeError(f"the worker answered with {result.kind} in place of {kind.kind}")
    return result
