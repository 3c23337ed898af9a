"""The policy, carried out: the store within its quota, the backends' pins equal to what is kept."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from node.fetch import Fetcher
from node.ipfs.backend import Backend
from node.ipfs.collection import Collected, collect
from node.ipfs.pins import Pins
from node.ipfs.policy import Policy

log = structlog.get_logger("ipfs")

EVERY: Final = 60.0
"""Seconds between two looks."""
YOUNG: Final = 3_600.0
"""Seconds for which a block is left alone after it was written: it may belong to what is just being fetched, trained
or audited, of which the chain knows nothing yet."""


class Keeper:
    """`quota`: bytes of the block store."""

    def __init__(
        self, policy: Policy, pins: Pins, store: Blockstore, fetcher: Fetcher,
        backends: Sequence[Backend], quota: int, every: float = EVERY, young: float = YOUNG,
    ) -> None:  # fmt: skip
        self.quota = quota
        self.stored = 0
        """Bytes in the block store at the last look."""
        self._policy = policy
        self._pins = pins
        self._store = store
        self._fetcher = fetcher
        self._backends = backends
        self._every = every
        self._young = young
        self._full = False

    def states(self) -> list[tuple[str, str]]:
        """Each backend's name and state."""
        return [(backend.name, backend.state) for backend in self._backends]

    def pinned(self) -> tuple[Cid, ...]:
        """What this node was asked to keep."""
        return self._pins.of("asked")

    async def pin(self, file: Cid) -> None:
        """Keeps a file from now on, and fetches it if it is not here. Raises NotAvailable, Malformed."""
        await self._fetcher.file(file, self.quota)
        self._pins.add(file, "asked")

    def unpin(self, file: Cid) -> None:
        """Treats a file like any other again."""
        self._pins.remove(file)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_within_quota())
            for backend in self._backends:
                group.create_task(backend.run())
                group.create_task(self._keep_equal(backend))

    async def _keep_within_quota(self) -> None:
        while True:
            await self.collect()
            await asyncio.sleep(self._every)

    async def _keep_equal(self, backend: Backend) -> None:
        while True:
            await asyncio.sleep(self._every)
            kept = self._policy.kept()
            await backend.keep((*kept.needed, *kept.useful))

    async def collect(self) -> Collected:
        """One look at the store."""
        before = time.time() - self._young
        found = await asyncio.to_thread(collect, self._store, self._policy.kept(), self.quota, before)
        self.stored = found.stored
        if found.blocks:
            log.info("storage_collected", blocks=found.blocks, freed=found.freed, stored=found.stored)
        full = found.stored > self.quota
        if full and not self._full:
            log.warning(
                "storage_over_quota", stored=found.stored, quota=self.quota, why="all of it is needed now"
            )
        self._full = full
        return found
