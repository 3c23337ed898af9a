"""Whom to be connected to, and whom to keep out: address book, dialler, pings and penalties put together."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from node.addresses import BOOTSTRAP_FORM, ip_in, is_bootstrap, peer_in, scope_of
from node.p2p.door import Door
from node.peers.book import KNOWN, AddressBook
from node.peers.dialler import SLOTS, Dialler
from node.peers.file import Known, Remembered
from node.peers.names import Names
from node.peers.penalties import Penalties
from node.peers.pings import Pings
from node.peers.reachability import Reachability, Verdict

ANCHORS = 4
"""Of the last outbound peers, those that are dialled first after a restart: half of the slots, so that who has once
surrounded a node does not keep it."""
BANS = 512
"""Bans that are remembered from one life to the next; those that end last."""
NOTHING = Remembered()


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
    """`bootstrap`: multiaddrs with /p2p/ID, or /dnsaddr/NAME. Raises ValueError for one that is neither.
    `remembered`: of this node's last life. `slots`: connections that it makes by itself. `clock`: seconds."""

    def __init__(
        self, door: Door, bootstrap: list[str], remembered: Remembered = NOTHING, slots: int = SLOTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        for addr in bootstrap:
            if not is_bootstrap(addr):
                raise ValueError(f"bootstrap address {addr} is not of the form {BOOTSTRAP_FORM}")
        self._door = door
        self._book = AddressBook()
        self._penalties = Penalties(door.ban, clock)
        self._reachability = Reachability(door)
        self._dialler = Dialler(door, self._book, self._penalties.is_banned, slots, clock)
        self._pings = Pings(door)
        self._named = [addr for addr in bootstrap if peer_in(addr) is None]
        self._names = Names(self._named, self._book)
        for addr in bootstrap:
            if peer_in(addr) is not None:
                self._book.fix(addr)
        for known in remembered.addresses[:KNOWN]:
            self._book.restore(known.addr, known.worked, known.addr in remembered.anchors)
        self._penalties.restore(remembered.bans[:BANS])

    @property
    def knows_nobody(self) -> bool:
        """There is nobody to dial, not even a name to look up."""
        return not self._named and not len(self._book)

    @property
    def own(self) -> tuple[str, ...]:
        """The multiaddrs at which this node may be dialled."""
        found = self._reachability.addr
        return tuple(dict.fromkeys((*self._door.addrs, *([found] if found else []))))

    @property
    def reachability(self) -> Verdict:
        """Whether others can connect to this node, as they say."""
        return self._reachability.verdict

    async def run(self) -> None:
        """Dial who is missing and ping who is there, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for part in (self._dialler, self._pings, self._names, self._reachability):
                tasks.create_task(part.run())

    def learn(self, addr: str, told_by: str | None = None) -> None:
        """Somebody, a connected peer if one is named, says that a peer listens at `addr`. Ignored: nonsense, our own
        address, and of a teller from far away the addresses of its own house, which are other machines in ours."""
        ip = ip_in(addr)
        if ip is None or peer_in(addr) == self._door.peer_id:
            return
        teller = next((peer.addr for peer in self._door.peers() if peer.id == told_by), None)
        if (there := ip_in(teller or "")) is None or scope_of(ip) >= scope_of(there):
            self._book.hear(addr, told_by)

    def penalise(self, peer: str, points: float, reason: str) -> None:
        """Note who did what and why; at BAN_SCORE the peer is banned for BAN_TIME."""
        self._penalties.penalise(peer, points, reason)

    def table(self) -> list[Row]:
        """Connected peers first, then those that are remembered for a penalty."""
        wall = time.time()
        connected = {peer.id: peer for peer in self._door.peers()}
        rows = []
        for peer in dict.fromkeys([*connected, *self._penalties]):
            info, banned_for = connected.get(peer), self._penalties.banned_for(peer)
            rows.append(
                Row(
                    id=peer,
                    addr=info.addr if info else None,
                    direction=("out" if info.outbound else "in") if info else None,
                    connected=wall - info.since if info else None,
                    score=self._penalties.score(peer),
                    reason=self._penalties.reason(peer) or None,
                    banned_until=wall + banned_for if banned_for else None,
                )
            )
        return rows

    def remembered(self) -> Remembered:
        """What the next life should know: those that never worked last, for a file that is cut off."""
        outbound = sorted((peer for peer in self._door.peers() if peer.outbound), key=lambda peer: peer.since)
        dialled = [f"{peer.addr}/p2p/{peer.id}" for peer in outbound]
        anchors = [addr for addr in dialled if self._book.connected(addr)][:ANCHORS]
        known = sorted(self._book, key=lambda entry: -(entry.worked or 0))
        addresses = tuple(Known(entry.addr, entry.worked) for entry in known)
        return Remembered(addresses, tuple(anchors), self._penalties.bans()[:BANS])
