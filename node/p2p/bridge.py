"""A trio program in a thread of its own, callable from asyncio.

Inward goes `TrioToken.run_sync_soon`, outward `loop.call_soon_threadsafe`. Every call is answered: its
reply is posted from a `finally`, and what a crash leaves over is failed when the thread notices. A program
that crashes is run again.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import structlog
import trio

from node.p2p.events import HostDown

log = structlog.get_logger("p2p")

T = TypeVar("T")

BACKOFF = (0.5, 30.0)
"""Seconds before a crashed program runs again: the first pause, doubled up to the second."""
STEADY = 60.0
"""A program that ran this many seconds was healthy: the next crash starts again at the first pause."""
STOP_TIME = 10.0
"""Seconds that stop() waits for the program to clean up."""


class Bridge:
    """`program(ready)` sets itself up, calls `ready()` and runs until cancelled; `on_down()` follows each
    end of it."""

    def __init__(
        self, program: Callable[[Callable[[], None]], Awaitable[None]], on_down: Callable[[], None]
    ) -> None:
        self._program = program
        self._on_down = on_down
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._was_ready = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._ready: asyncio.Future[None]
        self._pending: set[asyncio.Future[Any]] = set()

    async def start(self) -> None:
        """Returns when the program is ready; raises what it raised if it failed before that."""
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self._thread = threading.Thread(target=self._supervise, name="p2p", daemon=True)
        self._thread.start()
        await self._ready

    async def stop(self) -> None:
        self._stopping.set()
        if self._thread is None:
            return
        token, nursery = self._token, self._nursery
        if token is not None and nursery is not None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(nursery.cancel_scope.cancel)
        await asyncio.to_thread(self._thread.join, STOP_TIME)
        if self._thread.is_alive():
            log.warning("p2p_thread_stuck", seconds=STOP_TIME)
        self._went_down()

    # asyncio → trio

    async def call(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `fn(*args)` in trio. Cancelling this cancels that. Raises what it raised, or HostDown."""
        token, nursery = self._token, self._nursery
        if token is None or nursery is None:
            raise HostDown("the libp2p host is not running")
        future: asyncio.Future[T] = self._loop.create_future()
        scope = trio.CancelScope()

        async def perform() -> None:
            value: T | None = None
            error: BaseException | None = HostDown("the libp2p host stopped during the call")
            try:
                with scope:
                    value, error = await fn(*args), None
            except Exception as raised:
                error = _single(raised)
            finally:
                self.post(_settle, future, value, error)

        def launch() -> None:
            if self._nursery is nursery:
                nursery.start_soon(perform)

        self._pending.add(future)
        try:
            token.run_sync_soon(launch)
            return await future
        except trio.RunFinishedError:
            raise HostDown("the libp2p host is not running") from None
        except asyncio.CancelledError:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(scope.cancel)
            raise
        finally:
            self._pending.discard(future)

    # trio → asyncio

    def post(self, fn: Callable[..., object], *args: Any) -> None:
        """Run `fn(*args)` on the asyncio loop, in order. A loop that is closed has nobody left to tell."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(fn, *args)

    async def call_back(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `fn(*args)` on the asyncio loop and await it from trio. Cancelling this cancels that."""
        token = trio.lowlevel.current_trio_token()
        finished = trio.Event()
        tasks: list[asyncio.Future[T]] = []

        def done(_: object) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(finished.set)

        def begin() -> None:
            task = asyncio.ensure_future(fn(*args), loop=self._loop)
            tasks.append(task)
            task.add_done_callback(done)

        self._loop.call_soon_threadsafe(begin)
        try:
            await finished.wait()
        except trio.Cancelled:
            self.post(lambda: [task.cancel() for task in tasks])
            raise
        if tasks[0].cancelled():
            raise HostDown("the daemon is shutting down")
        return tasks[0].result()

    # the thread

    def _supervise(self) -> None:
        pause, longest = BACKOFF
        while not self._stopping.is_set():
            began = time.monotonic()
            error: BaseException | None = None
            try:
                trio.run(self._main)
            except BaseException as raised:  # SystemExit in a thread would be silent, too
                error = _single(raised)
            self.post(self._went_down, error)
            if self._stopping.is_set() or not self._was_ready:
                return  # a failed start is for start()'s caller to judge
            if time.monotonic() - began > STEADY:
                pause = BACKOFF[0]
            log.error("p2p_host_crashed", error=repr(error), restart_in=pause, exc_info=error)
            del error
            self._stopping.wait(pause)
            gc.collect()  # a crash of trio itself runs no `finally`: sockets close when their owners are collected
            pause = min(pause * 2, longest)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await self._program(self._up)
            finally:
                self._nursery = None
                nursery.cancel_scope.cancel()

    def _up(self) -> None:
        self._was_ready = True
        self.post(_settle, self._ready, None, None)

    def _went_down(self, error: BaseException | None = None) -> None:
        _settle(self._ready, None, error or HostDown("the libp2p host stopped before it was ready"))
        for future in tuple(self._pending):
            _settle(future, None, HostDown("the libp2p host crashed during the call"))
        self._on_down()


async def living_tasks() -> int:
    """How many tasks the thread has that this is called in."""
    return trio.lowlevel.current_statistics().tasks_living


def _single(error: BaseException) -> BaseException:
    """Without the groups that trio's nurseries wrap around one exception."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
