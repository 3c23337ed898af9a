"""Audits: which steps of a session this node recomputes, the data for it, and the verdict (protocol: Audit and fraud).

How much is checked depends on how deep a block lies. States of sessions are served for `finality` blocks, so what
lies deeper can only be replayed whole, from the model before it. While catching up, each such block at height h is
drawn with probability 64 / h, where h counts what the peer has shown and not what it claims: however long a false
chain is, its last part is as good as certain to be drawn.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from consensus import audit
from consensus.audit import Findings, Plan
from consensus.ensemble import members
from consensus.errors import Fraud, NotYet
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.codec import Malformed
from deepblock.spec import TaskSpec
from deepblock.tensors import file_size, model_manifest, state_manifest
from deepblock.transactions import FraudProof
from deepblock.types import Block, Body, Header, Seal, Share
from node.chain import Chain
from node.config import AuditPolicy
from node.fetch import Fetcher, NotAvailable
from node.jobs.dispatcher import Jobs
from node.jobs.errors import JobDataMissing, JobError
from node.tasks import TaskData

log = structlog.get_logger("audit")

DEEP_SAMPLE: Final = 64
"""Of so many blocks that were shown, one below the finality depth is drawn to be replayed whole."""

SHARE_SEGMENTS: Final = 2
"""Of a share, besides the last: whoever carries it has replayed so many (protocol: Audit and fraud)."""

REMEMBERED: Final = 1024
"""Sessions whose replayed segments are remembered."""

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
    """Recomputes parts of other nodes' sessions. Each audit raises Fraud, DataMissing or AuditFailed."""

    def __init__(
        self, chain: Chain, jobs: Jobs, fetcher: Fetcher, blobs: Blockstore, data: TaskData,
        draw: Draw, policy: AuditPolicy,
    ) -> None:  # fmt: skip
        self._chain = chain
        self._jobs = jobs
        self._fetcher = fetcher
        self._blobs = blobs
        self._data = data
        self._draw = draw
        self._policy = policy
        self._replayed: OrderedDict[Cid, set[int]] = OrderedDict()
        self._shares: OrderedDict[Cid, None] = OrderedDict()

    def replayed(self, header: Cid) -> set[int]:
        """The segments of a session, by its header's CID, that this node has replayed and found true."""
        return self._replayed.get(header, set())

    def is_audited(self, share: Share) -> bool:
        """Whether this node has looked at the share, with this seal, and found nothing false."""
        return share.id in self._shares

    def note_share(self, share: Share) -> None:
        self._shares[share.id] = None
        while len(self._shares) > REMEMBERED:
            self._shares.popitem(last=False)

    def trained(self, block: Block) -> None:
        """This node trained the block's session itself: there is nothing to replay."""
        self._note(block.header, range(1, len(block.seal.states) + 1))

    async def audit(self, block: Block, body: Body, source: str | None, depth: int = 0) -> None:
        """All of a block that its policy asks for. `source`: the peer that most likely has the session's files;
        `depth`: how many blocks were shown on top of this one."""
        plan = self._plan(block, depth)
        if plan is None:
            return
        await self._judge(block.header, block.seal, plan, source)
        await self.audit_result(block, body, source)
        for proof in audit.accusations(body):
            await self.audit_accusation(block.header.parent, proof, source)

    async def audit_share(self, share: Share, source: str | None, segments: tuple[int, ...] = ()) -> bool:
        """As much of a share as whoever carries it has to know, or these `segments`; by the policy, nothing, and then
        False."""
        if self._policy == "headers":
            return False
        spec = self._chain.specs[share.header.task]
        plan = Plan(segments) if segments else self._sample(spec, SHARE_SEGMENTS)
        await self._judge(share.header, share.seal, plan, source)
        self.note_share(share)
        return True

    async def audit_segments(
        self, block: Block, segments: tuple[int, ...], source: str | None = None
    ) -> None:
        """Some segments of a block's session, its average and its score."""
        await self._judge(block.header, block.seal, Plan(segments), source)

    async def audit_result(self, block: Block, body: Body, source: str | None = None) -> None:
        """The model of a block with several members: their means are formed and scored. Averages that nobody has are
        derived by replaying their shares."""
        ensemble = members(block, body)
        if len(ensemble) == 1:
            return
        spec = self._chain.specs[block.header.task]
        task = self._chain.state(block.header.parent).task(block.header.task)
        with _as_rule_errors():
            for member in ensemble:
                await self._obtain_average(spec, member, source)
            averages = tuple(member.seal.average for member in ensemble)
            derived = await self._jobs.combine(spec, averages, task.model)
        audit.judge_result(block, task, derived)

    # --- inside --------------------------------------------------------------------------------------------

    def _plan(self, block: Block, depth: int) -> Plan | None:
        """What to replay; None for nothing: by the policy, or as a deep block that was not drawn."""
        spec = self._chain.specs[block.header.task]
        if self._policy == "headers":
            return None
        if self._policy == "all":
            return audit.plan_all(spec.segments)
        if depth > self._chain.params.finality:
            return audit.plan_all(spec.segments) if self._draw(block.height + depth) < DEEP_SAMPLE else None
        return self._sample(spec, self._chain.params.audit_segments)

    def _sample(self, spec: TaskSpec, others: int) -> Plan:
        return audit.plan_sample(spec.segments, others, [self._draw(1 << 62) for _ in range(others)])

    async def _judge(self, header: Header, seal: Seal, plan: Plan, source: str | None) -> None:
        findings = await self._findings(header, seal, plan, source)
        audit.judge(plan, seal, findings)
        self._note(header, findings.states)

    def _note(self, header: Header, segments: Iterable[int]) -> None:
        self._replayed.setdefault(header.cid, set()).update(segments)
        if len(self._replayed) > REMEMBERED:
            self._replayed.popitem(last=False)

    async def _findings(self, header: Header, seal: Seal, plan: Plan, source: str | None) -> Findings:
        spec = self._chain.specs[header.task]
        model = self._chain.state(header.parent).task(header.task).model
        with _as_rule_errors():
            await self._data.ensure(header.task)
            if model:
                await self._fetcher.file(model, file_size(model_manifest(spec)), source)
            await self._gather(spec, seal, plan, source)
            return await self._jobs.audit(spec, header.seed, model, seal, plan.segments)

    async def _gather(self, spec: TaskSpec, seal: Seal, plan: Plan, source: str | None) -> None:
        """The states that the planned segments start from, and the last one. What cannot be had, or is no state, is
        replayed from an earlier one, so the file costs time and decides nothing."""
        wanted = {segment - 1 for segment in plan.segments if segment > 1} | {spec.segments}
        size = file_size(state_manifest(spec))
        for segment in sorted(wanted):
            state = seal.states[segment - 1]
            try:
                await self._fetcher.file(state, size, source, self._patience)
            except (NotAvailable, Malformed) as error:
                log.info("state_missing", segment=segment, state=str(state), reason=str(error))

    async def _obtain_average(self, spec: TaskSpec, made: Block | Share, source: str | None) -> None:
        """A session's average, from whoever has it or, where nobody does or it is too large, from its training. Raises
        Fraud where that gives another: then nobody has what the block's model was made of. That is no step of the
        block's own session, so nobody accuses it of one. Raises DataMissing where the session is false before its last
        segment: what its average ought to be depends then on which of its states a node has."""
        average = made.seal.average
        try:
            await self._fetcher.file(average, file_size(model_manifest(spec)), source, self._patience)
        except (NotAvailable, Malformed):
            findings = await self._findings(made.header, made.seal, Plan((spec.segments,)), source)
            if findings.average == average:
                return
            if audit.is_false(made.seal, findings, spec.segments - 1):
                raise DataMissing(average) from None
            raise Fraud(f"average of {made.id}", str(average), str(findings.average)) from None

    async def audit_accusation(self, parent: Cid, proof: FraudProof, source: str | None = None) -> None:
        """One in a child of `parent`; raises Fraud where it is untrue. First the accused step alone, which settles it
        where the accusation is true; else all before it."""
        share = self._carried(parent, proof)
        count = len(share.seal.states)
        whole = audit.plan_accusation(count, proof.step)
        findings = await self._findings(share.header, share.seal, Plan(whole.segments[-1:]), source)
        if not audit.is_false(share.seal, findings, proof.step):
            findings = await self._findings(share.header, share.seal, whole, source)
        audit.judge_accusation(proof, share.seal, findings)

    def _carried(self, parent: Cid, proof: FraudProof) -> Share:
        """The accused share; the rules have seen that this block or one below carries it."""
        node = self._chain.node(parent)
        while node and node.height > proof.height:
            node = self._chain.node(node.parent)
        carrier = self._chain.block(node.id) if node else None
        body = self._chain.body(carrier) if carrier else None
        return next(share for share in (body.shares if body else ()) if share.id == proof.share)

    @property
    def _patience(self) -> float:
        """Seconds to wait for a file that could also be computed."""
        return 2.0 * self._chain.params.block_time


@contextmanager
def _as_rule_errors() -> Iterator[None]:
    """What keeps a worker from a result, as what it means for the audit. No file says by itself that a session is
    false: only what a replay gives does."""
    try:
        yield
    except (NotAvailable, JobDataMissing) as error:
        raise DataMissing(error.cid) from None
    except (JobError, Malformed) as error:  # Malformed: the task's data or its model
        raise AuditFailed(str(error)) from error
