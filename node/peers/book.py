"""The addresses at which peers may be dialled: who told of them, and which of them have worked.

Strangers fill it, so everything in it is bounded, and an address that has worked never makes room for one that a
stranger has only told.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from node.addresses import BOOTSTRAP_FORM, group_of, ip_in, peer_in

KNOWN = 1_024
"""Addresses in the book."""
ADDRESSES = 3
"""Addresses of one peer among them: loopback, local network, public."""
FROM_ONE = 64
"""Addresses from one teller that have not worked yet."""
IN_GROUP = 32
"""Addresses in one /16 or /32 that have not worked yet."""
HOPELESS = 5
"""Failures in a row after which an address that never worked is forgotten, and one that did has no precedence."""
NOTE_EVERY = 3_600
"""Seconds between two notes that a connection still stands: each is written to disk."""
FORGET = 30 * 86_400
"""Seconds after which an address that worked once is forgotten if it works no more."""


@dataclass(slots=True)
class Entry:
    """`fixed`: named by the operator or by the network's list, and never forgotten. `anchor`: a peer of this node's
    last life. `worked`: when this node last connected there, in Unix seconds. `failures`: in a row, in this life."""

    addr: str
    peer: str  # the id in it
    group: str | None  # see group_of
    fixed: bool = False
    anchor: bool = False
    told_by: str | None = None
    worked: int | None = None
    failures: int = 0
    dial_at: float = 0.0  # by the dialler's clock

    @property
    def precedence(self) -> tuple[int, int]:
        """Lower is dialled sooner. Of the same precedence chance decides, which nobody can aim at."""
        if self.anchor:
            return 0, 0
        if self.fixed:
            return 1, 0
        proven = self.worked is not None and self.failures < HOPELESS
        return (2 if proven else 3), self.failures


class AddressBook:
    """Of one node."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def fix(self, addr: str) -> None:
        """The operator wants to be connected to this peer. Raises ValueError where `addr` names none."""
        peer = peer_in(addr)
        if peer is None:
            raise ValueError(f"bootstrap address {addr} is not of the form {BOOTSTRAP_FORM}")
        self._entries.setdefault(addr, Entry(addr, peer, group_of(addr))).fixed = True

    def release(self, addr: str) -> None:
        """It is an address like any other from now on."""
        if addr in self._entries:
            self._entries[addr].fixed = False

    def restore(self, addr: str, worked: int | None, anchor: bool) -> None:
        """From this node's last life, or from another node's book. What is no address is left out."""
        now = int(time.time())
        if worked is not None and now - worked > FORGET:
            return
        entry = self._entries.get(addr) or self._add(addr)
        if entry is not None:
            entry.worked, entry.anchor = None if worked is None else min(worked, now), anchor

    def hear(self, addr: str, told_by: str | None) -> None:
        """Somebody says that a peer listens there. Names are not taken from strangers: to look one up tells its owner
        who we are."""
        if addr not in self._entries and ip_in(addr) is not None:
            self._add(addr, told_by)

    def worked(self, entry: Entry) -> None:
        entry.worked, entry.failures, entry.anchor = int(time.time()), 0, False

    def connected(self, addr: str) -> bool:
        """A connection to `addr` stands; whether that is an address of the book."""
        entry = self._entries.get(addr)
        if entry is not None and time.time() - (entry.worked or 0) > NOTE_EVERY:
            entry.worked = int(time.time())
        return entry is not None

    def failed(self, entry: Entry) -> None:
        entry.failures += 1
        entry.anchor = False
        if entry.fixed or entry.failures < HOPELESS:
            return
        if entry.worked is None or time.time() - entry.worked > FORGET:
            self._entries.pop(entry.addr, None)

    def _add(self, addr: str, told_by: str | None = None) -> Entry | None:
        """The new entry, unless `addr` is no address or something speaks against one more."""
        peer, group = peer_in(addr), group_of(addr)
        if peer is None or sum(other.peer == peer for other in self._entries.values()) >= ADDRESSES:
            return None
        unproven = [other for other in self._entries.values() if other.worked is None and not other.fixed]
        if told_by is not None and sum(other.told_by == told_by for other in unproven) >= FROM_ONE:
            return None
        if group is not None and sum(other.group == group for other in unproven) >= IN_GROUP:
            return None
        if len(self._entries) >= KNOWN:
            if not unproven:
                return None
            worst = max(unproven, key=lambda other: (other.failures, random.random()))
            del self._entries[worst.addr]
        entry = self._entries[addr] = Entry(addr, peer, group, told_by=told_by)
        return entry
