"""Audits: which steps of a block this node recomputes, the data for it, and the verdict (protocol: Audit and fraud).

How much is checked depends on how deep a block lies. States of sessions are served for `finality` blocks, so what
lies deeper can only be replayed whole, from the model before it. While catching up, each such block at height h is
drawn with probability 64 / h, where h counts what the peer has shown and not what it claims: however long a false
chain is, its last part is as good as certain to be drawn.
"""

from collections.abc import Callable

import structlog

from consensus import audit
from consensus.audit import Plan
from consensus.errors import Fraud, NotYet
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.spec import TaskSpec
from deepblock.tensors import file_size, model_manifest, state_manifest
from deepblock.types import Block, Seal
from node.chain import Chain
from node.fetch import Fetcher, NotAvailable
from node.jobs.dispatcher import Jobs
from node.jobs.errors import BadState, JobDataMissing, JobError
from node.tasks import TaskData

log = structlog.get_logger("audit")

DEEP_SAMPLE = 64
"""Of so many blocks that were shown, one below the finality depth is drawn to be replayed whole."""

Draw = Callable[[int], int]
"""A random integer below its argument, from this node's own randomness."""


class DataMissing(NotYet):
    """The session cannot be replayed here and now; `cid` is what is missing."""

    text = "cannot replay the session: {cid} is not to be had from any connected peer"

    def __init__(self, cid: Cid) -> None:
        self.cid = cid


class AuditFailed(NotYet):
    """This node could not recompute anything; that says nothing of the block."""

    text = "the audit could not be done: {reason}"

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Auditor:
    """Recomputes parts of other nodes' sessions."""

    def __init__(
        self, chain: Chain, jobs: Jobs, fetcher: Fetcher, blobs: Blockstore, data: TaskData, draw: Draw
    ) -> None:
        self._chain = chain
        self._jobs = jobs
        self._fetcher = fetcher
        self._blobs = blobs
        self._data = data
        self._draw = draw

    async def audit(self, block: Block, source: str | None, depth: int = 0) -> None:
        """Raises Fraud, DataMissing or AuditFailed. `source`: the peer that most likely has the session's files;
        `depth`: how many blocks were shown on top of this one."""
        header, seal = block.header, block.seal
        spec = self._chain.specs[header.task]
        plan = self._plan(block, spec, depth)
        if plan is None:
            return
        model = self._chain.state(header.parent).task(header.task).model
        try:
            await self._data.ensure(header.task)
            if model:
                await self._fetcher.file(model, file_size(model_manifest(spec)), source)
            await self._gather(spec, seal, plan, source)
            findings = await self._jobs.audit(spec, header.seed, model, seal, plan.segments)
        except NotAvailable as error:
            raise DataMissing(error.cid) from None
        except JobDataMissing as error:
            raise DataMissing(error.cid) from None
        except BadState as error:
            claimed, found = seal.states[error.segment - 1], f"not a state of this task ({error.reason})"
            raise Fraud(f"segment {error.segment}", str(claimed), found) from None
        except JobError as error:
            raise AuditFailed(str(error)) from error
        audit.judge(plan, seal, findings)

    def _plan(self, block: Block, spec: TaskSpec, depth: int) -> Plan | None:
        """What to replay; None for a deep block that was not drawn."""
        if depth > self._chain.params.finality:
            return audit.plan_all(spec.segments) if self._draw(block.height + depth) < DEEP_SAMPLE else None
        others = self._chain.params.audit_segments
        return audit.plan_sample(spec.segments, others, [self._draw(1 << 62) for _ in range(others)])

    async def _gather(self, spec: TaskSpec, seal: Seal, plan: Plan, source: str | None) -> None:
        """The states that the planned segments start from, and the last one. What cannot be had is replayed from
        an earlier state, so a missing file costs time and decides nothing."""
        wanted = {segment - 1 for segment in plan.segments if segment > 1} | {spec.segments}
        size = file_size(state_manifest(spec))
        patience = 2.0 * self._chain.params.block_time
        for segment in sorted(wanted):
            state = seal.states[segment - 1]
            try:
                await self._fetcher.file(state, size, source, patience)
            except NotAvailable:
                log.info("state_missing", segment=segment, state=str(state))
            except Malformed as error:
                raise Fraud(f"segment {segment}", str(state), f"not a state of this task ({error})") from None
