"""Peers that mean harm, as a process of their own, so that it can run on another machine's address:

python -m tests.network.attack_parts KIND VICTIM_FOLDER OTHER_FOLDER OWN_FOLDER SECONDS

attacks for so long; whoever is cut off comes again as another peer. What it knows of the chain it asks of the other
node. Writes GOT_IN and the id of each that got in, a line each.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio
from libp2p.abc import IHost
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID

from deepblock import codec
from deepblock.cid import Cid
from node import car
from node.config import load_params
from node.messages import WANT, Want, topic_of
from node.p2p import wire
from tests.functional.hostile import Attacker, Forger, nobody
from tests.functional.nodes import FAST, Node
from tests.unit.node.p2p_parts import MESHSUB, frame, hostile, signed

ATTACK = 20.0
"""Seconds of an attack, and of one attacker at most."""
STREAMS = 10_000
GOT_IN = "attacker"
REFUSED = 0.2
"""Seconds after which who was not let in tries again."""

NICE = 19
"""Real attackers have their own machines: what is measured is not how the victim's cores are shared with them."""

Act = Callable[["Scene"], Awaitable[str]]
"""Attacks for a while; the attacker's peer id."""


@dataclass
class Scene:
    victim: Node
    forger: Forger

    @property
    def network(self) -> Cid:
        return self.forger.network

    @property
    def topic(self) -> str:
        return topic_of(self.network, "transactions")


async def garbage(scene: Scene) -> str:
    async with Attacker(scene.network) as attacker:
        attacker.shout(os.urandom(2_000))
        attacker.shout(os.urandom(300), "transactions")
        return await connected(scene, attacker)


async def flood(scene: Scene) -> str:
    async def pour(host: IHost, victim: ID) -> None:
        stream = await host.new_stream(victim, [TProtocol(MESHSUB)])
        for number in range(100):
            messages = (signed(b"%d %d" % (number, index), topics=(scene.topic,)) for index in range(100))
            await stream.write(frame(*messages))

    return await raw(scene, pour)


async def streams(scene: Scene) -> str:
    async def open_many(host: IHost, victim: ID) -> None:
        for _ in range(STREAMS):
            await host.new_stream(victim, [TProtocol(WANT)])

    return await raw(scene, open_many)


async def never_reads(scene: Scene) -> str:
    async def ask_only(host: IHost, victim: ID) -> None:
        average = scene.forger.follow().seal.average
        request = codec.encode(Want((average,) * 64))
        for _ in range(64):
            stream = await host.new_stream(victim, [TProtocol(WANT)])
            stream.muxed_stream.conn._read_data_body = _drop(stream.muxed_stream.conn)
            await stream.write(wire.HEADER.pack(wire.OK, len(request)) + request)
        await trio.sleep(ATTACK)

    return await raw(scene, ask_only)


def _drop(conn: object) -> Callable[[int], Awaitable[bytes]]:
    async def read(length: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    return read


async def announces_what_it_has_not(scene: Scene) -> str:
    async with Attacker(scene.network) as attacker:

        async def forge() -> None:
            while True:
                forged = await asyncio.to_thread(scene.forger.block, scene.forger.header(body=nobody()))
                attacker.shout(forged.encoded)
                await asyncio.sleep(0.5)

        forging = asyncio.create_task(forge())
        try:
            return await connected(scene, attacker)
        finally:
            forging.cancel()


async def wrong_bytes(scene: Scene) -> str:
    async with Attacker(scene.network) as attacker:

        async def other(peer: str, request: bytes) -> bytes:
            return car.write((cid, os.urandom(64)) for cid in codec.decode(Want, request).cids)

        attacker.door._handlers[WANT] = other
        forged = scene.forger.block(scene.forger.header(body=nobody()))
        attacker.shout(forged.encoded)
        return await connected(scene, attacker)


ATTACKS: dict[str, Act] = {
    "garbage": garbage,
    "flood": flood,
    f"{STREAMS:,} streams": streams,
    "never reads": never_reads,
    "announces blocks that it does not have": announces_what_it_has_not,
    "serves wrong bytes": wrong_bytes,
}
"""Whether it is cut shows in what the victim says of it."""


async def connected(scene: Scene, attacker: Attacker) -> str:
    """Until the victim bans it, or for as long as an attack lasts."""
    await attacker.door.connect(scene.victim.address)
    until = time.monotonic() + ATTACK
    while time.monotonic() < until and attacker.door.peers():
        await asyncio.sleep(0.2)
    return attacker.id


async def raw(scene: Scene, act: Callable[[IHost, ID], Awaitable[None]]) -> str:
    """A plain libp2p host, which does as it likes until it is hung up on."""

    async def careless(host: IHost, victim: ID) -> None:
        with trio.move_on_after(ATTACK):
            with suppress(Exception):  # whatever libp2p says when it is hung up on
                await act(host, victim)

    return await hostile(scene.victim.address, careless)


def main(kind: str, victim: str, other: str, folder: str, seconds: str) -> None:
    os.nice(NICE)
    forger = Forger(Path(folder), load_params(FAST), Node(Path(other)))
    scene = Scene(Node(Path(victim)), forger)
    until = time.monotonic() + float(seconds)
    while time.monotonic() < until:
        try:
            print(GOT_IN, asyncio.run(ATTACKS[kind](scene)), flush=True)
        except Exception as error:  # it was not let in, which each library says in another way
            print(repr(error), file=sys.stderr)
            time.sleep(REFUSED)


if __name__ == "__main__":
    main(*sys.argv[1:])
