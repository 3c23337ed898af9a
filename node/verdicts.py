"""What is on its way to a verdict, by id: whoever brings it again meanwhile waits for the same one."""

import asyncio
from collections.abc import Callable, Coroutine

from deepblock.cid import Cid


class Verdicts:
    def __init__(self) -> None:
        self._running: dict[Cid, asyncio.Task[None]] = {}

    async def of(self, id_: Cid, judge: Callable[[], Coroutine[None, None, None]]) -> None:
        """Returns or raises as `judge()` does, which goes on even where whoever waits for it is cancelled."""
        task = self._running.get(id_)
        if task is None:
            task = self._running[id_] = asyncio.ensure_future(judge())
            task.add_done_callback(lambda done: self._ended(id_, done))
        await asyncio.shield(task)

    def __contains__(self, id_: Cid) -> bool:
        """Whether it is on its way."""
        return id_ in self._running

    async def settled(self, id_: Cid) -> None:
        """When it is not on its way any more, whatever its verdict is."""
        if task := self._running.get(id_):
            await asyncio.wait([task])

    def _ended(self, id_: Cid, task: asyncio.Task[None]) -> None:
        del self._running[id_]
        if not task.cancelled():
            task.exception()  # seen, even where whoever waited for it has gone
