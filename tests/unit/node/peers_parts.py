"""What the tests of node/peers share: a door without a host, and a clock that they turn."""

import os

from node.addresses import peer_in
from node.p2p.door import Door
from node.p2p.events import PeerInfo, Unreachable

IDS = [f"12D3KooW{letter * 44}" for letter in "ABCDEFGHJKLMNPQRSTUV"]


def addr_of(peer: str, port: int = 4001, ip: str = "127.0.0.1") -> str:
    return f"/ip{6 if ':' in ip else 4}/{ip}/tcp/{port}/p2p/{peer}"


def some_id(number: int) -> str:
    return f"12D3KooW{number:044d}".replace("0", "z")


class Loopback(Door):
    """A door whose host is never started: dials succeed or fail as the test says, bans are noted."""

    def __init__(self) -> None:
        super().__init__(key=os.urandom(32), port=0, agent="test/1", topics={}, handlers={})
        self.peer_id = IDS[0]
        self.addrs = [addr_of(IDS[0], 9645)]
        self.dialled: list[str] = []
        self.reachable = True
        self.banned: list[tuple[str, float]] = []

    def join(self, peer: str, ip: str = "127.0.0.1", outbound: bool = False) -> None:
        """A peer is connected."""
        addr = addr_of(peer, 50_000, ip).rpartition("/p2p/")[0]
        self._peers[peer] = PeerInfo(peer, addr, outbound, float(len(self._peers)))

    async def connect(self, addr: str, timeout: float = 10) -> str:
        self.dialled.append(addr)
        if not self.reachable:
            raise Unreachable("connection refused")
        peer = peer_in(addr)
        assert peer is not None
        self._peers[peer] = PeerInfo(peer, addr.rpartition("/p2p/")[0], True, float(len(self._peers)))
        return peer

    def ban(self, peer: str, seconds: float) -> None:
        self._peers.pop(peer, None)
        self.banned.append((peer, seconds))


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now
