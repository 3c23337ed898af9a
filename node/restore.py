"""Models that neither this disk nor any peer has are trained again: a model follows from its block's header and body
and the models before it, so as long as the chain is there, nothing is lost but time."""

from collections.abc import Iterator
from itertools import chain as joined
from itertools import pairwise

import structlog

from consensus.ensemble import members
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.types import Block, Body, Header, Seal
from node.chain import Chain
from node.jobs.dispatcher import Jobs
from node.jobs.errors import JobDataMissing

log = structlog.get_logger("restore")


class Restorer:
    """Replays whole sessions of the head's chain until the model that is wanted is there."""

    def __init__(self, chain: Chain, jobs: Jobs, blobs: Blockstore) -> None:
        self._chain = chain
        self._jobs = jobs
        self._blobs = blobs

    async def model(self, task: Cid, model: Cid) -> None:
        """Completes `model`, of `task` on the head's chain, in the block store. Raises JobError."""
        log.warning("model_lost", model=str(model))
        wanted = [model]
        while wanted:
            if not self._blobs.missing(wanted[-1]):
                wanted.pop()
                continue
            block, before = self._maker(task, wanted[-1])
            sessions = self._sessions(block)
            starts = {start for _, _, start in sessions} | {before}
            if lost := [start for start in starts if start and self._blobs.missing(start)]:
                wanted += lost
                continue
            await self._make(block, before, sessions)
            if self._blobs.missing(wanted[-1]):
                raise JobDataMissing(wanted[-1])

    async def _make(
        self, block: Block, before: Cid | None, sessions: list[tuple[Header, Seal, Cid | None]]
    ) -> None:
        """Trains what the block's model was made of, and makes it. All that the sessions start from is here."""
        spec = self._chain.specs[block.header.task]
        for header, seal, start in sessions:
            segments = tuple(range(1, spec.segments + 1))
            await self._jobs.audit(spec, header.seed, start, seal, segments)
            log.info("session_replayed", height=header.height)
        if block.result.model != block.seal.average:
            averages = tuple(member.seal.average for member in members(block, self._body(block)))
            await self._jobs.combine(spec, averages, before)

    def _maker(self, task: Cid, model: Cid) -> tuple[Block, Cid | None]:
        """The block of the head's chain that made `model`, and the task's model before it."""
        for block, before in pairwise(joined(self._history(task), [None])):
            earlier = before.result.model if before else None
            if block and block.result.model == model != earlier:
                return block, earlier
        raise JobDataMissing(model)

    def _sessions(self, block: Block) -> list[tuple[Header, Seal, Cid | None]]:
        """The sessions whose averages are the block's members and not here, each with the model that it started from;
        its own alone, if its average is the model."""
        alone = block.result.model == block.seal.average
        found = (block,) if alone else members(block, self._body(block))
        return [
            (made.header, made.seal, self._chain.state(made.header.parent).task(made.header.task).model)
            for made in found
            if self._blobs.missing(made.seal.average)
        ]

    def _body(self, block: Block) -> Body:
        body = self._chain.body(block)
        assert body is not None, f"no body of {block.id}"
        return body

    def _history(self, task: Cid) -> Iterator[Block]:
        """The blocks of the head's chain that trained `task`, newest first."""
        for height in range(self._chain.head.height, 0, -1):
            at = self._chain.id_at(height)
            block = self._chain.block(at) if at else None
            if block and block.header.task == task:
                yield block
