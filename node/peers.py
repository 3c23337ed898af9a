"""Whom to be connected to, and whom to keep out.

py-libp2p redials nobody, never notices a frozen peer and finds nobody by itself. Here bootstrap peers are
redialled for ever, connected peers are pinged, addresses heard from others are tried, and misbehaviour adds
up to a ban.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from node.addresses import peer_in
from node.p2p.door import Door
from node.p2p.events import AskTimeout, DoorError

log = structlog.get_logger("peers")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two dials of one address: doubled after each failure, ±25 % so that nodes do not dial in
step."""
TICK = 0.5
"""Seconds between two looks at who is missing."""
LEARNED = 8
"""Connections that we keep to peers heard of from others."""
KNOWN = 256
"""Addresses remembered for that; the one that failed most makes room."""
ADDRESSES = 3
"""Addresses of one peer among them: loopback, local network, public."""
HOPELESS = 5
"""Failures in a row after which an address that we were only told of is forgotten."""
PING_EVERY, PING_TIME, PING_MISSES = 10.0, 10.0, 3
"""Seconds between pings, seconds for an answer, unanswered pings after which a peer is frozen."""
BAN_SCORE = 100.0
BAN_TIME = 3_600.0
"""Points at which a peer is banned, and seconds for how long."""
HALF_LIFE = 600.0
"""Seconds in which a score halves: an honest node's rare mistakes never add up."""


@dataclass(slots=True)
class Target:
    """An address that we want to be connected to."""

    addr: str
    peer: str  # the id in it
    bootstrap: bool
    failures: int = 0
    dial_at: float = 0.0


@dataclass(slots=True)
class Record:
    """A peer's penalties."""

    score: float = 0.0
    scored_at: float = 0.0
    reason: str = ""
    banned_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One peer as node_peers shows it: connected now, or remembered for what it did."""

    id: str
    addr: str | None
    direction: str | None  # "in", "out"; None: not connected
    connected: float | None  # seconds
    score: float  # penalty points left; a ban comes at 100
    reason: str | None  # of the last penalty
    banned_until: float | None  # Unix seconds


class Peers:
    """`bootstrap`: multiaddrs with /p2p/ID. Raises ValueError for one that is none."""

    def __init__(self, door: Door, bootstrap: list[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._door = door
        self._clock = clock
        self._targets: dict[str, Target] = {}
        self._dialling: set[str] = set()  # peers
        self._misses: dict[str, int] = {}
        self._records: dict[str, Record] = {}
        for addr in bootstrap:
            if (peer := peer_in(addr)) is None:
                raise ValueError(f"bootstrap address {addr} is not of the form /ip4/…/tcp/…/p2p/ID")
            self._targets[addr] = Target(addr, peer, bootstrap=True)

    async def run(self) -> None:
        """Dial who is missing and ping who is there, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_pinging())
            while True:
                for target in self._due():
                    self._dialling.add(target.peer)
                    tasks.create_task(self._dial(target))
                await asyncio.sleep(TICK)

    # dialling

    def learn(self, addr: str) -> None:
        """Somebody says that a peer listens at `addr`. Nonsense and our own address are ignored."""
        peer = peer_in(addr)
        if peer is None or peer == self._door.peer_id or addr in self._targets:
            return
        if sum(target.peer == peer for target in self._targets.values()) >= ADDRESSES:
            return
        learned = [target for target in self._targets.values() if not target.bootstrap]
        if len(learned) >= KNOWN:
            del self._targets[max(learned, key=lambda target: target.failures).addr]
        self._targets[addr] = Target(addr, peer, bootstrap=False)

    def _due(self) -> list[Target]:
        """The addresses to dial now: every bootstrap peer that is missing, learned ones up to LEARNED
        connections."""
        now = self._clock()
        connected = {peer.id for peer in self._door.peers()}
        busy = connected | self._dialling | {self._door.peer_id}
        learned = {target.peer for target in self._targets.values() if not target.bootstrap}
        room = LEARNED - len(learned & busy)
        due: list[Target] = []
        for target in self._targets.values():
            if target.peer in busy or target.dial_at > now or self._banned(target.peer):
                continue
            if not target.bootstrap:
                if room <= 0:
                    continue
                room -= 1
            due.append(target)
            busy.add(target.peer)
        return due

    async def _dial(self, target: Target) -> None:
        try:
            await self._door.connect(target.addr)
        except DoorError as error:
            target.failures += 1
            pause = backoff(target.failures)
            target.dial_at = self._clock() + pause
            log.info("dial_failed", reason=str(error), failures=target.failures, retry_in=round(pause, 1))
            if not target.bootstrap and target.failures >= HOPELESS:
                self._targets.pop(target.addr, None)
        else:
            target.failures = 0
            target.dial_at = self._clock() + FIRST_PAUSE
        finally:
            self._dialling.discard(target.peer)

    # pinging

    async def _keep_pinging(self) -> None:
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

    # penalties

    def penalise(self, peer: str, points: float, reason: str) -> None:
        """Note who did what and why; at BAN_SCORE the peer is banned for BAN_TIME."""
        now = self._clock()
        self._forget_harmless()
        record = self._records.setdefault(peer, Record())
        record.score, record.scored_at, record.reason = self._score(record) + points, now, reason
        log.warning("peer_penalised", peer=peer, reason=reason, points=points, score=round(record.score, 1))
        if record.score >= BAN_SCORE and record.banned_until <= now:
            record.banned_until = now + BAN_TIME
            log.warning("peer_banned", peer=peer, reason=reason, seconds=BAN_TIME)
            self._door.ban(peer, BAN_TIME)

    def table(self) -> list[Row]:
        """Connected peers first, then those that are remembered for a penalty."""
        now, wall = self._clock(), time.time()
        connected = {peer.id: peer for peer in self._door.peers()}
        rows = []
        for peer in dict.fromkeys([*connected, *self._records]):
            info, record = connected.get(peer), self._records.get(peer, Record())
            rows.append(
                Row(
                    id=peer,
                    addr=info.addr if info else None,
                    direction=("out" if info.outbound else "in") if info else None,
                    connected=wall - info.since if info else None,
                    score=self._score(record),
                    reason=record.reason or None,
                    banned_until=wall + record.banned_until - now if record.banned_until > now else None,
                )
            )
        return rows

    def _score(self, record: Record) -> float:
        return record.score * math.exp2((record.scored_at - self._clock()) / HALF_LIFE)

    def _banned(self, peer: str) -> bool:
        return peer in self._records and self._records[peer].banned_until > self._clock()

    def _forget_harmless(self) -> None:
        for peer in [peer for peer, record in self._records.items() if self._score(record) < 1]:
            if not self._banned(peer):
                del self._records[peer]


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
    return pause * random.uniform(0.75, 1.25)
