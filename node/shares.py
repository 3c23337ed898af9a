"""Sessions that won no block and wait to be carried by one (protocol: Model and ensemble).

A share comes by gossip or from this node's own miner. It is checked and audited like a block, and then offered to the
miner for as long as a block could carry it. Its states are served as long as those of blocks.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Final

import structlog

from consensus import shares as rules
from consensus.errors import Fraud, NotYet
from consensus.fork_choice import Switch
from consensus.rewards import earns
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.codec import encode
from deepblock.types import Share
from node.auditor import Auditor
from node.chain import Chain
from node.log import said
from node.messages import topic_of
from node.pipeline import Clock, Publish
from node.verdicts import Verdicts

log = structlog.get_logger("shares")

CAPACITY: Final = 256
"""Shares that wait at once."""


@dataclass(eq=False)
class NotOfThisChain(NotYet):
    parent: Cid
    text: ClassVar[str] = "the share's parent {parent} is not one of the last blocks of this chain"


@dataclass(eq=False)
class PoolFull(NotYet):
    waiting: int
    text: ClassVar[str] = "{waiting} shares wait already"


@dataclass(slots=True)
class Known:
    """A share, and what became of it: 'waiting', 'carried' (with the block), 'too old', or why it is false."""

    share: Share
    state: str = "waiting"
    carrier: Cid | None = None


@dataclass(slots=True)
class Shares:
    """The shares that this node knows, by id."""

    chain: Chain
    auditor: Auditor
    blobs: Blockstore
    publish: Publish
    clock: Clock
    _known: dict[Cid, Known] = field(default_factory=dict)
    _verdicts: Verdicts = field(default_factory=Verdicts)

    def known(self) -> list[Known]:
        """Those that wait and those of the last blocks, in the order in which they came."""
        return list(self._known.values())

    async def receive(self, share: Share, source: str | None) -> None:
        """Takes in one that came by gossip; `source`: who vouched for it. Raises Invalid, or NotYet."""
        await self._verdicts.of(share.id, lambda: self._take(share, source))

    async def offer(self, share: Share) -> None:
        """From this node's own miner: into the pool, and to the others. Raises RuleError where it is none."""
        self._check(share)
        self.auditor.note_share(share)
        self._known[share.id] = Known(share)
        await self.publish(topic_of(self.chain.network, "shares"), encode(share))

    def choose(self, task: Cid) -> tuple[Share, ...]:
        """For a block on the head that trains `task`: what is paid in it, shares of the same task first, the newest
        first."""
        params, height = self.chain.params, self.chain.head.height + 1
        seen = set(rules.lately(params, self.chain.state(), height))
        past = self.chain.past(self.chain.head.id)
        chosen: list[Share] = []
        waiting = [
            known.share
            for known in self._known.values()
            if known.state == "waiting"
            and earns(params, known.share.header.task, task)
            and not self.blobs.missing(known.share.seal.average)
        ]
        for share in sorted(waiting, key=lambda share: (share.header.task != task, -share.header.height)):
            fits = height - share.header.height < params.share_age and past(share.header.parent)
            if fits and share.header.cid not in seen and len(chosen) < params.max_shares:
                chosen.append(share)
                seen.add(share.header.cid)
        return tuple(chosen)

    def follow(self, switch: Switch) -> None:
        """After every change of the head."""
        for block in switch.undo:
            for known in self._known.values():
                if known.carrier == block:
                    known.state, known.carrier = "waiting", None
        for block in switch.apply:
            self._note_carried(block)
        height = self.chain.head.height + 1
        for id_, known in list(self._known.items()):
            depth = height - known.share.header.height
            if known.state == "waiting" and depth >= self.chain.params.share_age:
                known.state = "too old"
            if depth > self.chain.params.finality:
                self._forget(id_)

    # --- inside --------------------------------------------------------------------------------------------

    async def _take(self, share: Share, source: str | None) -> None:
        if share.id in self._known:
            return
        self._check(share)
        try:
            await self.auditor.audit_share(share, source)
            await self._settle(share, source)
        except Fraud as error:
            self._known[share.id] = Known(share, str(error))
            raise
        self._known[share.id] = Known(share)
        spec = self.chain.specs[share.header.task]
        score = said(spec, share.seal.score)
        log.info(
            "share", height=share.header.height, id=str(share.id), miner=str(share.header.miner), **score
        )

    async def _settle(self, share: Share, source: str | None) -> None:
        """Of two seals of one session one is false, and whoever carries it pays for it (R7). A sample may miss that;
        the first state in which they differ tells, since both have the one before it. Raises Fraud."""
        for known in list(self._known.values()):
            if known.state == "waiting" and known.share.header == share.header:
                states = zip(known.share.seal.states, share.seal.states, strict=True)
                differ = next(
                    (segment for segment, (one, other) in enumerate(states, 1) if one != other), None
                )
                if differ and await self.auditor.audit_share(share, source, (differ,)):
                    known.state = f"false segment {differ}: another seal of its session is true there"

    def _check(self, share: Share) -> None:
        params, network = self.chain.params, self.chain.network
        rules.check_share(params, network, share, self.chain.specs.get)
        below = self.chain.past(self.chain.head.id)(share.header.parent)
        if below is None:
            raise NotOfThisChain(share.header.parent)
        now = int(self.clock())
        rules.check_share_chained(params, network, share, below.ancestry, below.state, now)
        waiting = sum(known.state == "waiting" for known in self._known.values())
        if waiting >= CAPACITY:
            raise PoolFull(waiting)

    def _note_carried(self, block: Cid) -> None:
        found = self.chain.block(block)
        body = self.chain.body(found) if found else None
        for share in body.shares if body else ():
            known = self._known.setdefault(share.id, Known(share))
            known.state, known.carrier = "carried", block

    def _forget(self, id_: Cid) -> None:
        """With its files: its CIDs follow from its seed, so nobody else's work has the same."""
        seal = self._known.pop(id_).share.seal
        for cid in (*seal.states, seal.average):
            self.blobs.remove(cid)
