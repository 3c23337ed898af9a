"""Whether others can connect to this node: found out by asking some of them to try.

A peer may lie. That one reached us is believed, since all that follows is a line in the log. That an address is ours,
and worth passing on, two of different networks must say; and that nobody reaches us, two as well.
"""

import asyncio
import random
from typing import Literal

import structlog

from deepblock import codec
from node.addresses import Scope, group_of, ip_in, peer_in, scope_of
from node.p2p.dialback import DIAL_BACK, DIAL_TIME, MAX_MESSAGE, DialBack, DialledBack
from node.p2p.door import Door
from node.p2p.events import DoorError, PeerInfo

log = structlog.get_logger("peers")

FIRST, AGAIN, LATER = 5.0, 30.0, 600.0
"""Seconds until peers are asked: at start, while the verdict is unknown, and when there is one."""
ASKED = 3
"""Peers asked at once."""
ENOUGH = 2
"""Peers that must say the same."""
ANSWER_TIME = DIAL_TIME + 5
"""Seconds for an answer."""

Verdict = Literal["unknown", "reachable", "not reachable"]


class Reachability:
    """`verdict`, and `addr`: a public multiaddr of this node that it did not know of by itself, such as the one of its
    router."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.verdict: Verdict = "unknown"
        self.addr: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(FIRST)
        while True:
            await self.look()
            await asyncio.sleep(AGAIN if self.verdict == "unknown" else LATER)

    async def look(self) -> None:
        """Ask some peers; a change is one line in the log. Too few answers change nothing."""
        peers = self._whom()
        answers = [answer for answer in await asyncio.gather(*map(self._ask, peers)) if answer]
        reached = [(peer, answer.addr) for peer, answer in answers if answer.reached]
        before = self.verdict
        if reached:
            self.verdict = "reachable"
            self.addr = self._agreed(reached)
        elif len(answers) >= ENOUGH:
            self.verdict, self.addr = "not reachable", None
        if self.verdict == before:
            return
        if reached:
            log.info("reachable", addr=reached[0][1])
        else:
            log.warning("not_reachable", port=self._port)

    @property
    def _port(self) -> int:
        return int(self._door.addrs[0].split("/")[4])

    def _whom(self) -> list[PeerInfo]:
        """Those from the farthest: a neighbour in the same house reaches a node that nobody else does. Those that
        this node has chosen itself come first."""
        scopes = {peer: scope_of(ip) for peer in self._door.peers() if (ip := ip_in(peer.addr or ""))}
        farthest = max(scopes.values(), default=Scope.MACHINE)
        peers = [peer for peer, scope in scopes.items() if scope is farthest]
        random.shuffle(peers)
        return sorted(peers, key=lambda peer: not peer.outbound)[:ASKED]

    async def _ask(self, peer: PeerInfo) -> tuple[PeerInfo, DialledBack] | None:
        request = codec.encode(DialBack(self._port))
        try:
            reply = await self._door.ask(
                peer.id, DIAL_BACK, request, timeout=ANSWER_TIME, max_reply=MAX_MESSAGE
            )
            answer = codec.decode(DialledBack, reply, MAX_MESSAGE)
        except (DoorError, codec.Malformed) as error:
            log.debug("dial_back_failed", peer=peer.id, reason=str(error))
            return None
        if peer_in(answer.addr) != self._door.peer_id or ip_in(answer.addr) is None:
            log.debug("dial_back_failed", peer=peer.id, reason="the answer is about another node")
            return None
        return peer, answer

    def _agreed(self, reached: list[tuple[PeerInfo, str]]) -> str | None:
        """A public address at which peers of different networks have reached this node."""
        for _, addr in reached:
            groups = {group_of(peer.addr or "") for peer, where in reached if where == addr}
            if group_of(addr) is not None and len(groups) >= ENOUGH:
                return addr
        return None
