"""Peers that mean harm, one after the other, against a node that mines; who is cut comes again as another. For each
kind: after how many seconds the first was noticed and what it was given for it, what the victim's JSON-RPC answered
meanwhile (p99, beside a calm time before), and how much its memory grew.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

import trio
from libp2p.abc import IHost
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID

from consensus.params import Params
from deepblock import codec
from deepblock.cid import Cid
from node.config import load_params
from node.messages import WANT, Pieces, Want, topic_of
from node.p2p import wire
from tests.functional.hostile import Attacker, Forger, nobody
from tests.functional.nodes import FAST, Node, happened, running, wait_for
from tests.network import asking_parts
from tests.unit.node.p2p_parts import MESHSUB, hostile
from tests.unit.node.test_p2p_hostile import frame, signed

CALM = 20.0
"""Seconds before the attacks, with the same questions."""
ATTACK = 20.0
"""Seconds of an attack, at most."""
STREAMS = 10_000

Act = Callable[["Scene"], Awaitable[str]]
"""Attacks for a while; the attacker's peer id."""


@dataclass
class Scene:
    victim: Node
    forger: Forger
    params: Params

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
            return codec.encode(Pieces(tuple(os.urandom(64) for _ in codec.decode(Want, request).cids)))

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


@dataclass
class Watch:
    """What the victim's JSON-RPC takes to answer, in seconds, and its memory, in MB."""

    node: Node
    took: list[float] = field(default_factory=list)

    @contextmanager
    def looking(self) -> Iterator[None]:
        command = [sys.executable, "-m", asking_parts.__name__, self.node.facts["rpc"]]
        asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert asking.stdout
        asking.stdout.readline()  # it has begun
        try:
            yield
        finally:
            asking.kill()
            lines = asking.stdout.read().split("\n")[:-1]
            self.took = [float(line) for line in lines]

    @property
    def p99(self) -> float:
        return quantiles(self.took, n=100)[-1]

    @property
    def memory(self) -> float:
        status = Path(f"/proc/{self.node.facts['pid']}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def main(folder: Path) -> None:
    victim, friend = (
        Node(folder / "victim", "--mine", "--log-level", "info"),
        Node(folder / "friend", "--no-mine"),
    )
    with running(victim, friend):
        victim.start()
        friend.start("--bootstrap", victim.address)
        wait_for(lambda: friend.height > 8, 120, "some blocks", victim, friend)
        params = load_params(FAST)
        scene = Scene(victim, Forger(folder / "forger", params, victim), params)
        watch = Watch(victim)
        with watch.looking():
            time.sleep(CALM)
        calm, memory = watch.p99, watch.memory
        print(
            f"{'calm':40}            p99 {1e3 * calm:5.1f} ms            memory {memory:.0f} MB", flush=True
        )
        for name, act in ATTACKS.items():
            began = time.time()
            attackers: list[str] = []
            with watch.looking():
                while time.time() - began < ATTACK:  # as another peer, as soon as it is cut
                    attackers.append(asyncio.run(act(scene)))
            peak = watch.memory
            faults = [e for e in victim.events("peer_penalised") if e["peer"] == attackers[0]]
            cut = min((happened(e) - began for e in faults), default=float("nan"))
            print(
                f"{name:40} {len(attackers):3} times  p99 {1e3 * watch.p99:5.1f} ms ({watch.p99 / calm:.1f}×)  "
                f"memory {peak - memory:+.0f} MB  "
                f"scored after {cut:.1f} s: {faults[-1]['score'] if faults else 0:g} points, "
                f"{faults[0]['reason'][:70] if faults else 'nothing'}",
                flush=True,
            )
        wait_for(lambda: victim.head["id"] == friend.head["id"], 60, "one head", victim, friend)
