"""The data of tasks: embedded in the package, imported by hand, or fetched from peers; and which a miner may signal."""

import asyncio

import structlog

from consensus.market import pending
from consensus.state import State
from deepblock import data
from deepblock.blockstore import Blockstore, Missing
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.spec import TaskSpec
from deepblock.tensors import data_manifests, file_size
from node.chain import Chain
from node.fetch import Fetcher, NotAvailable

log = structlog.get_logger("tasks")

PATIENCE = 3600.0
"""Seconds that the files of a task may take."""


class TaskData:
    """Completes tasks' data files in the block store.

    `budget`: bytes of the data of open tasks that this node fetches before anybody trains them. What is scheduled, or
    has to be audited, is fetched all the same.
    """

    def __init__(self, chain: Chain, blobs: Blockstore, fetcher: Fetcher, budget: int) -> None:
        self._chain = chain
        self._blobs = blobs
        self._fetcher = fetcher
        self._budget = budget
        self._held: set[Cid] = set()
        self._sound: dict[Cid, bool] = {}

    def unpack_embedded(self) -> None:
        """Puts the data that comes with the package where everything else is looked for."""
        for file in data.embedded():
            self._blobs.put_file(file)

    def at_hand(self, task: Cid) -> bool:
        """Raises Malformed where a file that the task names is none, or too large."""
        sizes = _sizes(self._chain.specs[task])
        return not any(self._blobs.missing(cid, size) for cid, size in sizes.items())

    async def ensure(self, task: Cid) -> None:
        """Raises NotAvailable where no connected peer has the rest, and Malformed like `at_hand`."""
        if not self.at_hand(task):
            self.unpack_embedded()  # it may have been deleted or damaged since the start
        if self.at_hand(task):
            return
        spec = self._chain.specs[task]
        log.info("fetching_data", task=spec.name)
        for cid, size in _sizes(spec).items():
            await self._fetcher.file(cid, size, patience=PATIENCE)
        log.info("data_complete", task=spec.name)

    # --- open tasks ----------------------------------------------------------------------------------------

    def signals(self, state: State) -> tuple[Cid, ...]:
        """The pending tasks that a miner may signal: all their data lie here, and can be trained on."""
        held = [task for task in pending(state) if task in self._held]
        return tuple(held[: self._chain.params.max_signals])

    async def run(self) -> None:
        """For ever: looks after the data of open tasks."""
        while True:
            await self.look()
            await asyncio.sleep(self._chain.params.block_time)

    async def look(self) -> None:
        """Fetches and reads what is missing of the open tasks, in the order in which they were opened, as far as the
        budget goes."""
        room = self._budget
        for listed in self._chain.state().open_tasks().items:
            spec = self._chain.specs[listed.task]
            size = sum(_sizes(spec).values())
            if size > room:
                continue
            room -= size
            self._held.discard(listed.task)
            if await self._can_be_trained(listed.task, spec):
                self._held.add(listed.task)

    async def _can_be_trained(self, task: Cid, spec: TaskSpec) -> bool:
        """Whether its files are here, and are what the task says. They are read once."""
        try:
            if self._sound.get(task, True):
                await self.ensure(task)
            if task not in self._sound:
                await asyncio.to_thread(data.check_files, spec, self._blobs)
                self._sound[task] = True
        except (NotAvailable, Missing) as error:
            log.debug("task_data_missing", task=spec.name, reason=str(error))
            return False
        except Malformed as error:
            log.warning("task_data_useless", task=spec.name, reason=str(error))
            self._sound[task] = False
        return self._sound[task]


def _sizes(spec: TaskSpec) -> dict[Cid, int]:
    """Bytes of each of a task's data files."""
    return {cid: file_size(manifest) for cid, manifest in data_manifests(spec).items()}
