"""Catching up: who has more than this node is asked for blocks, then for bodies, then for what an audit needs.

Gossip loses messages silently, so it only makes things fast. What keeps nodes together is here: every peer is asked
for its status when it comes and every few seconds after; a heavier chain is fetched, whatever gossip said.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from consensus.errors import Invalid, NotYet
from deepblock.codec import Malformed, encode
from deepblock.types import Block
from node.auditor import Auditor
from node.chain import Chain
from node.fetch import Fetcher
from node.messages import MAX_ADDRESSES, Status
from node.p2p.door import Door
from node.p2p.events import DoorError
from node.peers import BAN_SCORE, Peers
from node.pipeline import Origin, Pipeline
from node.serve import Service

log = structlog.get_logger("sync")

POLL = 4.0
"""Seconds between two questions to the same peer."""
PATIENCE = 10.0
"""Seconds after which a node without any peer counts as caught up: somebody has to begin."""


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """`state`: starting, syncing or synced. `target`: the best height that a peer has told."""

    state: str
    height: int
    target: int


class Sync:
    """Keeps this node on the heaviest chain that its peers know. `ready` is set while it is there."""

    def __init__(
        self, chain: Chain, pipeline: Pipeline, fetcher: Fetcher, auditor: Auditor,
        door: Door, peers: Peers, service: Service, alone: bool,
    ) -> None:  # fmt: skip
        self._chain = chain
        self._pipeline = pipeline
        self._fetcher = fetcher
        self._auditor = auditor
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
        state = "synced" if self.ready.is_set() else "syncing" if self._known else "starting"
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
            heavier = any(status.weight > self._chain.head.weight for status in self._known.values())
            if not heavier and (self._known or time.monotonic() - began > PATIENCE):
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
            self._peers.learn(address)

    def _share_addresses(self) -> None:
        self._service.own = tuple(self._door.addrs)
        self._service.others = {peer: status.own[:2] for peer, status in self._known.items()}

    async def _catch_up(self) -> None:
        """From the peer with the most weight on, until nobody is heavier or nothing more comes."""
        for peer, status in sorted(self._known.items(), key=lambda item: -item[1].weight):
            if status.weight <= self._chain.head.weight or self._chain.node(status.head):
                continue
            if status.height > self._chain.head.height + 2:
                self.ready.clear()
            self._auditor.target = status.height
            try:
                async for block in self._missing(peer):
                    await self._pipeline.receive(encode(block), Origin("sync", peer))
            except (DoorError, NotYet) as error:
                log.info("sync_interrupted", peer=peer, height=self._chain.head.height, reason=str(error))
            except (Malformed, Invalid) as error:
                self._peers.penalise(peer, BAN_SCORE, f"invalid block while catching up: {error}")

    async def _missing(self, peer: str) -> AsyncIterator[Block]:
        """The peer's blocks above what both know. Each batch goes on from the last block of the one before."""
        known = self._chain.locator()
        while blocks := (await self._fetcher.chain(peer, known)).blocks:
            log.info("syncing", peer=peer, from_height=blocks[0].height, to_height=blocks[-1].height)
            for block in blocks:
                yield block
            known = (blocks[-1].id, *known[:32])
