"""Models that neither this disk nor any peer has are trained again: a model follows from its block's header and the
model before it, so as long as the chain is there, nothing is lost but time."""

from collections.abc import Iterator
from itertools import chain as joined
from itertools import pairwise

import structlog

from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.types import Block
from node.chain import Chain
from node.jobs.dispatcher import Jobs

log = structlog.get_logger("restore")


class Restorer:
    """Replays whole sessions of the head's chain until the model that is wanted is there."""

    def __init__(self, chain: Chain, jobs: Jobs, blobs: Blockstore) -> None:
        self._chain = chain
        self._jobs = jobs
        self._blobs = blobs

    async def model(self, task: Cid, model: Cid) -> None:
        """Completes `model`, of `task` on the head's chain, in the block store. Raises JobError."""
        spec = self._chain.specs[task]
        sessions = self._sessions(task, model)
        log.warning("model_lost", model=str(model), sessions_to_replay=len(sessions))
        for block, start in reversed(sessions):
            segments = tuple(range(1, spec.segments + 1))
            await self._jobs.audit(spec, block.header.seed, start, block.seal, segments)
            log.info("session_replayed", height=block.height)

    def _sessions(self, task: Cid, model: Cid) -> list[tuple[Block, Cid | None]]:
        """The blocks whose sessions lead to `model`, newest first, each with the model that it started from."""
        found: list[tuple[Block, Cid | None]] = []
        wanted = model
        for block, before in pairwise(joined(self._history(task), [None])):
            if block is None or block.seal.average != wanted:
                continue
            start = before.result.model if before else None
            found.append((block, start))
            if start is None or not self._blobs.missing(start):
                break
            wanted = start
        return found

    def _history(self, task: Cid) -> Iterator[Block]:
        """The blocks of the head's chain that trained `task`, newest first."""
        for height in range(self._chain.head.height, 0, -1):
            at = self._chain.id_at(height)
            block = self._chain.block(at) if at else None
            if block and block.header.task == task:
                yield block
