"""The embedded backend: this node's own block store, served and filled by bitswap over its own libp2p host."""

import asyncio
import random
import time
from collections.abc import Collection, Sequence
from typing import Final

import structlog

from deepblock.cid import Cid
from node.addresses import peer_in
from node.ipfs.pause import Pause
from node.p2p.door import Door
from node.p2p.events import DoorError, Refused

log = structlog.get_logger("ipfs")

TICK: Final = 1.0
"""Seconds between two looks at who is missing."""
PATIENCE: Final = 5.0
"""Seconds in which a peer has to send something of what it was asked for."""
STRANGERS: Final = 8
"""Connected peers, beside those of the settings, that are asked for a block."""


class Embedded:
    """`addrs`: multiaddrs, with /p2p/ID, of IPFS nodes to stay connected to. They are asked first, and then whoever
    else is connected and speaks bitswap, as an IPFS node that has dialled us. What is in the block store is served,
    so there is nothing to pin. `patience`: seconds in which a peer has to send something."""

    name = "embedded"
    batch = 32

    def __init__(self, door: Door, addrs: Sequence[str], patience: float = PATIENCE) -> None:
        self._door = door
        self._patience = patience
        self._wanted = {peer: addr for addr in addrs if (peer := peer_in(addr))}
        self._pauses = {peer: Pause() for peer in self._wanted}
        self._dial_at = dict.fromkeys(self._wanted, 0.0)
        self._mute: set[str] = set()  # connected peers that do not speak bitswap

    @property
    def state(self) -> str:
        if not self._wanted:
            return "up"
        here = len(self._wanted.keys() & self._connected())
        return f"up, {here} of {len(self._wanted)} ipfs_peers connected"

    async def run(self) -> None:
        while True:
            async with asyncio.TaskGroup() as dials:
                for peer in self._wanted.keys() - self._connected():
                    if self._dial_at[peer] <= time.monotonic():
                        dials.create_task(self._dial(peer))
            await asyncio.sleep(TICK)

    async def blocks(self, file: Cid, cids: Sequence[Cid]) -> dict[Cid, bytes]:
        """A peer that dies half-way is followed by the next, for the rest."""
        found: dict[Cid, bytes] = {}
        for peer in self._sources():
            rest = [cid for cid in cids if cid not in found]
            if not rest:
                break
            try:
                found |= await self._door.fetch(peer, rest, patience=self._patience)
            except Refused:
                self._mute.add(peer)
            except DoorError as error:
                log.debug("bitswap_failed", peer=peer, reason=str(error))
        return found

    async def keep(self, files: Collection[Cid]) -> None:
        return

    def _connected(self) -> set[str]:
        return {peer.id for peer in self._door.peers()}

    def _sources(self) -> list[str]:
        connected = self._connected()
        self._mute &= connected
        named = list(self._wanted.keys() & connected)
        others = list(connected - self._wanted.keys() - self._mute)
        random.shuffle(others)
        return named + others[:STRANGERS]

    async def _dial(self, peer: str) -> None:
        pause = self._pauses[peer]
        try:
            await self._door.connect(self._wanted[peer])
            pause.reset()
            log.info("ipfs_peer_connected", peer=peer)
        except DoorError as error:
            seconds = pause.longer()
            self._dial_at[peer] = time.monotonic() + seconds
            log.info("ipfs_peer_unreachable", reason=str(error), retry_in=round(seconds, 1))
