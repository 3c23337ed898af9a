"""Tensor mining: one session after another on the head, until one of them is a block (protocol: Session; Ticket).

A session belongs to one header. When the head moves, it can only become a share: it goes on where that pays more than
a new one, and is cancelled else. When the node is killed, the session goes on from its last finished segment if its
parent is still the head.
"""

import asyncio
import random
from dataclasses import dataclass, replace

import structlog

from consensus.difficulty import FRACTION_BITS, cost
from consensus.ensemble import members, required_result
from consensus.errors import InvalidSeal, RuleError
from consensus.fork_choice import Switch
from consensus.header import Ancestry
from consensus.params import Params
from consensus.rewards import earns
from consensus.seal import check_states, check_ticket
from consensus.task import may_fall_back
from consensus.template import candidate
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.codec import Malformed, cid_of, encode
from deepblock.primitives import Address
from deepblock.spec import TaskSpec
from deepblock.tensors import file_size, model_manifest
from deepblock.types import Block, Body, Header, Result, Seal, Share
from node.chain import Chain
from node.fetch import Fetcher, NotAvailable
from node.jobs.dispatcher import Jobs
from node.jobs.errors import JobError
from node.jobs.messages import SessionProgress
from node.log import said
from node.mempool import Mempool
from node.pipeline import MINED, Clock, Pipeline
from node.proofs import Proofs
from node.restore import Restorer
from node.shares import Shares
from node.storage.schema import SessionRecord
from node.tasks import TaskData

log = structlog.get_logger("miner")

RETRY = 5.0
"""Seconds to wait after a session that could not be run."""


@dataclass(frozen=True, slots=True)
class MinerStatus:
    """`height`, `task`, `segment`, `step`: of the session being trained. `sessions`, `blocks`, `shares`: since the
    start. `last_loss`: of the last finished session's average, in units of the score."""

    mining: bool
    address: Address
    height: int | None = None
    task: Cid | None = None
    segment: int = 0
    segments: int = 0
    step: int = 0
    steps: int = 0
    sessions: int = 0
    blocks: int = 0
    shares: int = 0
    last_loss: int | None = None


def pays_as_share(
    params: Params, spec: TaskSpec, header: Header, height: int, carrier: Cid, left: float
) -> bool:
    """Whether the rest of a session, `left` of its steps, earns more for its MACs as a share of a block at `height`,
    which trains `carrier`, than a new session would.

    With x = c/D, a session wins a block (half of the subsidy) with about x/2, as half of all pass the gate, and is
    a share with min(1, r·x). A share of age a is worth (6 − a)/6 of a sixteenth of the subsidy.
    """
    if not earns(params, header.task, carrier):
        return False
    x = (cost(params, spec) << FRACTION_BITS) / header.difficulty
    chance = min(1.0, params.share_ratio * x)

    def slot(age: int) -> float:
        return chance * (params.share_age - age) / params.share_age / 16

    return slot(height - header.height) > left * (x / 4 + slot(1))


class Miner:
    """Mines to `address` while it runs."""

    def __init__(
        self, chain: Chain, mempool: Mempool, pipeline: Pipeline, shares: Shares, proofs: Proofs, jobs: Jobs,
        blobs: Blockstore, fetcher: Fetcher, data: TaskData, address: Address, clock: Clock,
    ) -> None:  # fmt: skip
        self._chain = chain
        self._mempool = mempool
        self._pipeline = pipeline
        self._shares = shares
        self._proofs = proofs
        self._jobs = jobs
        self._blobs = blobs
        self._fetcher = fetcher
        self._data = data
        self._restorer = Restorer(chain, jobs, blobs)
        self._clock = clock
        self._nonce = random.getrandbits(48)
        self._record: SessionRecord | None = None
        self._session: asyncio.Task[Seal] | None = None
        self._status = MinerStatus(False, address)
        self._fallback = cid_of(chain.params.base_tasks[0])

    def status(self) -> MinerStatus:
        return self._status

    async def run(self, ready: asyncio.Event) -> None:
        """For ever, while the node is caught up (`ready`)."""
        self._status = replace(self._status, mining=True)
        record = self._resumable()
        while True:
            await ready.wait()
            try:
                record = record or self._begin()
                await self._prepare(record)
                await self._mine(record)
            except (NotAvailable, Malformed, TimeoutError) as error:
                name = self._chain.specs[record.header.task].name if record else "the task"
                reason = str(error) or "its files take too long"
                log.warning("mining_waits", reason=f"{name} cannot be trained now: {reason}")
                await asyncio.sleep(RETRY)
            except JobError as error:
                log.error("session_failed", reason=str(error))
                await asyncio.sleep(RETRY)
            record = None

    def new_head(self, switch: Switch) -> None:
        """Work on another head's child wins no block now; it goes on where a share is worth the rest of it."""
        if self._session and self._record and self._record.header.parent != self._chain.head.id:
            if self._pays_as_share(self._record.header):
                log.debug("session_for_its_share", height=self._record.header.height, step=self._status.step)
            else:
                self._session.cancel()

    def _pays_as_share(self, header: Header) -> bool:
        if self._chain.past(self._chain.head.id)(header.parent) is None:
            return False
        left = 1.0 - self._status.step / max(1, self._status.steps)
        height, carrier = self._chain.head.height + 1, self._chain.state().schedule().current
        return pays_as_share(
            self._chain.params, self._chain.specs[header.task], header, height, carrier, left
        )

    # --- one session ---------------------------------------------------------------------------------------

    def _begin(self) -> SessionRecord:
        """Fixes header and body: after this, the result is determined."""
        chain, address, now = self._chain, self._status.address, int(self._clock())
        below = chain.ancestry(chain.head.id)
        signals = self._data.signals(chain.state())
        task = self._task(below, now)
        shares = self._shares.choose(task)
        room = sum(len(encode(share)) for share in shares)
        chosen = self._mempool.choose(chain.state(), below.height + 1, room, self._proofs.hold)
        body = Body(chosen, shares, signals)
        self._nonce += 1
        header = candidate(chain.params, chain.network, below, body.cid, address, self._nonce, now, task)
        return SessionRecord(header, body)

    def _task(self, below: Ancestry, now: int) -> Cid:
        """The scheduled one; base task 0 where the chain has stood still for long, for whatever reason: data that
        nobody has, sessions that are void, a bar that nobody passes."""
        params = self._chain.params
        if may_fall_back(params, now, below.timestamps[0]):
            return self._fallback
        return self._chain.state().schedule().current

    def _resumable(self) -> SessionRecord | None:
        """The session that a crash interrupted, if its block could still be the next."""
        record = self._chain.saved_session()
        if record is None:
            return None
        if record.header.parent != self._chain.head.id or record.header.miner != self._status.address:
            self._forget(record.states)
            return None
        intact = 0
        while intact < len(record.states) and not self._blobs.missing(record.states[intact]):
            intact += 1
        log.info("session_resumed", height=record.header.height, segment=intact)
        return replace(record, states=record.states[:intact])

    async def _prepare(self, record: SessionRecord) -> None:
        """The data and the model that the session starts from. Raises TimeoutError when the chain may fall back."""
        task = record.header.task
        async with asyncio.timeout(self._patience(record.header)):
            await self._data.ensure(task)
            if model := self._chain.state().task(task).model:
                try:
                    await self._fetcher.file(model, file_size(model_manifest(self._chain.specs[task])))
                except NotAvailable:
                    await self._restorer.model(task, model)

    def _patience(self, header: Header) -> float | None:
        """Seconds until base task 0 may be trained in place of this one; for base task 0 there is no other."""
        if header.task == self._fallback:
            return None
        params, parent = self._chain.params, self._chain.ancestry(header.parent).timestamps[0]
        return max(0.0, parent + params.fallback_after * params.block_time - self._clock())

    async def _mine(self, record: SessionRecord) -> None:
        header = record.header
        if header.parent != self._chain.head.id:
            return
        spec = self._chain.specs[header.task]
        model = self._chain.state().task(header.task).model
        self._record = record
        self._chain.save_session(record)
        steps = spec.segments * spec.steps
        self._status = replace(
            self._status, height=header.height, task=header.task, segments=spec.segments, steps=steps
        )
        session = self._jobs.session(
            spec,
            header.seed,
            model,
            finished=record.states,
            on_segment=self._segment_done,
            on_progress=self._progressed,
        )
        self._session = asyncio.ensure_future(session)
        try:
            seal = await self._session
        except asyncio.CancelledError:
            running = asyncio.current_task()
            if running and running.cancelling():
                raise  # the node is stopping: the record stays, to go on from
            self._forget(self._record.states)
            return
        finally:
            self._session = None
        await self._finish(SessionRecord(header, record.body, seal.states), seal)

    async def _finish(self, record: SessionRecord, seal: Seal) -> None:
        """A block, if the ticket wins and the head is still its parent; else a share, if the ticket is good for one."""
        self._status = replace(self._status, sessions=self._status.sessions + 1, last_loss=seal.score.loss)
        header = record.header
        task = self._chain.state(header.parent).task(header.task)
        try:
            check_states(self._chain.specs[header.task], seal)
            check_ticket(self._chain.params, self._chain.specs[header.task], task, header, seal)
        except InvalidSeal as miss:
            log.debug("session_lost", height=header.height, loss=seal.score.loss, reason=type(miss).__name__)
            await self._offer(Share(header, seal))
            return
        if header.parent != self._chain.head.id:
            await self._offer(Share(header, seal))
            return
        own = Block(header, seal, required_result(seal, task))
        ensemble = members(own, record.body)
        derived: tuple[Result, ...] = ()
        if len(ensemble) > 1:
            averages = tuple(member.seal.average for member in ensemble)
            derived = await self._jobs.combine(self._chain.specs[header.task], averages, task.model)
        block = replace(own, result=required_result(seal, task, derived))
        try:
            await self._pipeline.receive(block, MINED, record.body)
        except RuleError as error:
            log.error("own_block_refused", height=header.height, reason=str(error))
            await asyncio.sleep(RETRY)
            return
        self._status = replace(self._status, blocks=self._status.blocks + 1)
        score = said(self._chain.specs[header.task], block.result.score)
        losses = {
            "members": [member.seal.score.loss for member in ensemble],
            "derived": [candidate.score.loss for candidate in derived],
        }
        log.info("block_mined", height=header.height, id=str(block.id), **losses, **score)

    async def _offer(self, share: Share) -> None:
        """To whoever makes the next blocks; its files are kept then, for their audits."""
        try:
            await self._shares.offer(share)
        except RuleError as error:
            log.debug("no_share", height=share.header.height, reason=str(error))
            self._forget((*share.seal.states, share.seal.average))
            return
        self._chain.save_session(None)
        self._status = replace(self._status, shares=self._status.shares + 1)
        log.info("share_made", height=share.header.height, id=str(share.id))

    def _segment_done(self, segment: int, state: Cid) -> None:
        if self._record:
            self._record = replace(self._record, states=(*self._record.states, state))
            self._chain.save_session(self._record)

    def _progressed(self, progress: SessionProgress) -> None:
        self._status = replace(self._status, segment=progress.segment, step=progress.step)

    def _forget(self, files: tuple[Cid, ...]) -> None:
        """Of a session that became nothing. (Its CIDs follow from its seed, so nobody else's work shares them.)"""
        for cid in files:
            self._blobs.remove(cid)
        self._chain.save_session(None)
