"""The data sets of tasks: embedded in the package, imported by hand, or fetched from peers."""

import structlog

from deepblock import data
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.spec import MAX_SPLIT_BYTES
from node.chain import Chain
from node.fetch import Fetcher

log = structlog.get_logger("tasks")


class TaskData:
    """Completes a task's two data files in the block store."""

    def __init__(self, chain: Chain, blobs: Blockstore, fetcher: Fetcher) -> None:
        self._chain = chain
        self._blobs = blobs
        self._fetcher = fetcher

    def unpack_embedded(self) -> None:
        """Puts the data that comes with the package where everything else is looked for."""
        for file in data.embedded():
            self._blobs.put_file(file)

    def at_hand(self, task: Cid) -> bool:
        spec = self._chain.specs[task]
        return not any(self._blobs.missing(cid) for cid in (spec.train, spec.heldout))

    async def ensure(self, task: Cid) -> None:
        """Raises NotAvailable where no connected peer has the rest."""
        if not self.at_hand(task):
            self.unpack_embedded()  # it may have been deleted or damaged since the start
        if self.at_hand(task):
            return
        spec = self._chain.specs[task]
        log.info("fetching_data", task=spec.name)
        for cid in (spec.train, spec.heldout):
            await self._fetcher.file(cid, MAX_SPLIT_BYTES, patience=3600)
        log.info("data_complete", task=spec.name)
