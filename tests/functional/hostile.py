"""An attacker: a peer of its own identity behind a real door, and a forger of blocks that pass every cheap check.

Tickets of states that nobody trained cost nothing to grind; that is what audits are for.
"""

import asyncio
import os
import pickle
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Self

from consensus.ensemble import required_result
from consensus.params import Params
from consensus.seal import GATE_PASSED, limit, ticket
from consensus.template import candidate
from consensus.transition import apply_block
from deepblock import codec
from deepblock.cid import RAW, Cid, cid_of_block
from deepblock.client import Client
from deepblock.primitives import Address
from deepblock.spec import session_macs
from deepblock.types import Block, Body, Header, Score, Seal
from node import car
from node.chain import Chain
from node.messages import HEADERS, STATUS, WANT, Locate, Status, Want, topic_of
from node.messages import Chain as Shown
from node.p2p.door import Door
from node.storage.database import Database
from tests.functional.nodes import Node

SHOUT_EVERY = 0.5
"""Seconds. A message that comes before the gossip mesh stands is lost, so an attack repeats itself."""
LURE = Score(1, 1)
"""Passes every gate."""


def nobody() -> Cid:
    """The CID of something that nobody has."""
    return cid_of_block(os.urandom(32))


def junk(index: int) -> bytes:
    """In place of a state: bytes that are no safetensors file."""
    return b"trained very hard, %d" % index


class Bomb:
    """Runs a command in whoever unpickles it."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._marker}",)

    def state(self, index: int) -> bytes:
        """In place of a state: a pickle, as others keep checkpoints."""
        return pickle.dumps((self, index))


@dataclass(frozen=True)
class Forged:
    """A false block, and what it names: its states' files, its body."""

    block: Block
    pieces: dict[Cid, bytes]

    @property
    def encoded(self) -> bytes:
        return codec.encode(self.block)


class Forger:
    """Keeps a node's chain beside it, and so knows all that a child of its head must say."""

    def __init__(self, folder: Path, params: Params, node: Node) -> None:
        self.params = params
        self.chain = Chain(Database(folder), params)
        self.network = self.chain.network
        self._client = Client(node.facts["rpc"])
        self._taken: set[Cid] = set()

    def follow(self) -> Block:
        """Up to the node's head, which is returned."""
        height = self._client.chain_head().height
        for missing in range(self.chain.head.height + 1, height + 1):
            info = self._client.chain_get_block(missing)
            assert info.body is not None
            state = self.chain.state(info.header.parent)
            apply_block(self.params, state, info.block, info.body, self.chain.past(info.header.parent))
            self.chain.commit(info.block, info.body, state.delta())
        head = self.chain.block(self.chain.head.id)
        assert head is not None
        return head

    def mined(self) -> Block:
        """The newest honest block that was not asked for before: of one header only two seals are listened to."""
        block = self.follow()
        while block.id in self._taken:
            parent = self.chain.block(block.header.parent)
            assert parent is not None
            block = parent
        assert block.height > 0, "every honest block is taken"
        self._taken.add(block.id)
        return block

    def file(self, cid: Cid) -> bytes:
        return self._client.fetch_file(cid)

    def header(self, body: Cid | None = None, **changes: Any) -> Header:
        """Of a child of the node's head, begun now, right in everything but the `changes`."""
        head = self.follow()
        below = self.chain.ancestry(head.id)
        miner = Address(os.urandom(Address.SIZE))
        made = candidate(
            self.params,
            self.network,
            below,
            body or Body().cid,
            miner,
            0,
            int(time.time()),
            self.chain.state().schedule().current,
        )
        return replace(made, **changes)

    def sealed(self, header: Header, states: tuple[Cid, ...], average: Cid, score: Score) -> Block:
        """With the result that follows from the seal, so that the rule of the least loss finds nothing."""
        task = self.chain.state(header.parent if self.chain.node(header.parent) else None).task(header.task)
        seal = Seal(states, average, score)
        return Block(header, seal, required_result(seal, task))

    def block(
        self, header: Header | None = None, state: Callable[[int], bytes] = junk, kind: int = RAW
    ) -> Forged:
        """A child of the head whose states are false and whose ticket wins. `kind`: codec of the states' CIDs."""
        header = header or self.header()
        spec = self.chain.specs[header.task]
        made = {cid_of_block(data, kind): data for data in map(state, range(spec.segments - 1))}
        for index in count(spec.segments):
            last = state(index)
            states = (*made, cid_of_block(last, kind))
            if self.wins(header, states):
                return Forged(self.sealed(header, states, nobody(), LURE), made | {states[-1]: last})
        raise AssertionError("unreachable")

    def copied(self, honest: Block) -> Block:
        """Another miner's states under a header of one's own: each nonce is another ticket."""
        header = self.header()
        for nonce in count():
            header = replace(header, nonce=nonce)
            if self.wins(header, honest.seal.states):
                return self.sealed(header, honest.seal.states, honest.seal.average, LURE)
        raise AssertionError("unreachable")

    def wins(self, header: Header, states: tuple[Cid, ...]) -> bool:
        cost = session_macs(self.chain.specs[header.task])
        return ticket(header, Seal(states, states[0], Score(0, 0))) < limit(
            header.difficulty, GATE_PASSED, cost
        )


class Attacker:
    """A peer that is polite but for what its attack makes it say. `pieces`: what it serves by CID; `status` and
    `headers`: its replies; `shown`: the false blocks it made to reply; `asked`: how often the victim asked, by
    protocol."""

    def __init__(self, network: Cid) -> None:
        self.network = network
        self.pieces: dict[Cid, bytes] = {}
        self.status = self.claim(height=0, weight=0)
        self.headers: Callable[[Locate], bytes] = lambda locate: codec.encode(Shown(()))
        self.shown: list[Block] = []
        self.asked: Counter[str] = Counter()
        topics = {topic_of(network, what): lambda peer, data: True for what in ("blocks", "transactions")}
        handlers = {STATUS: self._status, HEADERS: self._headers, WANT: self._want}
        self.door = Door(
            key=os.urandom(32), port=0, host="127.0.0.1", agent="hostile/1", topics=topics, handlers=handlers
        )
        self._shouting: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.door.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._shouting:
            task.cancel()
        await self.door.stop()

    @property
    def id(self) -> str:
        return self.door.peer_id

    def claim(
        self,
        height: int = 10**9,
        weight: int = 2**100,
        network: Cid | None = None,
        own: tuple[str, ...] = (),
    ) -> bytes:
        """A status: of a chain that is better than any, unless said."""
        return codec.encode(Status(network or self.network, nobody(), height, weight, own, ()))

    def show(self, forge: Callable[[], Forged]) -> None:
        """Claims a heavier chain, and shows one more false block, made in this moment, to whoever begins to ask."""

        def headers(locate: Locate) -> bytes:
            if any(block.id in locate.known for block in self.shown):
                return codec.encode(Shown(()))
            forged = forge()
            self.pieces |= forged.pieces
            self.shown.append(forged.block)
            return codec.encode(Shown((forged.block,)))

        self.status, self.headers = self.claim(), headers

    def shout(self, data: bytes, what: str = "blocks") -> None:
        """Gossip, until the attack is over."""

        async def repeat() -> None:
            while True:
                await self.door.publish(topic_of(self.network, what), data)
                await asyncio.sleep(SHOUT_EVERY)

        self._shouting.append(asyncio.create_task(repeat()))

    def spread(self, forged: Forged) -> None:
        """Gossip of a block, whose files are served to whoever asks."""
        self.pieces |= forged.pieces
        self.shout(forged.encoded)

    async def asked_for(self, protocol: str, times: int = 1) -> None:
        """Until the victim has asked so often."""
        async with asyncio.timeout(60):
            while self.asked[protocol] < times:
                await asyncio.sleep(0.05)

    async def _status(self, peer: str, request: bytes) -> bytes:
        self.asked[STATUS] += 1
        return self.status

    async def _headers(self, peer: str, request: bytes) -> bytes:
        self.asked[HEADERS] += 1
        return self.headers(codec.decode(Locate, request))

    async def _want(self, peer: str, request: bytes) -> bytes:
        self.asked[WANT] += 1
        wanted = codec.decode(Want, request).cids
        return car.write((cid, self.pieces[cid]) for cid in wanted if cid in self.pieces)
