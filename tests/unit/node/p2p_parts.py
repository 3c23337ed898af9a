"""What the tests of node/p2p share: doors on loopback, and a raw libp2p host that does as it likes."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType

import libp2p
import trio
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from node.p2p.door import Door
from node.p2p.events import Event, Gossip, Refusal

MESHSUB = "/meshsub/1.2.0"
TOPIC = "blocks"


async def echo(peer: str, request: bytes) -> bytes:
    return request


async def noise(peer: str, request: bytes) -> bytes:
    return os.urandom(int(request))


async def silence(peer: str, request: bytes) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def refuse(peer: str, request: bytes) -> bytes:
    raise Refusal("no such block")


async def fail(peer: str, request: bytes) -> bytes:
    raise ZeroDivisionError("of the handler's own making")


HANDLERS = {"/echo/1": echo, "/noise/1": noise, "/silence/1": silence, "/refuse/1": refuse, "/fail/1": fail}


def strict(peer: str, data: bytes) -> bytes | None:
    """Raises for what is no message, ignores what is stale."""
    if data.startswith(b"malformed"):
        raise ValueError("not a message")
    return None if data.startswith(b"stale") else data


def make_door(key: int = 0, **kwargs) -> Door:
    """`key` 0: a new identity."""
    settings = {
        "port": 0,
        "host": "127.0.0.1",
        "agent": "test/1",
        "topics": {TOPIC: strict},
        "handlers": HANDLERS,
    }
    return Door(key=bytes([key]) * 32 if key else os.urandom(32), **(settings | kwargs))


@asynccontextmanager
async def doors(count: int, **kwargs) -> AsyncIterator[list[Door]]:
    """Started doors, the first connected to by all others, and each one's gossip mesh joined."""
    made = [make_door(**kwargs) for _ in range(count)]
    try:
        for door in made:
            await door.start()
        for door in made[1:]:
            await door.connect(made[0].addrs[0])
        await until(lambda: len(made[0].peers()) == count - 1)
        if count > 1:
            await meshed(made[0], made[1:])
        yield made
    finally:
        for door in made:
            await door.stop()


async def meshed(hub: Door, others: list[Door], topic: str = TOPIC) -> None:
    """Subscriptions travel after the connection; wait until the hub's mesh holds everybody."""
    want = {other.peer_id for other in others}
    await until(lambda: want <= {str(peer) for peer in hub._host.router.mesh.get(topic, ())})
    for other in others:
        await until(lambda other=other: other._host.router.mesh.get(topic))


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


class Log:
    """Everything a door tells, collected while the test does something else."""

    def __init__(self, door: Door) -> None:
        self.events: list[Event] = []
        self.ended = asyncio.get_running_loop().create_task(self._read(door))

    async def _read(self, door: Door) -> None:
        async for event in door.events():
            self.events.append(event)

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


async def still_serves(victim, friend, victim_log):
    """Requests and gossip of an honest peer go on, on the connection that it had before."""
    assert await friend.ask(victim.peer_id, "/echo/1", b"x", timeout=5, max_reply=1) == b"x"
    data = os.urandom(8)
    await friend.publish(TOPIC, data)
    await until(lambda: Gossip(TOPIC, friend.peer_id, friend.peer_id, data) in victim_log.events)
    assert [peer.id for peer in victim.peers()] == [friend.peer_id]


def frame(*messages: rpc_pb2.Message, **fields) -> bytes:
    return encode_varint_prefixed(rpc_pb2.RPC(publish=messages, **fields).SerializeToString())


def signed(
    data: bytes, seed: bytes = b"\1" * 32, topics: tuple[str, ...] = (TOPIC,), number: bytes = b""
) -> rpc_pb2.Message:
    keys = create_new_key_pair(seed)
    author = ID.from_pubkey(keys.public_key).to_bytes()
    message = rpc_pb2.Message(data=data, topicIDs=topics, from_id=author, seqno=number or os.urandom(8))
    message.signature = keys.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
    message.key = keys.public_key.serialize()
    return message


async def hostile(
    addr: str,
    act: Callable[[IHost, ID], Awaitable[None]],
    handlers: Mapping[str, Callable[[INetStream], Awaitable[None]]] = MappingProxyType({}),
) -> str:
    """Run `act(host, victim)` on a plain py-libp2p host connected to `addr`; its peer id. `handlers`: of the streams
    that the victim opens, by protocol."""
    return await asyncio.to_thread(trio.run, _hostile, addr, act, handlers)


async def _hostile(
    addr: str,
    act: Callable[[IHost, ID], Awaitable[None]],
    handlers: Mapping[str, Callable[[INetStream], Awaitable[None]]],
) -> str:
    host = libp2p.new_host()
    for protocol, handler in handlers.items():
        host.set_stream_handler(TProtocol(protocol), handler)
    with trio.fail_after(15):
        async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            info = info_from_p2p_addr(Multiaddr(addr))
            await host.connect(info)
            await act(host, info.peer_id)
            await trio.sleep(0.3)  # time for it to arrive, before the connection goes
            await host.close()  # leaving the context alone would leave the sockets open
            return str(host.get_id())


def sending(protocol: str, data: bytes) -> Callable[[IHost, ID], Awaitable[None]]:
    async def act(host: IHost, victim: ID) -> None:
        stream = await host.new_stream(victim, [TProtocol(protocol)])
        with suppress(StreamError):  # a victim that has read enough resets it before the rest is written
            await stream.write(data)

    return act
