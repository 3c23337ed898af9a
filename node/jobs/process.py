"""The daemon's side of one worker process: frames in and out, its end, and the last that it said."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

import structlog

from deepblock.codec import Malformed, decode
from node.jobs.errors import WorkerDied
from node.jobs.messages import HEAD, Order, Report, frame, length

log = structlog.get_logger("jobs")

EXIT_TIME: Final = 5.0
"""Seconds that a process has to end once its pipes are closed, before it is killed."""

_STDERR_KEPT: Final = 4096
"""Bytes."""


class WorkerProcess:
    """A running worker of `lane`. Made by `launch`."""

    def __init__(self, lane: str, process: Process) -> None:
        assert process.stdin and process.stdout and process.stderr
        self.lane = lane
        self.pid = process.pid
        self._process = process
        self._orders, self._reports, self._stderr = process.stdin, process.stdout, process.stderr
        self._said = b""
        self._killed_for: str | None = None
        self._closing = False
        self._watcher = asyncio.create_task(self._watch())

    @classmethod
    async def launch(cls, lane: str, arguments: Sequence[str]) -> Self:
        """Starts the process; its first report, Ready, is still to come."""
        command = (sys.executable, "-m", "node.jobs.worker", *arguments)
        # OpenMP's idle threads spin otherwise: beside other busy processes a step then takes twenty times as long.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
        )
        return cls(lane, process)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def tell(self, order: Order) -> None:
        """Sends an order. If the process is dying, `hear` will say so."""
        if not self._orders.is_closing():
            self._orders.write(frame(order))

    async def hear(self) -> Report:
        """The next report. Raises WorkerDied."""
        try:
            head = await self._reports.readexactly(HEAD)
            return decode(Report, await self._reports.readexactly(length(head)))
        except Malformed as error:
            self.kill(f"what it said is no report: {error}")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        await self._ended()
        raise WorkerDied(self.lane, self._status, self._last_words)

    def kill(self, why: str) -> None:
        self._killed_for = why
        with suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """Ends the process: it leaves as soon as its orders end."""
        self._closing = True
        self._orders.close()
        await self._ended()

    async def _ended(self) -> None:
        """Waits for the process to be gone, and makes sure of it."""
        try:
            async with asyncio.timeout(EXIT_TIME):
                await asyncio.shield(self._watcher)
        except TimeoutError:
            self.kill(f"it did not end within {EXIT_TIME:g} s")
            await self._watcher

    async def _watch(self) -> None:
        while chunk := await self._stderr.read(_STDERR_KEPT):
            self._said = (self._said + chunk)[-_STDERR_KEPT:]
        await self._process.wait()
        if not self._closing:
            event = log.bind(lane=self.lane, pid=self.pid, status=self._status)
            event.warning("worker_died", stderr=self._last_words)

    @property
    def _last_words(self) -> str:
        return self._said.decode(errors="replace").strip()

    @property
    def _status(self) -> str:
        code = self._process.returncode
        if self._killed_for is not None:
            return f"killed by the daemon: {self._killed_for}"
        if code is None or code >= 0:
            return f"exit status {code}"
        return f"killed by {signal.Signals(-code).name}"
