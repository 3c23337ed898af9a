"""Outbound connections: whom to dial, when, and when again.

py-libp2p redials nobody. Here a few slots are kept filled from the address book, in different parts of the address
space: who wants to surround a node must hold addresses in many networks.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

import structlog

from node.addresses import group_of
from node.backoff import FIRST_PAUSE, LONGEST_PAUSE, backoff
from node.p2p.door import Door
from node.p2p.events import DoorError
from node.peers.book import AddressBook, Entry

log = structlog.get_logger("peers")

SLOTS = 8
"""Connections that a node makes by itself."""
PER_GROUP = 2
"""Of them, to addresses in one /16 or /32, unless the operator named them."""
MISSED = 7_200.0
"""Seconds in which a peer that was connected is missed: more likely the network has failed than the peer has left."""
MISSED_PAUSE, MISSED_TIME = 3.0, 4.0
"""The longest pause then, and the time for one attempt: a cut that heals is noticed within seconds."""
DIAL_TIME = 10.0
"""Seconds for an attempt otherwise."""
TICK = 0.5
"""Seconds between two looks at who is missing."""


class Dialler:
    """`is_banned`: whether a peer is to be left alone. `slots`: connections to keep up. `clock`: seconds."""

    def __init__(
        self, door: Door, book: AddressBook, is_banned: Callable[[str], bool], slots: int = SLOTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._door = door
        self._book = book
        self._is_banned = is_banned
        self._slots = slots
        self._clock = clock
        self._dialling: dict[str, str | None] = {}  # peer → group

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for entry in self.due():
                    self._dialling[entry.peer] = entry.group
                    tasks.create_task(self.dial(entry))
                await asyncio.sleep(TICK)

    def due(self) -> list[Entry]:
        """The addresses to dial now: as many as there are free slots, the most promising first."""
        peers = self._door.peers()
        outbound = [peer for peer in peers if peer.outbound]
        free = self._slots - len(outbound) - len(self._dialling)
        if free <= 0:
            return []
        now = self._clock()
        busy = {peer.id for peer in peers} | self._dialling.keys() | {self._door.peer_id}
        groups = Counter(group_of(peer.addr or "") for peer in outbound) + Counter(self._dialling.values())
        due: list[Entry] = []
        for entry in sorted(self._book, key=lambda entry: (entry.precedence, random.random())):
            if entry.peer in busy or entry.dial_at > now or self._is_banned(entry.peer):
                continue
            if entry.group is not None and not entry.fixed and groups[entry.group] >= PER_GROUP:
                continue
            groups[entry.group] += 1
            busy.add(entry.peer)
            due.append(entry)
            if len(due) == free:
                break
        return due

    async def dial(self, entry: Entry) -> None:
        missed = entry.worked is not None and time.time() - entry.worked < MISSED
        try:
            await self._door.connect(entry.addr, MISSED_TIME if missed else DIAL_TIME)
        except DoorError as error:
            self._book.failed(entry)
            pause = backoff(entry.failures, MISSED_PAUSE if missed else LONGEST_PAUSE)
            entry.dial_at = self._clock() + pause
            log.info("dial_failed", reason=str(error), failures=entry.failures, retry_in=round(pause, 1))
        else:
            self._book.worked(entry)
            entry.dial_at = self._clock() + FIRST_PAUSE
        finally:
            self._dialling.pop(entry.peer, None)
