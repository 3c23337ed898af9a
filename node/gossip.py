"""What comes in by gossip: cheap checks in the libp2p thread before a message is passed on, then the pipeline.

Who is to blame? A neighbour that passes on what anybody can see is false (undecodable, of another network, a losing
ticket) broke its own check. What only an audit finds is the author's fault: gossip is signed, and an honest node
is the author of nothing that it has not checked.
"""

import asyncio
from collections import Counter, OrderedDict
from contextlib import suppress

import structlog

from consensus.errors import Fraud, Invalid, NotYet, RuleError, TaskUnknown
from consensus.params import Params
from consensus.seal import SpecOf
from consensus.transaction import check_transaction
from consensus.transition import check_block
from deepblock.cid import Cid
from deepblock.codec import Malformed, decode
from deepblock.transactions import Transaction
from deepblock.types import Block
from node.messages import topic_of
from node.p2p.door import Door
from node.p2p.events import Fault, Gossip, PeerDown, PeerUp, Validator
from node.peers import BAN_SCORE, Peers
from node.pipeline import MAX_BLOCK, MAX_TRANSACTION, Origin, Pipeline
from node.sync import Sync

log = structlog.get_logger("gossip")

UNAUDITED = 4
"""Blocks of one neighbour that may be on their way through the pipeline at once."""
SEALS = 2
"""Seals of one header that are passed on; an honest header has one, and anybody can glue a false one to it."""
REMEMBERED = 4_096
"""Headers whose seals are counted."""
FAULT = 20
"""Penalty points for a broken frame: five of them, and the peer is banned."""


def validators(params: Params, network: Cid, spec_of: SpecOf) -> dict[str, Validator]:
    """Topic → check, run in the libp2p thread. They raise for what its sender could have seen to be false."""
    seals: OrderedDict[Cid, set[Cid]] = OrderedDict()

    def block_is_plausible(peer: str, data: bytes) -> bool:
        block = decode(Block, data, MAX_BLOCK)
        try:
            check_block(params, network, block, spec_of)
        except TaskUnknown:
            return False
        known = seals.setdefault(block.header.cid, set())
        if len(seals) > REMEMBERED:
            seals.popitem(last=False)
        if block.id not in known and len(known) >= SEALS:
            return False
        known.add(block.id)
        return True

    def transaction_is_plausible(peer: str, data: bytes) -> bool:
        check_transaction(params, network, decode(Transaction, data, MAX_TRANSACTION))
        return True

    return {
        topic_of(network, "blocks"): block_is_plausible,
        topic_of(network, "transactions"): transaction_is_plausible,
    }


class Ears:
    """Reads the door's events, one after the other, and never waits for a block's verdict."""

    def __init__(self, door: Door, pipeline: Pipeline, peers: Peers, sync: Sync) -> None:
        self._door = door
        self._pipeline = pipeline
        self._peers = peers
        self._sync = sync
        self._on_their_way: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async for event in self._door.events():
            match event:
                case PeerUp(peer):
                    self._sync.peer_up(peer)
                case PeerDown(peer):
                    self._sync.peer_down(peer)
                case Fault(peer, reason):
                    self._peers.penalise(peer, FAULT, reason)
                case Gossip(topic) if topic.endswith("/blocks/1"):
                    self._block_came(event)
                case Gossip():
                    self._transaction_came(event)

    def _transaction_came(self, message: Gossip) -> None:
        with suppress(RuleError):  # not payable, or known: an honest neighbour may have another head than we
            self._pipeline.receive_transaction(decode(Transaction, message.data, MAX_TRANSACTION), "gossip")

    def _block_came(self, message: Gossip) -> None:
        if self._on_their_way[message.peer] >= UNAUDITED:
            log.info(
                "block_dropped", peer=message.peer, reason=f"{UNAUDITED} of its blocks are being checked"
            )
            return
        self._on_their_way[message.peer] += 1
        task = asyncio.create_task(self._take_block(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_block(self, message: Gossip) -> None:
        try:
            await self._pipeline.receive(message.data, Origin("gossip", message.peer, message.author))
        except NotYet as error:
            log.debug("block_waits", peer=message.peer, reason=str(error))
            self._sync.hint()
        except Fraud as error:
            log.warning("fraud", author=message.author, peer=message.peer, reason=str(error))
            self._peers.penalise(message.author, BAN_SCORE, f"fraud: {error}")
        except (Invalid, Malformed) as error:
            log.warning("invalid_block", author=message.author, peer=message.peer, reason=str(error))
            self._peers.penalise(message.author, BAN_SCORE, f"invalid block: {error}")
        finally:
            self._on_their_way[message.peer] -= 1
            self._on_their_way += Counter()  # forget the zeros
