"""Catching up: who has more than this node is asked for blocks, then for bodies, then for what an audit needs.

Gossip loses messages silently, so it only makes things fast. What keeps nodes together is here: every peer is asked
for its status when it comes and every few seconds after; a heavier chain is fetched, whatever gossip said.

A status is a claim: it decides whom to ask, and nothing else. Mining pauses, and audits become samples, only for
blocks that a peer has shown.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import structlog

from consensus.errors import Fraud, Invalid, NotYet, TaskUnknown
from consensus.transition import check_block
from deepblock.cid import Cid
from deepblock.codec import Malformed, encode
from deepblock.types import Block
from node.addresses import peer_in
from node.chain import Chain
from node.fetch import Fetcher
from node.messages import MAX_ADDRESSES, Status
from node.p2p.door import Door
from node.p2p.events import DoorError
from node.peers import BAN_SCORE, Peers
from node.pipeline import Disproved, Origin, Pipeline
from node.serve import Service

log = structlog.get_logger("sync")

POLL = 4.0
"""Seconds between two questions to the same peer."""
PATIENCE = 10.0
"""Seconds after which a node without any peer counts as caught up: somebody has to begin."""
BEHIND = 2
"""Blocks above our head. A peer that has shown more than these: mining would be a waste."""
EMPTY_CLAIM = 20
"""Penalty points for a claim with nothing to show: few, since the peer's head may just have moved."""


UNHEARD = 50
"""Penalty points for a chain with a block that was shown to be false: an honest peer leaves it within seconds."""


class NothingToShow(NotYet):
    text = "claims more than it shows"


@dataclass(eq=False)
class Unconnected(Invalid):
    block: Cid
    parent: Cid
    text: ClassVar[str] = "block {block} does not connect: its parent {parent} is not the block before it"


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """`state`: starting, syncing, synced, or alone (no peer: a chain of one's own, until another comes).
    `target`: the best height that a peer has told."""

    state: str
    height: int
    target: int


class Sync:
    """Keeps this node on the heaviest chain that its peers know. `ready` is set while it is there."""

    def __init__(
        self, chain: Chain, pipeline: Pipeline, fetcher: Fetcher,
        door: Door, peers: Peers, service: Service, alone: bool,
    ) -> None:  # fmt: skip
        self._chain = chain
        self._pipeline = pipeline
        self._fetcher = fetcher
        self._door = door
        self._peers = peers
        self._service = service
        self._known: dict[str, Status] = {}
        self._wake = asyncio.Event()
        self.ready = asyncio.Event()
        if alone:
            self.ready.set()

    def status(self) -> SyncStatus:
        target = max([self._chain.head.height, *(status.height for status in self._known.values())])
        if not self._known:
            state = "alone" if self.ready.is_set() else "starting"
        else:
            state = "synced" if self.ready.is_set() else "syncing"
        return SyncStatus(state, self._chain.head.height, target)

    def peer_up(self, peer: str) -> None:
        self._wake.set()

    def peer_down(self, peer: str) -> None:
        self._known.pop(peer, None)
        self._share_addresses()

    def hint(self) -> None:
        """A block came whose parent is unknown: ask at once."""
        self._wake.set()

    async def run(self) -> None:
        began = time.monotonic()
        while True:
            self._wake.clear()
            async with asyncio.TaskGroup() as group:
                for peer in self._door.peers():
                    group.create_task(self._ask(peer.id))
            await self._catch_up()
            if self._known or time.monotonic() - began > PATIENCE:
                self.ready.set()
            try:
                await asyncio.wait_for(self._wake.wait(), POLL)
                await asyncio.sleep(0.2)  # a burst of hints is one question
            except TimeoutError:
                pass

    async def _ask(self, peer: str) -> None:
        try:
            status = await self._fetcher.status(peer, self._service.status(peer))
        except DoorError as error:
            log.debug("status_failed", peer=peer, reason=str(error))
            return
        except Malformed as error:
            self._peers.penalise(peer, BAN_SCORE, f"undecodable status: {error}")
            return
        if status.network != self._chain.network:
            self._peers.penalise(peer, BAN_SCORE, f"is on another network, {status.network}")
            return
        self._known[peer] = status
        self._share_addresses()
        for address in (*status.own, *status.others)[: 2 * MAX_ADDRESSES]:
            self._peers.learn(address, peer)

    def _share_addresses(self) -> None:
        self._service.own = self._peers.own
        self._service.others = {
            peer: tuple(address for address in status.own if peer_in(address) == peer)[:2]
            for peer, status in self._known.items()
        }

    async def _catch_up(self) -> None:
        """From the peer with the most weight on, until nobody is heavier or nothing more comes."""
        for peer, status in sorted(self._known.items(), key=lambda item: -item[1].weight):
            if not self._is_ahead(status):
                continue
            try:
                await self._follow(peer, status)
            except NothingToShow as error:
                self._peers.penalise(peer, EMPTY_CLAIM, str(error))
            except (DoorError, NotYet) as error:
                log.info("sync_interrupted", peer=peer, height=self._chain.head.height, reason=str(error))
            except Disproved as error:  # it may not have heard yet; the pipeline tells it
                self._peers.penalise(peer, UNHEARD, f"follows a false block: {error}")
            except (Malformed, Invalid) as error:
                self._peers.penalise(peer, BAN_SCORE, f"invalid block while catching up: {error}")

    def _is_ahead(self, status: Status) -> bool:
        return status.weight > self._chain.head.weight and self._chain.node(status.head) is None

    async def _follow(self, peer: str, status: Status) -> None:
        """Takes the peer's blocks. Raises DoorError, Malformed, Invalid, NotYet."""
        async for block, above in self._shown(peer, status):
            if block.height + above > self._chain.head.height + BEHIND:
                self.ready.clear()
            age = int(time.time()) - block.header.timestamp
            depth = max(0, min(above, age // self._chain.params.block_time))  # what is recent is not deep
            heard = self._pipeline.is_judging(block.id)
            try:
                await self._pipeline.receive(encode(block), Origin("sync", peer, depth=depth))
            except Fraud as fraud:
                if heard:  # from its author perhaps, as by this peer, which may not audit
                    raise Disproved(str(fraud)) from fraud
                raise

    async def _shown(self, peer: str, status: Status) -> AsyncIterator[tuple[Block, int]]:
        """The peer's blocks above what both know, and how many on top of each it has shown so far: all there are,
        or more than the finality depth."""
        known = self._chain.locator()
        ahead: deque[Block] = deque()
        last: Block | None = None
        more = True
        while more or ahead:
            if more and len(ahead) <= self._chain.params.finality:
                batch = await self._batch(peer, known, last)
                more = bool(batch)
                if batch:
                    ahead += batch
                    last = batch[-1]
                    known = (last.id, *known[:32])
                elif not ahead and self._is_ahead(status):
                    raise NothingToShow
            else:
                block = ahead.popleft()
                yield block, len(ahead)

    async def _batch(self, peer: str, known: tuple[Cid, ...], last: Block | None) -> Sequence[Block]:
        """What follows `last`, or the first of `known` that the peer has too; each block with a ticket that wins."""
        blocks = (await self._fetcher.chain(peer, known)).blocks
        if not blocks:
            return blocks
        before = blocks[0].header.parent
        if last and before != last.id and self._chain.node(before):
            raise NothingToShow  # it leads in circles, or its head has moved since
        if last:
            before = last.id
        elif not self._chain.node(before):
            raise Unconnected(blocks[0].id, before)
        for block in blocks:
            if block.header.parent != before:
                raise Unconnected(block.id, block.header.parent)
            with suppress(TaskUnknown):  # opened in a block shown before it: checked when its turn comes
                check_block(self._chain.params, self._chain.network, block, self._chain.specs.get)
            before = block.id
        log.info("syncing", peer=peer, from_height=blocks[0].height, to_height=blocks[-1].height)
        return blocks
