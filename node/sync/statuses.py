"""Who stands where. Each connected peer is asked every few seconds, each by itself: a silent one holds up nobody.

A status is a claim. It decides whom to ask for blocks, and nothing else.
"""

import asyncio
from collections.abc import Callable

from node.introduction import ask_status, passed_on
from node.messages import Status
from node.p2p.door import Door
from node.peers import Peers
from node.serve import Service

POLL = 4.0
"""Seconds between two questions to the same peer."""
BURST = 0.2
"""Seconds in which several hints are one question."""


class Statuses:
    """What each connected peer says of itself, in `known`. `told` is called after every answer."""

    def __init__(self, door: Door, peers: Peers, service: Service, told: Callable[[], None]) -> None:
        self.known: dict[str, Status] = {}
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
            status = await ask_status(self._door, self._peers, peer, self._service.status(peer))
        finally:
            self._asking.discard(peer)
        if status is not None:
            self.known[peer] = status
            self._share_addresses()
            self._told()

    def _share_addresses(self) -> None:
        self._service.own = self._peers.own
        self._service.others = {peer: passed_on(peer, status) for peer, status in self.known.items()}
