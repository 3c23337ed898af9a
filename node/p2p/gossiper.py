"""GossipSub of py-libp2p 0.8.1 with its sharp edges covered; each class says which."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

import trio
from google.protobuf.message import DecodeError
from libp2p.abc import INetStream
from libp2p.exceptions import ValidationError
from libp2p.io.exceptions import IncompleteReadError, IOException, MessageTooLarge
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.utils import maybe_consume_signed_record
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from node.allowance import Allowance
from node.p2p.guards import Accuse
from node.p2p.outbox import Outboxes

BURST: Final = 4
"""Seconds' worth of messages that a neighbour may send at once. However long we, or the line, stood still, no more than
a window of them lies unread: 768 KiB are 3,900 of the smallest."""
HASTE: Final = 0.5
"""Seconds' worth of messages that we send at once."""
WANTED: Final = 64
"""Messages that are asked for, and given, by one IHAVE or IWANT. What is not among them, the next one names."""
WANTED_A_SECOND: Final = 64.0
WANTED_AT_ONCE: Final = 512.0
"""Messages that one neighbour may ask for: each goes out as often as somebody wants it."""


class Nothing(defaultdict[ID, list[tuple[float, rpc_pb2.RPC]]]):
    """Forgets what is put into it."""

    def __missing__(self, peer: ID) -> list[tuple[float, rpc_pb2.RPC]]:
        return []


class Router(GossipSub):
    """Answers IWANT without a bound, again and again; keeps messages for peers that may subscribe, and gives everybody
    who does, once more each time, those of the last seconds; remembers for ever who left a topic that there is not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answers = Allowance(WANTED_A_SECOND, WANTED_AT_ONCE)
        self._pending_messages = Nothing()

    def _has(self, topic: str) -> bool:
        return self.pubsub is not None and topic in self.pubsub.topic_ids

    async def handle_graft(self, graft_msg: rpc_pb2.ControlGraft, sender_peer_id: ID) -> None:
        if self._has(graft_msg.topicID):
            await super().handle_graft(graft_msg, sender_peer_id)

    async def handle_prune(self, prune_msg: rpc_pb2.ControlPrune, sender_peer_id: ID) -> None:
        if self._has(prune_msg.topicID):
            await super().handle_prune(prune_msg, sender_peer_id)

    async def handle_ihave(self, ihave_msg: rpc_pb2.ControlIHave, sender_peer_id: ID) -> None:
        if self._has(ihave_msg.topicID):
            await super().handle_ihave(ihave_msg, sender_peer_id)

    async def emit_iwant(self, msg_ids: Sequence[bytes], to_peer: ID) -> None:
        await super().emit_iwant(msg_ids[:WANTED], to_peer)

    async def handle_iwant(self, iwant_msg: rpc_pb2.ControlIWant, sender_peer_id: ID) -> None:
        del iwant_msg.messageIDs[WANTED:]
        if self._answers.take(sender_peer_id, len(iwant_msg.messageIDs)):
            await super().handle_iwant(iwant_msg, sender_peer_id)

    async def send_recent_messages(self, peer_id: ID, topic: str) -> None:
        """None: a new peer is asked for its status, and asks for ours, when it comes."""

    async def _emit_idontwant_for_message(self, msg_id: bytes, topic_ids: Iterable[str]) -> None:
        """Nothing: it spares whoever has a message already its copies, at the price of a frame to each neighbour for
        each message, and ours are small. Those that others send are honoured."""

    def _check_equivocation(self, msg: rpc_pb2.Message) -> bool:
        """Always fine: libp2p would keep a thousand whole messages to compare with, and an author who gives two of
        them one number only sees to it that each of us knows one."""
        return True


class Flood(Exception):
    """A neighbour sends more messages than any honest node does."""


class Gossiper(Pubsub):
    """libp2p dies of one undecodable frame or key, starts a task for every message of a frame, loses what
    exceeds its queues of 32, lets two writers interleave their frames on one stream, and passes on whatever comes as
    fast as it comes."""

    def __init__(
        self, *args: Any, accuse: Accuse, is_allowed: Callable[[ID], bool], rate: int, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.counter = time.time_ns()  # a restart must not fall back behind the numbers that others have seen
        self.peer_queues = Outboxes()
        self._accuse = accuse
        self._is_allowed = is_allowed
        self._rate = rate
        self._allowance = Allowance(rate, BURST * rate)
        self._write_locks: WeakKeyDictionary[INetStream, trio.Lock] = WeakKeyDictionary()
        self._due: dict[ID, float] = {}  # peer → trio time at which our pace will have sent it all

    async def stream_handler(self, stream: INetStream) -> None:
        peer = stream.muxed_conn.peer_id
        stream.muxed_stream.grows = False  # type: ignore[attr-defined]  # BURST counts on it
        try:
            await self.continuously_read_stream(stream)
        except IncompleteReadError:
            self._handle_dead_peer(peer)
        except MessageTooLarge as error:
            self._accuse(peer, f"oversized gossip frame: {error}")
        except (StreamError, IOException, RawConnError):
            pass  # the stream ended; the network tells when it was the last connection
        except DecodeError:
            self._accuse(peer, "undecodable gossip frame")
        except Flood as error:
            self._accuse(peer, str(error))
        except Exception as error:
            self._accuse(peer, f"invalid gossip frame: {error!r}")
        finally:
            with trio.CancelScope(shield=True), suppress(Exception):
                await stream.reset()

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """One message after the other, so that a neighbour that floods fills its own window and not our
        memory."""
        peer = stream.muxed_conn.peer_id
        while self.manager.is_running:
            frame = await read_varint_prefixed_bytes_limited(stream, self.max_inbound_rpc_size)
            rpc = rpc_pb2.RPC.FromString(frame)
            if not maybe_consume_signed_record(rpc, self.host, peer):
                raise ValueError("forged sender record")
            rpc.ClearField("senderRecord")  # the router would check it again
            self._count(peer, len(rpc.subscriptions) + _entries(rpc.control))
            for message in rpc.publish:
                if not self._is_allowed(peer):  # banned for what was in this frame
                    return
                self._count(peer, 1)
                if self._is_subscribed_to_msg(message):
                    await self.push_msg(peer, message)
                await trio.lowlevel.checkpoint()
            for subscription in rpc.subscriptions[: self.max_subscriptions_per_rpc]:
                self.handle_subscription(peer, subscription)
            if rpc.HasField("control"):
                await self.router.handle_rpc(rpc, peer)

    def _count(self, peer: ID, messages: int) -> None:
        """Raises Flood."""
        if not self._allowance.take(peer, messages):
            raise Flood(f"more than {self._rate} gossip messages a second")

    async def validate_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Each message. libp2p remembers verdicts by the numbers that authors give, for longer than it knows a message
        again: another one with the number of a valid one would be passed on unseen. Raises ValidationError."""
        if not all(topic.validator(msg_forwarder, msg) for topic in self.get_msg_validators(msg)):
            raise ValidationError("its topic's validator refused it")

    def _handle_dead_peer(self, peer_id: ID) -> None:
        self._due.pop(peer_id, None)
        super()._handle_dead_peer(peer_id)

    async def write_msg(self, stream: INetStream, rpc_msg: rpc_pb2.RPC) -> bool:
        # Addresses go by statuses; its signature would be checked for each frame.
        rpc_msg.ClearField("senderRecord")
        async with self._write_locks.setdefault(stream, trio.Lock()):
            await self._at_our_pace(stream.muxed_conn.peer_id, len(rpc_msg.publish))
            return await super().write_msg(stream, rpc_msg)

    async def _at_our_pace(self, peer: ID, messages: int) -> None:
        """Half of what a neighbour may send: whoever floods us from several places could otherwise make us pass on
        more than that, and our neighbours would blame us for it."""
        if messages:
            now, pace = trio.current_time(), self._rate / 2
            self._due[peer] = due = max(now, self._due.get(peer, now)) + messages / pace
            if due > now + HASTE:
                await trio.sleep_until(due - HASTE)

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Nobody reads libp2p's subscription channels of 32; the host delivers what its validators accept."""


def _entries(control: rpc_pb2.ControlMessage) -> int:
    """How many there are, each as dear as a message."""
    return sum(map(len, (control.ihave, control.iwant, control.graft, control.prune, control.idontwant)))
