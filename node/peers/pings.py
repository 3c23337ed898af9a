"""py-libp2p never notices a frozen peer: here everybody is pinged, and who does not answer is hung up on."""

import asyncio
from contextlib import suppress

import structlog

from node.p2p.door import Door
from node.p2p.events import AskTimeout, DoorError

log = structlog.get_logger("peers")

PING_EVERY, PING_TIME, PING_MISSES = 10.0, 10.0, 3
"""Seconds between pings, seconds for an answer, unanswered pings after which a peer is frozen."""


class Pings:
    def __init__(self, door: Door) -> None:
        self._door = door
        self._misses: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(PING_EVERY)
            peers = [peer.id for peer in self._door.peers()]
            self._misses = {peer: self._misses.get(peer, 0) for peer in peers}
            await asyncio.gather(*(self._ping(peer) for peer in peers))

    async def _ping(self, peer: str) -> None:
        try:
            await self._door.ping(peer, PING_TIME)
        except AskTimeout:
            self._misses[peer] += 1
            if self._misses[peer] >= PING_MISSES:
                log.warning("peer_frozen", peer=peer, unanswered=self._misses[peer])
                with suppress(DoorError):
                    await self._door.close(peer)
        except DoorError:
            pass  # gone already, or of another make: it did answer
        else:
            self._misses[peer] = 0
