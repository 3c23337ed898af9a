"""A lane: jobs one at a time, first in first out, on a worker process that is replaced when it dies."""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from node.jobs.errors import JobDataMissing, JobError, JobFailed, JobsStopped, WorkerDied
from node.jobs.messages import (
    Cancel,
    Cancelled,
    DataMissing,
    Failed,
    Failure,
    Order,
    Progress,
    Ready,
    Result,
    SegmentDone,
    Session,
    SessionProgress,
    Work,
)
from node.jobs.process import WorkerProcess

log = structlog.get_logger("jobs")

START_TIME: Final = 120.0
"""Seconds until a new process must have loaded torch."""
CANCEL_TIME: Final = 5.0
"""Seconds that a job has to end after it was cancelled; then its process is killed."""
BACKOFF: Final = (1.0, 30.0)
"""Seconds before another restart if no job ended since the last: doubled from the first to the second."""


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """`job`: 'session', 'audit', 'score' or None. `waiting`: jobs behind it. `restarts`: of the process."""

    lane: str
    pid: int | None
    device: str | None
    restarts: int
    job: str | None
    progress: SessionProgress | None
    waiting: int


@dataclass(eq=False, slots=True)
class _Job:
    """`outcome` is cancelled when nobody waits for it any more."""

    number: int
    work: Work
    listen: Callable[[Progress], None]
    outcome: asyncio.Future[Result]
    progress: SessionProgress | None = None


class Lane:
    """`arguments`: of the worker. It is started with the first job, or at once if the lane is `eager`."""

    def __init__(self, name: str, arguments: Sequence[str], *, eager: bool) -> None:
        self.name = name
        self._arguments = arguments
        self._eager = eager
        self._numbers = itertools.count(1)
        self._jobs: list[_Job] = []
        self._queue: asyncio.Queue[_Job] = asyncio.Queue()
        self._current: _Job | None = None
        self._process: WorkerProcess | None = None
        self._device: str | None = None
        self._launches = 0
        self._deaths = 0
        self._runner: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._runner = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends the process; whoever waits for a job gets JobsStopped."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        for job in self._jobs:
            _settle(job, JobsStopped())
        if self._process is not None:
            await self._process.close()

    @property
    def idle(self) -> bool:
        """Whether the process is up and has nothing to do."""
        return self._up and self._current is None and not self._jobs

    @property
    def status(self) -> LaneStatus:
        current = self._current
        return LaneStatus(
            lane=self.name,
            pid=self._process.pid if self._process is not None and self._up else None,
            device=self._device,
            restarts=max(0, self._launches - 1),
            job=current.work.kind if current else None,
            progress=current.progress if current else None,
            waiting=sum(job is not current for job in self._jobs),
        )

    async def do(self, work: Work, listen: Callable[[Progress], None]) -> Result:
        """The result of a job. `listen` hears of its progress, on the event loop. Raises JobError.

        Cancelling this stops the job at its next step and leaves the process as it is.
        """
        if self._runner is None or self._runner.done():
            raise JobsStopped
        job = _Job(next(self._numbers), work, listen, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._queue.put_nowait(job)
        try:
            return await job.outcome
        finally:
            self._jobs.remove(job)

    # The runner: the only one that hears the process

    async def _run(self) -> None:
        if self._eager:
            with suppress(WorkerDied, OSError):  # the first job that needs it will try again, and say so
                await self._ready_process()
        while True:
            job = await self._queue.get()
            if job.outcome.done():
                continue
            self._current = job
            try:
                _settle(job, await self._result(job))
            except JobError as error:
                _settle(job, error)
            except Exception as error:  # a bug on this side: for whoever awaits the job, and the lane goes on
                log.exception("job_broke", lane=self.name, job=job.number, work=job.work.kind)
                _settle(job, error)
            finally:
                self._current = None

    async def _result(self, job: _Job) -> Result:
        """Of the first process, or of a second if that dies. Raises JobError."""
        try:
            return await self._attempt(job)
        except WorkerDied:
            if job.outcome.done():
                raise
            return await self._attempt(job)

    async def _attempt(self, job: _Job) -> Result:
        try:
            process = await self._ready_process()
            began = time.monotonic()
            log.debug("job_started", lane=self.name, job=job.number, work=job.work.kind)
            outcome = await self._converse(process, job)
        except WorkerDied:
            self._deaths += 1
            raise
        self._deaths = 0
        _log_end(self.name, job, outcome, round(1000 * (time.monotonic() - began)))
        if isinstance(outcome, Failure):
            raise _error_of(outcome)
        return outcome

    async def _converse(self, process: WorkerProcess, job: _Job) -> Result | Failure:
        """Gives the job to the process and listens until it ends, cancelled or not. Raises WorkerDied."""
        loop = asyncio.get_running_loop()
        killer: asyncio.TimerHandle | None = None

        def cancel(_: object) -> None:
            nonlocal killer
            process.tell(Order(job.number, Cancel()))
            why = f"it did not stop within {CANCEL_TIME:g} s of a cancel"
            killer = loop.call_later(CANCEL_TIME, process.kill, why)

        process.tell(Order(job.number, job.work))
        job.outcome.add_done_callback(cancel)
        try:
            while True:
                news = (await process.hear()).what
                if isinstance(news, Progress):
                    self._hand_on(job, news)
                elif not isinstance(news, Ready):
                    return news
        finally:
            job.outcome.remove_done_callback(cancel)
            if killer is not None:
                killer.cancel()

    def _hand_on(self, job: _Job, news: Progress) -> None:
        match news:
            case SessionProgress():
                job.progress = news
            case SegmentDone() if isinstance(job.work, Session):  # another process would go on from there
                job.work = replace(job.work, finished=(*job.work.finished, news.state))
        if job.outcome.done():
            return
        try:
            job.listen(news)
        except Exception as error:  # the listener's, who waits for this job
            _settle(job, error)

    # The process

    @property
    def _up(self) -> bool:
        return self._process is not None and self._process.alive

    async def _ready_process(self) -> WorkerProcess:
        """The process, started anew if need be, ready for orders. Raises WorkerDied."""
        if self._process is not None and self._process.alive:
            return self._process
        if self._deaths > 1:
            first, longest = BACKOFF
            await asyncio.sleep(min(first * 2 ** min(self._deaths - 2, 10), longest))
        began = time.monotonic()
        self._launches += 1
        process = self._process = await WorkerProcess.launch(self.name, self._arguments)
        killer = asyncio.get_running_loop().call_later(
            START_TIME, process.kill, f"not ready within {START_TIME:g} s"
        )
        try:
            ready = (await process.hear()).what
        finally:
            killer.cancel()
        assert isinstance(ready, Ready)
        self._device = ready.device
        milliseconds = round(1000 * (time.monotonic() - began))
        log.info("worker_started", lane=self.name, pid=process.pid, device=ready.device, ms=milliseconds)
        return process


def _settle(job: _Job, outcome: Result | Exception) -> None:
    """Tells whoever still waits for the job."""
    if job.outcome.done():
        return
    if isinstance(outcome, Exception):
        job.outcome.set_exception(outcome)
    else:
        job.outcome.set_result(outcome)


def _error_of(failure: Failure) -> JobError:
    match failure:
        case DataMissing():
            return JobDataMissing(failure.cid)
        case Failed():
            return JobFailed(failure.error, failure.reason)
        case Cancelled():  # nobody waits: only a caller that has gone cancels
            return JobsStopped()


def _log_end(lane: str, job: _Job, outcome: Result | Failure, milliseconds: int) -> None:
    event = log.bind(lane=lane, job=job.number, work=job.work.kind, ms=milliseconds)
    if isinstance(outcome, Failed):
        event.error("job_failed", error=outcome.error, reason=outcome.reason, traceback=outcome.traceback)
    else:
        event.debug("job_done", outcome=outcome.kind)
