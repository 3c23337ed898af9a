"""The libp2p host: everything in here runs in the trio thread."""

import errno
import logging
import math
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import structlog
import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.host.ping import ID as PING_PROTOCOL
from libp2p.host.ping import PingService
from libp2p.identity.identify import identify
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, PROTOCOL_ID_V12
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.score import ScoreParams, TopicScoreParams
from libp2p.rcmgr import Direction
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL
from libp2p.security.noise.transport import Transport as Noise
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr
from multiaddr.utils import get_thin_waist_addresses

from node.p2p.bitswap import PROTOCOL as BITSWAP
from node.p2p.bitswap import Bitswap
from node.p2p.events import (
    Blocks,
    Event,
    Fault,
    Gossip,
    Limits,
    ListenError,
    PeerDown,
    PeerUp,
    TooLarge,
    Unreachable,
    Validator,
)
from node.p2p.exchange import STREAM_ENDED, Exchange, plain
from node.p2p.gossiper import Gossiper, Router
from node.p2p.guards import Network, QuietHost, running
from node.p2p.muxer import Muxer, Muxers

log = structlog.get_logger("p2p")
logging.getLogger("libp2p").setLevel(logging.CRITICAL)  # what matters is logged here, once and plainly

REPEAT_WINDOW = 60.0
"""Seconds in which the same content on the same topic is delivered once, whoever signs it anew."""
REPEAT_MEMORY = 8_192
"""Contents remembered for that."""
SCORES = ScoreParams(
    p2_first_message_deliveries=TopicScoreParams(weight=1.0, cap=10.0, decay=0.98),
    p5_behavior_penalty_weight=1.0,
    p5_behavior_penalty_decay=0.98,
    p5_behavior_penalty_threshold=10.0,
    gossip_threshold=-20.0,
    graylist_threshold=-40.0,
    accept_px_threshold=math.inf,
)
"""Who keeps a place in the mesh (README: gossip's own score). A second is a heartbeat, and 0.98 halves in 34."""
HANG_UP_TIME = 3.0
"""Seconds for saying good-bye to all peers."""


@dataclass(frozen=True, slots=True)
class Settings:
    key: bytes  # Ed25519 seed, 32 bytes
    host: str
    port: int
    agent: str
    topics: Mapping[str, Validator]
    protocols: tuple[str, ...]
    limits: Limits


class Host(INotifee):
    """`tell` carries events out; `serve(peer, protocol, request)` and `blocks` are answered by the handlers' side."""

    def __init__(
        self, settings: Settings, bans: dict[str, float],
        tell: Callable[[Event], None], serve: Callable[[str, str, bytes], Awaitable[bytes]], blocks: Blocks,
    ) -> None:  # fmt: skip
        self.limits = settings.limits
        self._settings = settings
        self._bans = bans  # peer → time.monotonic() at which the ban ends; outlives the host
        self._tell = tell
        self._streams: Counter[ID] = Counter()
        self._up: set[ID] = set()
        self._delivered: OrderedDict[bytes, float] = OrderedDict()

        keys = create_new_key_pair(settings.key)
        self.id = ID.from_pubkey(keys.public_key)
        peerstore = PeerStore()
        peerstore.add_key_pair(self.id, keys)
        muxer = type("BoundedMuxer", (Muxer,), {"unread_limit": self.limits.unread})
        noise = Noise(keys, noise_privkey=create_noise_key_pair().private_key)
        most = self.limits.connections
        reserved = most // 8  # inbound connections take no more than the rest: strangers cannot shut us in
        self._tcp = TCP()
        self._upgrader = TransportUpgrader({NOISE_PROTOCOL: noise}, {})
        self._upgrader.muxer_multistream = Muxers({TProtocol(YAMUX_PROTOCOL): muxer})
        self.network = Network(
            self.id, peerstore, self._upgrader, [self._tcp],
            retry_config=RetryConfig(max_retries=0),
            connection_config=ConnectionConfig(
                max_connections=most, high_watermark=most, low_watermark=reserved, min_connections=reserved
            ),
        )  # fmt: skip
        self.network.allowed = self._allowed
        self.network.inbound_of_a_group = self.limits.group
        self.network.rest = self.limits.rest
        self.libp2p = QuietHost(
            self.network,
            disable_identify_address_discovery=True,
            default_protocols=OrderedDict({identify.ID: self._identify}),
        )
        self.libp2p.set_stream_handler(PING_PROTOCOL, PingService(self.libp2p).handle_ping)
        self.network.set_stream_handler(self._guarded(self.network.common_stream_handler))
        self.network.register_notifee(self)
        self.router = Router(
            [PROTOCOL_ID_V12, PROTOCOL_ID_V11], degree=6, degree_low=4, degree_high=12,
            heartbeat_interval=1, heartbeat_initial_delay=0.1, prune_back_off=10,
            adaptive_gossip_enabled=False, spam_protection_enabled=False, eclipse_protection_enabled=False,
            score_params=SCORES,
        )  # fmt: skip
        self.gossip = Gossiper(
            self.libp2p, self.router, accuse=self._accuse, is_allowed=self._allowed, rate=self.limits.gossip_rate,
            allowed_topics=set(settings.topics), max_subscriptions_per_rpc=64, max_subscriptions_per_peer=64,
        )  # fmt: skip
        self.exchange = Exchange(self.libp2p, self.limits, self._accuse, serve)
        self.bitswap = Bitswap(self.libp2p, self.limits, self._accuse, blocks)
        self.libp2p.set_stream_handler(BITSWAP, self.bitswap.listen)
        for topic, validator in settings.topics.items():
            self.gossip.set_topic_validator(topic, partial(self._judge, topic, validator), False)
        for protocol in settings.protocols:
            self.libp2p.set_stream_handler(TProtocol(protocol), partial(self.exchange.answer, protocol))

    async def run(self, port: int, ready: Callable[[int, list[str]], None]) -> None:
        """Listen on `port` (0: any), call `ready(port, addresses)`, run until cancelled."""
        _check_free(self._settings.host, port)
        listen = Multiaddr(f"/ip{6 if ':' in self._settings.host else 4}/{self._settings.host}/tcp/{port}")
        async with running(self.network):
            if not await self.network.listen(listen):
                raise ListenError(f"cannot listen on {listen}")
            async with running(self.router), running(self.gossip):
                await self.gossip.wait_until_ready()
                for topic in self._settings.topics:
                    await self.gossip.subscribe(topic)
                (bound,) = self.libp2p.get_transport_addrs()
                ready(int(bound.value_for_protocol("tcp")), self._reachable(bound))
                try:
                    await trio.sleep_forever()
                finally:
                    await self._hang_up()

    def _reachable(self, bound: Multiaddr) -> list[str]:
        """Loopback first: it is what a second node on the same machine wants."""
        addrs = [str(addr) for addr in get_thin_waist_addresses(bound)]
        for every, loopback in (("/ip4/0.0.0.0/", "/ip4/127.0.0.1/"), ("/ip6/::/", "/ip6/::1/")):
            if str(bound).startswith(every):
                addrs.insert(0, str(bound).replace(every, loopback))
        return [f"{addr}/p2p/{self.id}" for addr in dict.fromkeys(addrs)]

    async def _hang_up(self) -> None:
        """libp2p's own shutdown is cancelled before it has closed the sockets: peers would wait for us."""
        with trio.move_on_after(HANG_UP_TIME) as leaving:
            leaving.shield = True
            async with trio.open_nursery() as nursery:
                for conn in self.network.get_connections():
                    nursery.start_soon(conn.muxed_conn.close)

    # connections

    async def connect(self, addr: str, timeout: float) -> str:
        """Raises Unreachable. A peer that is connected already is not dialled again."""
        target, peer = self._dialled(addr)
        if not self._allowed(peer):
            raise Unreachable(f"{peer} is banned here")
        if self.network.get_connections(peer):
            return str(peer)
        try:
            with trio.fail_after(timeout):
                await self.network.dial_addr(target, peer)
        except trio.TooSlowError:
            raise Unreachable(f"{addr} did not answer within {timeout:g} s") from None
        except SwarmException as error:
            raise Unreachable(f"{addr}: {plain(error)}") from error
        return str(peer)

    async def probe(self, addr: str, timeout: float) -> None:
        """Raises Unreachable."""
        target, peer = self._dialled(addr)
        try:
            with trio.fail_after(timeout):
                raw = await self._tcp.dial(target)
                try:
                    await self._upgrader.upgrade_security(raw, True, peer)
                finally:
                    with trio.CancelScope(shield=True):
                        await raw.close()
        except trio.TooSlowError:
            raise Unreachable(f"{addr} did not answer within {timeout:g} s") from None
        except Exception as error:  # whatever a stranger's handshake may provoke
            raise Unreachable(f"{addr}: {plain(error)}") from error

    def _dialled(self, addr: str) -> tuple[Multiaddr, ID]:
        """Raises Unreachable for what cannot be dialled."""
        try:
            target = Multiaddr(addr)
            peer = ID.from_string(target.value_for_protocol("p2p"))
        except Exception:
            raise Unreachable(f"{addr} is no address of a peer (/ip4/…/tcp/…/p2p/…)") from None
        if peer == self.id:
            raise Unreachable(f"{addr} is this node itself")
        return target, peer

    async def close(self, peer: str) -> None:
        await self.network.close_peer(ID.from_string(peer))

    async def cut_off(self, peer: str) -> None:
        """Close its connections for a reason; its machine makes no new one for `limits.rest` seconds."""
        await self.network.cut_off(ID.from_string(peer))

    def _allowed(self, peer: ID) -> bool:
        return self._bans.get(str(peer), 0.0) <= time.monotonic()

    def _accuse(self, peer: ID, reason: str) -> None:
        """Report the fault and hang up."""
        self._tell(Fault(str(peer), reason))
        self.network.manager.run_task(self.network.cut_off, peer)

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        peer = conn.muxed_conn.peer_id
        if peer in self._up:
            return
        self._up.add(peer)
        addrs = conn.get_transport_addresses()
        addr = str(addrs[0]) if addrs else None
        self._tell(PeerUp(str(peer), addr, getattr(conn, "direction", None) == Direction.OUTBOUND))

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        peer = conn.muxed_conn.peer_id
        if peer in self._up and not self.network.get_connections(peer):
            self._up.discard(peer)
            self.bitswap.forget(peer)
            self._tell(PeerDown(str(peer)))

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None: ...

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None: ...

    # streams

    def _guarded(self, handle: StreamHandlerFn) -> StreamHandlerFn:
        """Around every inbound stream: no banned peer, no hoard of streams, no exception into libp2p's
        nursery."""

        async def guarded(stream: INetStream) -> None:
            peer = stream.muxed_conn.peer_id
            if not self._allowed(peer):
                await stream.reset()
                return
            if self._streams[peer] >= self.limits.streams:
                await stream.reset()
                self._accuse(peer, f"more than {self.limits.streams} streams at once")
                return
            self._streams[peer] += 1
            try:
                await handle(stream)
            except STREAM_ENDED:
                await stream.reset()
            except Exception as error:
                log.warning("p2p_stream_failed", peer=str(peer), error=repr(error))
                await stream.reset()
            finally:
                self._streams[peer] -= 1
                self._streams += Counter()  # forgets peers without streams

        return guarded

    async def _identify(self, stream: INetStream) -> None:
        """Tells other implementations what we speak; we ourselves ask nobody."""
        remote = identify._remote_address_to_multiaddr(stream.get_remote_address())
        message = identify._mk_identify_protobuf(self.libp2p, remote)
        message.agent_version = self._settings.agent
        await stream.write(encode_varint_prefixed(message.SerializeToString()))
        await stream.close()

    # gossip

    async def publish(self, topic: str, data: bytes) -> None:
        """Raises TooLarge."""
        if len(data) > self.limits.gossip:
            raise TooLarge(f"{len(data):,} bytes on {topic} where {self.limits.gossip:,} are allowed")
        await self.gossip.publish(topic, data)

    def _judge(self, topic: str, validator: Validator, peer: ID, message: rpc_pb2.Message) -> bool:
        """The topic's validator behind a net; what it accepts is delivered at once, and once."""
        if peer == self.id:
            return True
        if list(message.topicIDs) != [topic] or message.from_id == self.id.to_bytes():
            return False
        author = ID(message.from_id)
        if not self._allowed(peer) or not self._allowed(author):
            return False
        try:
            content = validator(str(peer), message.data)
        except Exception as error:
            self._tell(Fault(str(peer), f"invalid message on {topic}: {error!r}"))
            return False
        if content is None:
            return False
        if self._first(sha256(topic.encode() + b"\0" + message.data).digest()):
            self._tell(Gossip(topic, str(peer), str(author), content))
        return True

    def _first(self, digest: bytes) -> bool:
        now = trio.current_time()
        delivered, oldest = self._delivered, now - REPEAT_WINDOW
        while delivered and (len(delivered) > REPEAT_MEMORY or next(iter(delivered.values())) < oldest):
            delivered.popitem(last=False)
        if digest in delivered:
            return False
        delivered[digest] = now
        return True


def _check_free(host: str, port: int) -> None:
    """libp2p listens with SO_REUSEPORT: a second node on the same port would share it in silence."""
    if port == 0:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise ListenError(f"cannot listen on {host} port {port}: {why}") from None
