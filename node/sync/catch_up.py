"""Catching up: who shows a heavier chain is followed, header by header, with bodies from everybody who has them.

Gossip loses messages silently, so it only makes things fast. What keeps nodes together is here: every peer is asked
for its status when it comes and every few seconds after; a heavier chain is fetched, whatever gossip said.

A status is a claim: it decides whom to ask, and nothing else. Several that claim more are asked at once, and the
first that has shown more is followed. Mining pauses, and audits become samples, only for blocks that a peer has shown.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Final, TypeVar

import structlog

from consensus.errors import Fraud, Invalid, NotYet
from deepblock.codec import Malformed, decode
from deepblock.types import Block, Body
from node.chain import Chain
from node.fetch import Fetcher
from node.messages import Status
from node.p2p.door import Door
from node.p2p.events import DoorError
from node.peers import BAN_SCORE, Peers
from node.pipeline import Disproved, Origin, Pipeline
from node.serve import Service
from node.sync.bodies import Bodies
from node.sync.headers import NothingToShow, Walk
from node.sync.progress import Rate, SyncStatus
from node.sync.statuses import POLL, Statuses

log = structlog.get_logger("sync")

PATIENCE: Final = 10.0
"""Seconds after which a node without any peer that has a chain counts as caught up: somebody has to begin."""
BEHIND: Final = 2
"""Blocks above our head. A peer that has shown more than these: mining would be a waste."""
RACERS: Final = 3
"""Peers that are asked at once for a heavier chain."""
JOIN: Final = 0.1
"""Seconds between two looks who else claims more."""
REST: Final = 5.0
"""Seconds in which a peer that could not show what it claims is not asked again."""
STUCK: Final = 60.0
"""Seconds in which nobody made a claim good: then the claimants make way for other peers."""
EMPTY_CLAIM: Final = 20
"""Penalty points for a claim with nothing to show: few, since the peer's head may just have moved."""
UNHEARD: Final = 50
"""Penalty points for a chain with a block that an audit shows to be false, or has shown: no ban yet, since the peer's
own may have missed the step. It hears of it, and rests for a block time, in which an honest one redoes the step. At the
third time it is banned: false blocks cost little, and each costs us a replay."""

T = TypeVar("T")


class Sync:
    """Keeps this node on the heaviest chain that its peers know. `ready` is set while it is there."""

    def __init__(
        self, chain: Chain, pipeline: Pipeline, fetcher: Fetcher,
        door: Door, peers: Peers, service: Service, alone: bool, stuck: float = STUCK,
    ) -> None:  # fmt: skip
        self._chain = chain
        self._pipeline = pipeline
        self._fetcher = fetcher
        self._door = door
        self._peers = peers
        self._wake = asyncio.Event()
        self.statuses = Statuses(door, peers, service, self._wake.set)
        self._stuck = stuck
        self._resting: dict[str, float] = {}
        self._followed: Status | None = None
        self._rate = Rate()
        self.ready = asyncio.Event()
        if alone:
            self.ready.set()

    def status(self) -> SyncStatus:
        height = self._chain.head.height
        if not self.statuses.known:
            state = "alone" if self.ready.is_set() else "starting"
        elif self.ready.is_set():
            state = "synced"
        else:
            state = "blocks" if self._followed else "headers"
        target = max(height, self._followed.height if self._followed else 0)
        percent = 100 * height / target if target else 100.0
        return SyncStatus(state, height, target, percent, self._rate.eta(height, target))

    def peer_up(self, peer: str) -> None:
        self.statuses.hurry()

    def peer_down(self, peer: str) -> None:
        self.statuses.forget(peer)

    def hint(self) -> None:
        """A block came whose parent or body is missing: ask at once."""
        self.statuses.hurry()

    async def run(self) -> None:
        """Until cancelled."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.statuses.run())
            group.create_task(self._watch())
            while True:
                self._wake.clear()
                await self._catch_up()
                somebody = any(status.weight for status in self.statuses.known.values())
                if somebody or time.monotonic() - began > PATIENCE:
                    self.ready.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL):
                        await self._wake.wait()

    async def _catch_up(self) -> None:
        """Until nobody claims more, or those who do have had their chance."""
        while begun := await self._race():
            walk, first = begun
            claim = self.statuses.known.get(walk.peer)
            await self._judged(walk.peer, self._follow(walk, first))
            if claim and self._is_ahead(claim):  # what it claimed before is not what it had
                self._rest(walk.peer)

    def _claimants(self) -> list[str]:
        """Peers that say that they have a heavier chain, the heaviest first."""
        known = sorted(self.statuses.known.items(), key=lambda item: -item[1].weight)
        return [peer for peer, status in known if self._is_ahead(status)]

    def _fresh(self) -> list[str]:
        """Those of them that may have their chance now."""
        now = time.monotonic()
        self._resting = {peer: until for peer, until in self._resting.items() if until > now}
        return [peer for peer in self._claimants() if peer not in self._resting]

    def _is_ahead(self, status: Status) -> bool:
        return status.weight > self._chain.head.weight and self._chain.node(status.head) is None

    async def _race(self) -> tuple[Walk, Sequence[Block]] | None:
        """The walk along a heavier chain, and its first blocks, of the claimant that is the first to show one; None
        where none does. Whoever comes to claim more meanwhile joins in."""
        racing: dict[asyncio.Task[tuple[Walk, Sequence[Block]] | None], str] = {}
        try:
            while True:
                for peer in self._fresh():
                    if peer not in racing.values() and len(racing) < RACERS:
                        racing[asyncio.create_task(self._judged(peer, self._begin(peer)))] = peer
                if not racing:
                    return None
                done, _ = await asyncio.wait(racing, timeout=JOIN, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del racing[task]
                    if begun := task.result():
                        return begun
        finally:
            for task in racing:
                task.cancel()

    async def _begin(self, peer: str) -> tuple[Walk, Sequence[Block]]:
        return await Walk(self._chain, self._fetcher, peer).outweighing(self._chain.head.weight)

    async def _judged(self, peer: str, attempt: Coroutine[None, None, T]) -> T | None:
        """What comes of it; where it fails, what that costs the peer, and None."""
        claim = self.statuses.known.get(peer)
        try:
            return await attempt
        except NothingToShow as error:
            # Where gossip was faster, we have by now what it claimed.
            if claim is None or self._is_ahead(claim):
                self._peers.penalise(peer, EMPTY_CLAIM, str(error))
        except (DoorError, NotYet) as error:
            log.info("sync_interrupted", peer=peer, height=self._chain.head.height, reason=str(error))
        except Disproved as error:  # it may not have heard yet; the pipeline tells it
            self._peers.penalise(peer, UNHEARD, f"follows a false block: {error}")
            self._rest(peer, self._chain.params.block_time)
        except (Invalid, Malformed) as error:
            self._peers.penalise(peer, BAN_SCORE, f"invalid block while catching up: {error}")
        self._rest(peer)
        return None

    def _rest(self, peer: str, seconds: float = REST) -> None:
        """It is not asked for so long, or longer where that was said before."""
        self._resting[peer] = max(self._resting.get(peer, 0.0), time.monotonic() + seconds)

    async def _follow(self, walk: Walk, first: Sequence[Block]) -> None:
        """Takes the peer's blocks. Raises DoorError, Malformed, Invalid, NotYet."""
        self._followed = self.statuses.known.get(walk.peer)
        self._rate.begin(self._chain.head.height)
        try:
            async with aclosing(self._shown(walk, first)) as shown:
                async for block, data, above in shown:
                    if block.height + above > self._chain.head.height + BEHIND:
                        self.ready.clear()
                    await self._take(block, data, above, walk.peer)
                    self._rate.at(self._chain.head.height)
        finally:
            self._followed = None

    async def _take(self, block: Block, data: bytes, above: int, peer: str) -> None:
        """`data`: its body, decoded unless gossip was faster."""
        age = int(time.time()) - block.header.timestamp
        depth = max(0, min(above, age // self._chain.params.block_time))  # what is recent is not deep
        known = self._pipeline.is_judging(block.id) or self._chain.node(block.id)
        body = None if known else decode(Body, data, self._chain.params.max_body)
        try:
            await self._pipeline.receive(block, Origin("sync", peer, depth=depth), body)
        except Fraud as fraud:  # its own sample may have missed what ours has hit
            raise Disproved(str(fraud)) from fraud

    async def _shown(
        self, walk: Walk, first: Sequence[Block]
    ) -> AsyncGenerator[tuple[Block, bytes, int], None]:
        """The blocks above what both know, with their bodies, and how many on top of each were shown so far: all there
        are, or more than the finality depth. The next ones are on their way meanwhile."""
        params = self._chain.params
        bodies = Bodies(self._fetcher, self._chain.raw, lambda: self.statuses.known)
        ahead = deque(first)
        bodies.want(first)
        coming = asyncio.create_task(walk.more())
        more = True
        try:
            while True:
                while more and len(ahead) <= params.finality:
                    blocks = await coming
                    if more := bool(blocks):
                        ahead += blocks
                        bodies.want(blocks)
                        coming = asyncio.create_task(walk.more())
                if not ahead:
                    return
                block = ahead.popleft()
                yield block, await bodies.next(), len(ahead)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await bodies.close()

    async def _watch(self) -> None:
        """Claims that nobody makes good for long: who claims is hung up on, so that others can take the places."""
        moved, weight = time.monotonic(), self._chain.head.weight
        while True:
            await asyncio.sleep(self._stuck / 6)
            claimants = self._claimants()
            if self._followed or not claimants or self._chain.head.weight != weight:
                moved, weight = time.monotonic(), self._chain.head.weight
            elif time.monotonic() - moved > self._stuck:
                log.warning(
                    "sync_stuck", height=self._chain.head.height, seconds=self._stuck, peers=claimants
                )
                for peer in claimants:
                    with suppress(DoorError):
                        await self._door.close(peer)
