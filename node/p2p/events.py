"""What passes through the door: events outward, errors to callers, limits inward. No trio, no libp2p."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from deepblock.cid import Cid


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A connected peer. `addr` is the other socket's multiaddr: of an inbound connection not one to dial."""

    id: str
    addr: str | None
    outbound: bool
    since: float  # time.time() of the first connection


@dataclass(frozen=True, slots=True)
class PeerUp:
    peer: str
    addr: str | None
    outbound: bool


@dataclass(frozen=True, slots=True)
class PeerDown:
    peer: str


@dataclass(frozen=True, slots=True)
class Gossip:
    """A message that its topic's validator accepted."""

    topic: str
    peer: str  # the neighbour that it came from
    author: str  # the peer that signed it
    content: Any  # what the validator has read in it


@dataclass(frozen=True, slots=True)
class Fault:
    """`peer` broke a protocol; what that costs is the penalty table's business."""

    peer: str
    reason: str


Event = PeerUp | PeerDown | Gossip | Fault

Validator = Callable[[str, bytes], Any]
"""(peer, data) → what the message says; None: it is not passed on. Raises for what its sender could have seen to be
false. Run in the libp2p thread: decoding and stateless checks, no I/O, no shared state."""

Handler = Callable[[str, bytes], Awaitable[bytes]]
"""(peer, request) → reply, on the asyncio loop. Raises `Refusal` to say no."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """What IPFS nodes may have from here; both run on the asyncio loop.

    `has`: whether each is here. `read`: the blocks in the order asked, None for one that is not here; as many as fit
    into so many bytes, one at least.
    """

    has: Callable[[Sequence[Cid]], Awaitable[list[bool]]]
    read: Callable[[Sequence[Cid], int], Awaitable[list[bytes | None]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything a stranger can make us hold or wait for."""

    request: int = 64 * 1024  # bytes of one request
    gossip: int = 1_000_000  # bytes of one message; the wire takes 1 MiB with signature and sender record
    gossip_rate: int = (
        1_000  # messages a second from one neighbour, which we send half of; see gossiper.BURST
    )
    served: int = 16  # peers that bitswap serves at once; the others wait
    handlers: int = 8  # requests of one peer handled at once; more are refused, not queued
    streams: int = 64  # inbound streams of one peer open at once
    connections: int = 256  # an eighth of them is kept for those that we dial
    group: int = 32  # inbound connections from one /16 (IPv4) or /32 (IPv6); see node.addresses.group_of
    rest: float = 30.0  # seconds without connections from where a peer was cut off; see addresses.machine_of
    unread: int = 64 * 1024 * 1024  # bytes of one connection that arrived and were not read yet
    handler_time: float = 60.0  # seconds for one request, from its first byte to the reply's last
    stall: float = 10.0  # seconds without any progress of one read or write
    events: int = 4_096  # gossip waiting for events(); see Door.events


class DoorError(Exception):
    """Base of everything the door raises."""


class HostDown(DoorError):
    """The libp2p host is not running: not started, stopped, or crashed and being restarted."""


class ListenError(DoorError):
    """The port cannot be listened on."""


class Unreachable(DoorError):
    """A peer could not be connected to."""


class PeerGone(DoorError):
    """The peer is not connected, or hung up before it had answered."""


class AskTimeout(DoorError):
    """No complete reply within the time given."""


class ReplyTooLarge(DoorError):
    """The peer announced a reply above `max_reply`; not a byte of it was read."""


class Refused(DoorError):
    """The peer answered with a refusal; the text is the peer's."""


class TooLarge(DoorError):
    """We tried to send more than the wire takes."""


class Refusal(Exception):
    """Raised by a handler: its text travels to the peer, which sees `Refused`."""
