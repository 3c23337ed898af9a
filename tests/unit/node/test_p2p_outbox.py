from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import RpcQueue

from node.p2p.outbox import MOST, MOST_BYTES, Outbox, Outboxes


def says(topic: str, data: bytes = b"") -> rpc_pb2.RPC:
    return rpc_pb2.RPC(publish=[rpc_pb2.Message(topicIDs=[topic], data=data)])


def test_topics_take_turns_and_control_goes_before() -> None:
    outbox = Outbox()
    flood = [says("transactions", b"%d" % number) for number in range(3)]
    blocks = [says("blocks", b"%d" % number) for number in range(2)]
    control = rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid="blocks")])
    for frame in (*flood, *blocks, control):
        assert outbox.push(frame)
    assert len(outbox) == 6
    came = [outbox.pop() for _ in range(6)]
    assert came == [control, flood[0], blocks[0], flood[1], blocks[1], flood[2]]
    assert outbox.pop() is None and len(outbox) == 0


def test_a_full_lane_takes_nothing_and_the_others_do() -> None:
    outbox = Outbox()
    assert all(outbox.push(says("transactions")) for _ in range(MOST))
    assert not outbox.push(says("transactions"))
    assert outbox.push(says("blocks"))
    assert outbox.push(rpc_pb2.RPC(), priority=True)


def test_a_lane_is_bounded_in_bytes_too() -> None:
    outbox = Outbox()
    large = says("shares", bytes(1_000_000))
    taken = sum(outbox.push(large) for _ in range(100))
    assert taken == MOST_BYTES // 1_000_000 + 1
    outbox.pop()
    assert outbox.push(large)


def test_a_queue_of_libp2ps_queues_here_from_its_first_frame_on() -> None:
    boxes = Outboxes()
    boxes[ID(b"a peer")] = queue = RpcQueue()
    assert all(queue.push(says("blocks")) for _ in range(MOST))
    boxes[ID(b"a peer")] = RpcQueue()
    assert queue.closed
