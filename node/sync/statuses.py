"""Who stands where. Each connected peer is asked every few seconds, each by itself: a silent one holds up nobody.

A status is a claim. It decides whom to ask for blocks, and nothing else.
"""

import asyncio
from collections.abc import Callable

import structlog

from deepblock.cid import Cid
from deepblock.codec import Malformed
from node.addresses import peer_in
from node.fetch import Fetcher
from node.messages import MAX_ADDRESSES, Status
from node.p2p.door import Door
from node.p2p.events import DoorError
from node.peers import BAN_SCORE, Peers
from node.serve import Service

log = structlog.get_logger("sync")

POLL = 4.0
"""Seconds between two questions to the same peer."""
BURST = 0.2
"""Seconds in which several hints are one question."""


class Statuses:
    """What each connected peer says of itself, in `known`. `told` is called after every answer."""

    def __init__(
        self, network: Cid, fetcher: Fetcher, door: Door, peers: Peers, service: Service,
        told: Callable[[], None],
    ) -> None:  # fmt: skip
        self.known: dict[str, Status] = {}
        self._network = network
        self._fetcher = fetcher
        self._door = door
        self._peers = peers
        self._service = service
        self._told = told
        self._asking: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                for peer in {peer.id for peer in self._door.peers()} - self._asking:
                    self._asking.add(peer)
                    group.create_task(self._ask(peer))
                try:
                    async with asyncio.timeout(POLL):
                        await self._wake.wait()
                    await asyncio.sleep(BURST)
                except TimeoutError:
                    pass

    def hurry(self) -> None:
        """Somebody came, or has what we lack: ask at once."""
        self._wake.set()

    def forget(self, peer: str) -> None:
        self.known.pop(peer, None)
        self._share_addresses()

    async def _ask(self, peer: str) -> None:
        try:
            status = await self._fetcher.status(peer, self._service.status(peer))
        except DoorError as error:
            log.debug("status_failed", peer=peer, reason=str(error))
            return
        except Malformed as error:
            self._peers.penalise(peer, BAN_SCORE, f"undecodable status: {error}")
            return
        finally:
            self._asking.discard(peer)
        if status.network != self._network:
            self._peers.penalise(peer, BAN_SCORE, f"is on another network, {status.network}")
            return
        self.known[peer] = status
        self._share_addresses()
        for address in (*status.own, *status.others)[: 2 * MAX_ADDRESSES]:
            self._peers.learn(address, peer)
        self._told()

    def _share_addresses(self) -> None:
        self._service.own = self._peers.own
        self._service.others = {
            peer: tuple(address for address in status.own if peer_in(address) == peer)[:2]
            for peer, status in self.known.items()
        }
