"""What peers did, and whom that keeps out. Misbehaviour adds up to a ban, and fades."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import structlog

from node.peers.file import Ban

log = structlog.get_logger("peers")

BAN_SCORE = 100.0
BAN_TIME = 3_600.0
"""Points at which a peer is banned, and seconds for how long."""
HALF_LIFE = 600.0
"""Seconds in which a score halves: an honest node's rare mistakes never add up."""


@dataclass(slots=True)
class Record:
    """A peer's penalties. Times are by the clock of `Penalties`."""

    score: float = 0.0
    scored_at: float = 0.0
    reason: str = ""
    banned_until: float = 0.0


class Penalties:
    """`ban(peer, seconds)` keeps a peer out. `clock`: seconds."""

    def __init__(
        self, ban: Callable[[str, float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ban = ban
        self._clock = clock
        self._records: dict[str, Record] = {}

    def __iter__(self) -> Iterator[str]:
        """The peers that are remembered for something."""
        return iter(self._records)

    def penalise(self, peer: str, points: float, reason: str) -> None:
        """Note who did what and why; at BAN_SCORE the peer is banned for BAN_TIME."""
        now = self._clock()
        self._forget_harmless()
        record = self._records.setdefault(peer, Record())
        record.score, record.scored_at, record.reason = self.score(peer) + points, now, reason
        log.warning("peer_penalised", peer=peer, reason=reason, points=points, score=round(record.score, 1))
        if record.score >= BAN_SCORE and record.banned_until <= now:
            record.banned_until = now + BAN_TIME
            log.warning("peer_banned", peer=peer, reason=reason, seconds=BAN_TIME)
            self._ban(peer, BAN_TIME)

    def score(self, peer: str) -> float:
        """Points left."""
        record = self._records.get(peer, Record())
        return record.score * math.exp2((record.scored_at - self._clock()) / HALF_LIFE)

    def reason(self, peer: str) -> str | None:
        """Of the last penalty."""
        return self._records[peer].reason if peer in self._records else None

    def banned_for(self, peer: str) -> float:
        """Seconds left; 0 for a peer that is not banned."""
        return max(0.0, self._records.get(peer, Record()).banned_until - self._clock())

    def is_banned(self, peer: str) -> bool:
        return self.banned_for(peer) > 0

    def bans(self) -> tuple[Ban, ...]:
        """To be remembered, the last to end first."""
        now = time.time()
        banned = [
            Ban(peer, round(now + self.banned_for(peer)), record.reason)
            for peer, record in self._records.items()
            if self.is_banned(peer)
        ]
        return tuple(sorted(banned, key=lambda ban: -ban.until))

    def restore(self, bans: Iterable[Ban]) -> None:
        """Those of this node's last life that have not ended. Nobody is banned for longer than BAN_TIME."""
        now, wall = self._clock(), time.time()
        for ban in bans:
            left = min(ban.until - wall, BAN_TIME)
            if left > 0:
                self._records[ban.peer] = Record(reason=ban.reason, banned_until=now + left)
                self._ban(ban.peer, left)

    def _forget_harmless(self) -> None:
        for peer in [peer for peer in self._records if self.score(peer) < 1 and not self.is_banned(peer)]:
            del self._records[peer]
