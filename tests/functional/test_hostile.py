"""What strangers may do to a mining node: it stays up, keeps its chain, goes on mining, and says in its log who did
what. One pair of nodes goes through all attacks, one after the other, each by a peer with a new identity."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from libp2p.utils.varint import encode_uvarint, encode_varint_prefixed

from consensus.difficulty import floor
from deepblock import codec
from deepblock.cid import DAG_CBOR, DAG_PB, Cid, cid_of_block
from deepblock.client import RpcError
from deepblock.keys import Wallet
from deepblock.primitives import DBK, Address
from deepblock.transactions import Transfer
from deepblock.types import Block, Body, Score
from node.config import load_params
from node.messages import HEADERS, STATUS, Chain
from tests.functional.hostile import Attacker, Bomb, Forger, junk, nobody
from tests.functional.nodes import FAST, Node, running, same_head, wait_for
from tests.unit.node.p2p_parts import MESHSUB, hostile, sending

pytestmark = pytest.mark.timeout(120)


@dataclass
class Scene:
    """`victim` mines, `friend` is the second honest node. `marker`: a file that only executed code can make."""

    victim: Node
    friend: Node
    forger: Forger
    marker: Path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("hostile")
    victim, friend = Node(folder / "victim"), Node(folder / "friend")
    with running(victim, friend):
        victim.start("--mine")
        friend.start("--no-mine", "--bootstrap", victim.address)
        wait_for(lambda: victim.height >= 5 and same_head(victim, friend), 60, "a chain", victim, friend)
        yield Scene(victim, friend, Forger(folder / "forger", load_params(FAST), victim), folder / "executed")


# --- what must hold, whatever comes ----------------------------------------------------------------------------


@contextmanager
def unharmed(scene: Scene) -> Iterator[list[Block]]:
    """Around an attack. The list is for the false blocks: none of them may be on any node."""
    victim, friend = scene.victim, scene.friend
    pid, before = victim.facts["pid"], victim.head
    said = {node: len(node.log()) for node in (victim, friend)}
    false: list[Block] = []
    yield false
    sessions = victim.call("miner_status")["sessions"]
    wait_for(lambda: victim.call("miner_status")["sessions"] > sessions + 1, 30, "mining to go on", victim)
    wait_for(lambda: same_head(victim, friend), 30, "the honest nodes to agree", victim, friend)
    assert victim.facts["pid"] == pid
    for node in (victim, friend):
        assert node.process and node.process.poll() is None
        assert node.call("chain_getBlock", before["id"])["confirmations"] > 0, (
            "the head before is on the chain"
        )
        for block in false:
            with pytest.raises(RpcError):
                node.call("chain_getBlock", str(block.id))
        assert "Traceback" not in node.log()[said[node] :]
    assert not scene.marker.exists(), "nothing that was sent is executed"
    for node, other in ((victim, friend), (friend, victim)):
        blamed = {
            event["peer"]
            for kind in ("peer_penalised", "peer_fault", "peer_banned")
            for event in node.events(kind)
        }
        assert peer_id(other) not in blamed, f"{node.folder.name} blames the other honest node"


def peer_id(node: Node) -> str:
    return node.address.rpartition("/")[2]


def named(node: Node, culprit: str, reason: str, event: str = "peer_penalised") -> bool:
    """Whether the log says that `culprit` did it."""
    return any(
        culprit in (entry.get("author"), entry.get("peer")) and reason in entry["reason"]
        for entry in node.events(event)
    )


# --- frames: a raw libp2p host, since the door would not send them --------------------------------------------------

FRAMES = {
    "garbage in place of a gossip frame": (encode_varint_prefixed(b"\xff" * 500), "undecodable gossip frame"),
    "an oversized gossip frame": (encode_uvarint(8 << 20) + bytes(1 << 16), "oversized gossip frame"),
    "a gossip frame without end": (b"\xff" * 64, "invalid gossip frame"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_is_none(scene: Scene, name: str) -> None:
    data, reason = FRAMES[name]
    with unharmed(scene):
        culprit = asyncio.run(hostile(scene.victim.address, sending(MESHSUB, data)))
        wait_for(
            lambda: named(scene.victim, culprit, reason, "peer_fault"),
            20,
            f"{name} to be noticed",
            scene.victim,
        )
        wait_for(lambda: named(scene.victim, culprit, reason), 20, f"{name} to be penalised", scene.victim)


# --- messages, blocks and replies: a peer behind a real door ----------------------------------------------------------

Act = Callable[[Scene, Attacker], Awaitable[Block | None]]
"""Begins an attack. The false block in it, where there is one."""


@dataclass(frozen=True)
class Attack:
    """What the victim's log has to say of the attacker, and whether it is banned for it."""

    act: Act
    reason: str
    event: str = "peer_penalised"
    banned: bool = True


ATTACKS: dict[str, Attack] = {}


def attack(
    name: str, reason: str, event: str = "peer_penalised", banned: bool = True
) -> Callable[[Act], Act]:
    def listed(act: Act) -> Act:
        ATTACKS[name] = Attack(act, reason, event, banned)
        return act

    return listed


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


@attack("garbage as a block", "invalid message on", banned=False)
async def garbage_block(scene: Scene, attacker: Attacker) -> None:
    attacker.shout(os.urandom(2_000))


@attack("a block nested 60,000 deep", "invalid message on", banned=False)
async def nested(scene: Scene, attacker: Attacker) -> None:
    attacker.shout(b"\x81" * 60_000)


@attack("garbage as a transaction", "invalid message on", banned=False)
async def garbage_transaction(scene: Scene, attacker: Attacker) -> None:
    attacker.shout(os.urandom(300), "transactions")


@attack("one changed byte in the encoding of a block", "invalid message on", banned=False)
async def changed_encoding(scene: Scene, attacker: Attacker) -> None:
    attacker.shout(changed(codec.encode(scene.forger.follow()), 0))


@attack("one changed byte in a block's header", "Wrong", banned=False)
async def changed_header(scene: Scene, attacker: Attacker) -> None:
    data = codec.encode(scene.forger.follow())
    attacker.shout(changed(data, data.index(scene.forger.network) + Cid.SIZE - 1))


@attack("one changed byte in a block's state root", "invalid", banned=False)
async def changed_state_root(scene: Scene, attacker: Attacker) -> None:
    """Another header is another seed, so most likely the ticket misses; else the rule finds it."""
    head = scene.forger.follow()
    data = codec.encode(head)
    attacker.shout(changed(data, data.index(head.header.state_root)))


@attack("one changed byte in a block's result", "the block ")
async def changed_result(scene: Scene, attacker: Attacker) -> Block:
    honest = scene.forger.mined()
    model = Cid(changed(honest.result.model, Cid.SIZE - 1))
    false = replace(honest, result=replace(honest.result, model=model))
    attacker.shout(codec.encode(false))
    return false


@attack("a wrong average of a true session", "fraud: false average")
async def wrong_average(scene: Scene, attacker: Attacker) -> Block:
    honest = scene.forger.mined()
    false = scene.forger.sealed(honest.header, honest.seal.states, nobody(), honest.seal.score)
    attacker.shout(codec.encode(false))
    return false


@attack("a wrong score of a true session", "fraud: false score")
async def wrong_score(scene: Scene, attacker: Attacker) -> Block:
    honest = scene.forger.mined()
    score = replace(honest.seal.score, loss=honest.seal.score.loss - 1)
    false = scene.forger.sealed(honest.header, honest.seal.states, honest.seal.average, score)
    attacker.shout(codec.encode(false))
    return false


@attack("pickles in place of checkpoints", "fraud: false segment")
async def pickles(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block(state=Bomb(scene.marker).state)
    attacker.spread(forged)
    return forged.block


@attack("checkpoints that are too large", "fraud: false segment")
async def large_states(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block(state=lambda index: junk(index) + bytes(200_000))
    attacker.spread(forged)
    return forged.block


@attack("checkpoints in blocks beyond any limit", "fraud: false segment")
async def huge_states(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block(state=lambda index: junk(index) + bytes(2 << 20))
    attacker.spread(forged)
    return forged.block


@attack("checkpoints that are structures", "fraud: false segment")
async def structures(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block(state=lambda index: codec.encode(Score(index, index)), kind=DAG_CBOR)
    attacker.spread(forged)
    return forged.block


@attack("checkpoints that are broken trees", "fraud: false segment")
async def broken_trees(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block(kind=DAG_PB)
    attacker.spread(forged)
    return forged.block


@attack("checkpoints with a number that is none", "fraud: false segment")
async def not_a_number(scene: Scene, attacker: Attacker) -> Block:
    honest = scene.forger.file(scene.forger.follow().seal.states[-1])
    forged = scene.forger.block(
        state=lambda index: honest[:-8] + index.to_bytes(4, "little") + b"\0\0\xc0\x7f"
    )
    attacker.spread(forged)
    return forged.block


@attack("another miner's checkpoints under a header of one's own", "fraud: false segment")
async def copied(scene: Scene, attacker: Attacker) -> Block:
    false = scene.forger.copied(scene.forger.follow())
    attacker.shout(codec.encode(false))
    return false


@attack("other bytes for a CID", "served other bytes for")
async def other_bytes(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block()
    attacker.pieces = dict.fromkeys(forged.pieces, b"other bytes")
    attacker.shout(forged.encoded)
    return forged.block


@attack("a false seal glued to an honest header", "fraud: false segment")
async def glued(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block(scene.forger.mined().header)
    attacker.shout(forged.encoded)
    return forged.block


@attack("a difficulty that weighs as much as many blocks", "invalid block: difficulty")
async def heavy(scene: Scene, attacker: Attacker) -> Block:
    header = scene.forger.header()
    forged = scene.forger.block(replace(header, difficulty=header.difficulty << 8))
    attacker.spread(forged)
    return forged.block


@attack("a difficulty below the floor", "WrongDifficulty", banned=False)
async def light(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block(scene.forger.header(difficulty=floor(scene.forger.params) - 1))
    attacker.spread(forged)
    return forged.block


@attack("a malformed body", "invalid block: Body")
async def malformed_body(scene: Scene, attacker: Attacker) -> Block:
    body = os.urandom(100)
    attacker.pieces[cid_of_block(body)] = body
    forged = scene.forger.block(scene.forger.header(cid_of_block(body)))
    attacker.spread(forged)
    return forged.block


@attack("a transaction that cannot be paid", "invalid block: dbk1")
async def unpayable(scene: Scene, attacker: Attacker) -> Block:
    wallet = Wallet.new()
    transfer = Transfer(scene.forger.network, wallet.key, 0, DBK, Address(bytes(20)), DBK)
    body = Body((wallet.sign(transfer),))
    attacker.pieces[body.cid] = codec.encode(body)
    forged = scene.forger.block(scene.forger.header(body.cid))
    attacker.spread(forged)
    return forged.block


@attack("a block from the far future", "ahead of this clock", event="block_waits", banned=False)
async def future(scene: Scene, attacker: Attacker) -> Block:
    header = scene.forger.header()
    forged = scene.forger.block(replace(header, timestamp=header.timestamp + 10_000))
    attacker.spread(forged)
    return forged.block


@attack("a block without a parent", "is not known", event="block_waits", banned=False)
async def orphan(scene: Scene, attacker: Attacker) -> Block:
    forged = scene.forger.block(scene.forger.header(parent=nobody()))
    attacker.spread(forged)
    return forged.block


@attack("an undecodable status", "undecodable status")
async def undecodable_status(scene: Scene, attacker: Attacker) -> None:
    attacker.status = os.urandom(100)


@attack("a status of another network", "is on another network")
async def other_network(scene: Scene, attacker: Attacker) -> None:
    attacker.status = attacker.claim(network=nobody())


@attack("undecodable headers", "invalid block while catching up: Chain")
async def undecodable_headers(scene: Scene, attacker: Attacker) -> None:
    attacker.status = attacker.claim()
    attacker.headers = lambda locate: os.urandom(100)


@attack("headers that do not connect", "does not connect")
async def unconnected(scene: Scene, attacker: Attacker) -> None:
    attacker.show(lambda: scene.forger.block(scene.forger.header(parent=nobody())))


@attack("a false block while catching up", "follows a false block", banned=False)
async def false_header(scene: Scene, attacker: Attacker) -> None:
    """Made when it is asked for: the victim mines on, and does not follow what has become too light. Who
    shows it may be honest, with an audit that has missed the step."""
    attacker.show(lambda: scene.forger.block(state=lambda index: junk(index) + bytes(2 << 20)))


@attack("a claim of more than there is to show", "more than it shows", banned=False)
async def empty_claim(scene: Scene, attacker: Attacker) -> None:
    attacker.status = attacker.claim()


@attack("the same block again and again", "more than it shows", banned=False)
async def in_circles(scene: Scene, attacker: Attacker) -> None:
    first = scene.forger.chain.id_at(1)
    assert first
    block = scene.forger.chain.block(first)
    assert block
    attacker.status = attacker.claim()
    attacker.headers = lambda locate: codec.encode(Chain((block,)))


@attack("a claimed height that makes a false block look deep", "fraud: false segment")
async def deep(scene: Scene, attacker: Attacker) -> Block:
    attacker.status = attacker.claim()
    await attacker.door.connect(scene.victim.address)
    await attacker.asked_for(HEADERS)
    forged = scene.forger.block()
    attacker.spread(forged)
    return forged.block


@pytest.mark.parametrize("name", ATTACKS)
def test_a_peer_with(scene: Scene, name: str) -> None:
    victim, made = scene.victim, ATTACKS[name]

    async def play(false: list[Block]) -> str:
        """Until the victim has said who did what; the attacker's id."""
        async with Attacker(scene.forger.network) as attacker:
            if block := await made.act(scene, attacker):
                false.append(block)
            await attacker.door.connect(victim.address)
            done = partial(named, victim, attacker.id, made.reason, made.event)
            await asyncio.to_thread(wait_for, done, 30, f"{name} to be noticed: {made.reason}", victim)
            false += attacker.shown
            return attacker.id

    with unharmed(scene) as false:
        culprit = asyncio.run(play(false))
    assert not made.banned or named(victim, culprit, made.reason, "peer_banned")


def test_a_peer_with_addresses_without_end(scene: Scene) -> None:
    """What it says of itself is passed on to others only where somebody could dial it."""

    async def play() -> None:
        async with Attacker(scene.forger.network) as attacker:
            host = "x" * 60_000
            attacker.status = attacker.claim(0, 0, own=("y" * 60_000, f"/dns/{host}/tcp/1/p2p/{attacker.id}"))
            await attacker.door.connect(scene.victim.address)
            await attacker.asked_for(STATUS, times=3)

    with unharmed(scene):
        asyncio.run(play())
    failed = {event["peer"] for event in scene.victim.events("status_failed")}
    assert peer_id(scene.friend) not in failed
