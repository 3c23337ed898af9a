"""The door: peers, requests and gossip for asyncio. Nothing of trio or libp2p shows on this side."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog

from deepblock.cid import Cid
from node.p2p.bridge import Bridge, living_tasks
from node.p2p.dialback import DIAL_BACK, DialBacks
from node.p2p.events import (
    AskTimeout,
    Blocks,
    Event,
    Fault,
    Gossip,
    Handler,
    HostDown,
    Limits,
    PeerDown,
    PeerGone,
    PeerInfo,
    PeerUp,
    Validator,
)
from node.p2p.host import Host, Settings

log = structlog.get_logger("p2p")

DEFAULT_LIMITS = Limits()
PING = "/deepblock/ping/1"
"""Answered by the asyncio loop, so a peer that answers is alive as a whole."""
GRACE = 5.0
"""Seconds after which ask() stops trusting the libp2p thread to keep the time."""


class Door:
    """One libp2p host (TCP, noise, yamux, gossipsub) in a thread of its own, started again when it crashes.

    `key`: Ed25519 seed, 32 bytes. `port` 0: any free one, kept for this door's life.
    `topics`: topic → validator, run in the libp2p thread; True delivers and forwards, False ignores, an
    exception ignores and is a Fault of the neighbour. `handlers`: protocol id → handler, run on the asyncio
    loop. `blocks`: what any IPFS node may have by bitswap; by default nothing.
    """

    def __init__(
        self, *, key: bytes, port: int, host: str = "0.0.0.0", agent: str,
        topics: Mapping[str, Validator], handlers: Mapping[str, Handler], limits: Limits = DEFAULT_LIMITS,
        blocks: Blocks | None = None,
    ) -> None:  # fmt: skip
        self.peer_id = ""
        self.addrs: list[str] = []  # full multiaddrs with /p2p/ID, loopback first
        self.limits = limits
        dial_backs = DialBacks(self.probe, self._addr_of)
        self._handlers = {PING: _echo, DIAL_BACK: dial_backs.answer, **handlers}
        self._blocks = blocks or Blocks(_has_none, _reads_none)
        self._settings = Settings(key, host, port, agent, topics, tuple(self._handlers), limits)
        self._port = port
        self._bans: dict[str, float] = {}
        self._bridge = Bridge(self._run_host, self._host_went_down)
        self._host: Host | None = None
        self._peers: dict[str, PeerInfo] = {}
        self._events: deque[Event] = deque()
        self._gossip_waiting = 0
        self._gossip_dropped = 0
        self._cutting: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopped = False

    async def start(self) -> None:
        """Raises ListenError."""
        await self._bridge.start()
        log.info("p2p_listening", peer_id=self.peer_id, addrs=" ".join(self.addrs))

    async def stop(self) -> None:
        self._stopped = True
        await self._bridge.stop()
        self._wake.set()

    # peers

    def peers(self) -> list[PeerInfo]:
        return list(self._peers.values())

    async def connect(self, addr: str, timeout: float = 10) -> str:
        """The peer's id. Raises Unreachable with a plain reason."""
        return await self._bridge.call(self._live().connect, addr, timeout)

    async def probe(self, addr: str, timeout: float) -> None:
        """Whether the peer that `addr` names answers there: a connection that is made for that and closed again,
        whether or not there is another one. Raises Unreachable with a plain reason."""
        await self._bridge.call(self._live().probe, addr, timeout)

    async def close(self, peer: str) -> None:
        await self._bridge.call(self._live().close, peer)

    def ban(self, peer: str, seconds: float) -> None:
        """Close and refuse its connections, and with them its gossip and requests, from now on."""
        now = time.monotonic()
        for old in [other for other, until in self._bans.items() if until <= now]:
            del self._bans[old]
        self._bans[peer] = now + seconds
        if peer in self._peers:
            task = asyncio.ensure_future(self._cut_off(peer))
            self._cutting.add(task)
            task.add_done_callback(self._cutting.discard)

    # requests

    async def ask(self, peer: str, protocol: str, request: bytes, *, timeout: float, max_reply: int) -> bytes:
        """One request on a stream of its own; `timeout` in seconds to the reply's last byte, `max_reply` in
        bytes.

        Raises PeerGone, AskTimeout, ReplyTooLarge, Refused (text), TooLarge (the request), HostDown.
        """
        if peer not in self._peers:
            raise PeerGone(f"{peer} is not connected")
        host = self._live()
        try:
            async with asyncio.timeout(timeout + GRACE):
                return await self._bridge.call(host.exchange.ask, peer, protocol, request, timeout, max_reply)
        except TimeoutError:
            raise AskTimeout(f"{peer} did not answer {protocol} within {timeout + GRACE:g} s") from None

    async def ping(self, peer: str, timeout: float) -> float:
        """Seconds there and back through the peer's daemon. Raises like ask()."""
        began = time.monotonic()
        await self.ask(peer, PING, b"", timeout=timeout, max_reply=0)
        return time.monotonic() - began

    async def tasks(self) -> int:
        """How many tasks the libp2p thread has. Raises HostDown."""
        return await self._bridge.call(living_tasks)

    async def fetch(self, peer: str, cids: Sequence[Cid], *, patience: float) -> dict[Cid, bytes]:
        """What an IPFS node has of these blocks, by bitswap; `patience`: seconds without anything new after which it
        is left. What is named by a CID is that. Raises PeerGone, Refused (it does not speak bitswap), HostDown."""
        if peer not in self._peers:
            raise PeerGone(f"{peer} is not connected")
        return await self._bridge.call(self._live().bitswap.fetch, peer, cids, patience)

    # gossip

    async def publish(self, topic: str, data: bytes) -> None:
        """To the topic's neighbours, once, without a promise of delivery. Raises TooLarge, HostDown."""
        if topic not in self._settings.topics:
            raise ValueError(f"{topic} is not one of this door's topics")
        await self._bridge.call(self._live().publish, topic, data)

    async def events(self) -> AsyncIterator[Event]:
        """For one reader; ends when the door is stopped.

        A reader that falls `limits.events` gossip messages behind loses the newest ones (what is missing is
        pulled later); PeerUp, PeerDown and Fault are never lost.
        """
        while not self._stopped:
            while self._events:
                event = self._events.popleft()
                self._gossip_waiting -= isinstance(event, Gossip)
                yield event
            self._wake.clear()
            await self._wake.wait()

    # the host's side

    async def _run_host(self, ready: Callable[[], None]) -> None:
        """In the libp2p thread, once for every life of the host. A port that was given by chance is kept."""
        call_back = self._bridge.call_back
        blocks = Blocks(partial(call_back, self._blocks.has), partial(call_back, self._blocks.read))
        host = Host(self._settings, self._bans, partial(self._bridge.post, self._take), self._serve, blocks)

        def listening(port: int, addrs: list[str]) -> None:
            self._port, self.addrs, self.peer_id = port, addrs, str(host.id)
            self._host = host
            ready()

        await host.run(self._port, listening)

    async def _serve(self, peer: str, protocol: str, request: bytes) -> bytes:
        """In the libp2p thread: the handler's answer, from the asyncio loop."""
        return await self._bridge.call_back(self._handlers[protocol], peer, request)

    def _take(self, event: Event) -> None:
        match event:
            case PeerUp(peer, addr, outbound):
                self._peers[peer] = PeerInfo(peer, addr, outbound, time.time())
                log.info("peer_up", peer=peer, addr=addr, outbound=outbound)
            case PeerDown(peer):
                self._peers.pop(peer, None)
                log.info("peer_down", peer=peer)
            case Fault(peer, reason):
                log.warning("peer_fault", peer=peer, reason=reason)
            case Gossip(topic, peer) if self._gossip_waiting >= self.limits.events:
                self._gossip_dropped += 1
                if self._gossip_dropped.bit_count() == 1:  # the 1st, 2nd, 4th, 8th, …
                    log.warning("gossip_dropped", topic=topic, peer=peer, dropped=self._gossip_dropped)
                return
            case Gossip():
                self._gossip_waiting += 1
        self._events.append(event)
        self._wake.set()

    def _host_went_down(self) -> None:
        self._host = None
        for peer in list(self._peers):
            self._take(PeerDown(peer))

    def _live(self) -> Host:
        if self._host is None:
            raise HostDown("the libp2p host is not running")
        return self._host

    def _addr_of(self, peer: str) -> str | None:
        info = self._peers.get(peer)
        return info.addr if info else None

    async def _cut_off(self, peer: str) -> None:
        with suppress(HostDown):
            await self._bridge.call(self._live().cut_off, peer)


async def _echo(peer: str, request: bytes) -> bytes:
    return request


async def _has_none(cids: Sequence[Cid]) -> list[bool]:
    return [False] * len(cids)


async def _reads_none(cids: Sequence[Cid], budget: int) -> list[bytes | None]:
    return [None] * len(cids)
