"""What waits to be sent to one neighbour by gossip."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import RpcQueue

MOST: Final = 512
"""Frames of one lane. More are lost, as gossip may be."""
MOST_BYTES: Final = 4 << 20
"""Of one lane, when another frame is to come into it."""
CONTROL: Final = "control"
"""The lane of frames that carry no message: subscriptions, GRAFT, IHAVE."""


@dataclass(slots=True)
class Lane:
    frames: deque[tuple[rpc_pb2.RPC, int]] = field(default_factory=deque)  # with its bytes
    size: int = 0

    def push(self, frame: rpc_pb2.RPC) -> bool:
        if len(self.frames) >= MOST or self.size > MOST_BYTES:
            return False
        self.frames.append((frame, size := frame.ByteSize()))
        self.size += size
        return True

    def pop(self) -> rpc_pb2.RPC:
        frame, size = self.frames.popleft()
        self.size -= size
        return frame


class Outbox:
    """A lane for each topic, served in turn, and one that goes before: whoever floods a topic where a message costs
    nothing holds up no block. In the shape of libp2p's PriorityQueue, which has 32 places for all."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}  # in the order of their turns

    def __len__(self) -> int:
        return sum(len(lane.frames) for lane in self._lanes.values())

    def push(self, frame: rpc_pb2.RPC, priority: bool = False) -> bool:
        """Whether there was room for it."""
        # Several messages in one are an answer to IWANT, and wait with the first one's kind.
        name = CONTROL if priority or not frame.publish else frame.publish[0].topicIDs[0]
        return self._lanes.setdefault(name, Lane()).push(frame)

    def pop(self) -> rpc_pb2.RPC | None:
        """The next one; None where nothing waits."""
        for name in sorted(self._lanes, key=lambda name: name != CONTROL):
            if self._lanes[name].frames:
                lane = self._lanes[name] = self._lanes.pop(name)  # its next turn comes after all others
                return lane.pop()
        return None


class Outboxes(dict[ID, RpcQueue]):
    """By neighbour. libp2p makes the queues; what they queue with is ours, from the first frame on."""

    def __setitem__(self, peer: ID, queue: RpcQueue) -> None:
        if former := self.get(peer):  # of a second stream, opened at the same moment: its task ends with it
            former.close()
        queue._queue = Outbox()  # type: ignore[assignment]
        super().__setitem__(peer, queue)
