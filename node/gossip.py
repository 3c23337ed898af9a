"""What comes in by gossip: cheap checks in the libp2p thread before a message is passed on, then the pipeline.

Who is to blame? A neighbour that passes on what anybody can see is false (undecodable, of another network, a losing
ticket) broke its own check. What only an audit finds is the author's fault: gossip is signed, and an honest node
is the author of nothing that it has not checked.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import structlog

from consensus.errors import Fraud, Invalid, NotYet, RuleError, TaskUnknown
from consensus.params import Params
from consensus.seal import SpecOf
from consensus.shares import check_share
from consensus.transaction import check_transaction
from consensus.transition import check_block
from deepblock.cid import Cid
from deepblock.codec import Malformed, decode
from deepblock.types import Block, Share
from node.allowance import Allowance
from node.frauds import Frauds
from node.messages import MAX_BATCH, Accusation, Batch, topic_of
from node.p2p.door import Door
from node.p2p.events import Fault, Gossip, PeerDown, PeerUp, Validator
from node.peers import BAN_SCORE, Peers
from node.pipeline import MAX_TRANSACTION, BodyMissing, Disproved, Origin, Pipeline
from node.shares import Shares
from node.sync.catch_up import Sync

log = structlog.get_logger("gossip")

Session = TypeVar("Session", Block, Share)

UNAUDITED: Final = {"blocks": 4, "shares": 4, "frauds": 1}
"""Messages of one neighbour that may be on their way to a verdict at once, by topic."""
SEALS: Final = 2
"""Seals of one header that are passed on; an honest header has one, and anybody can glue a false one to it."""
REMEMBERED: Final = 4_096
"""Headers whose seals are counted."""
TRANSACTIONS_A_SECOND: Final = 1_000.0
TRANSACTIONS_AT_ONCE: Final = 4_000.0
"""Transactions of one neighbour that are checked: about a tenth of a core, and a burst. What comes too fast is fetched
from its pool later."""
BATCH: Final = 8
"""Transactions that a batch of them counts for besides, for its author's signature and for passing it on."""
ACCUSATIONS_A_SECOND: Final = 1.0
ACCUSATIONS_AT_ONCE: Final = 16.0
"""Of one neighbour, about blocks that are here, passed on: one costs nothing to make, and a block needs one."""
MAX_BLOCK: Final = 64 << 10
"""Bytes of a block without its body: K CIDs, and little else."""
MAX_SHARE: Final = 64 << 10
"""Bytes: K CIDs, and little else."""
MAX_BATCH_MESSAGE: Final = MAX_BATCH + MAX_TRANSACTION + 1_024
"""Bytes."""
MAX_ACCUSATION: Final = 256
"""Bytes."""
UNSERVED: Final = 20
"""Penalty points for a block whose body its author, who was asked, does not serve, nor anybody else."""
FAULT: Final = 20
"""Penalty points for a broken frame: five of them, and the peer is banned."""


def validators(
    params: Params, network: Cid, spec_of: SpecOf, has_block: Callable[[Cid], bool]
) -> dict[str, Validator]:
    """Topic → what a message of it says, where it is plausible: decoded here, and nowhere again. `spec_of` and
    `has_block` are asked in the libp2p thread."""
    seals: OrderedDict[Cid, set[Cid]] = OrderedDict()
    transactions = Allowance(TRANSACTIONS_A_SECOND, TRANSACTIONS_AT_ONCE)
    accusations = Allowance(ACCUSATIONS_A_SECOND, ACCUSATIONS_AT_ONCE)

    def plausible(session: Session, check: Callable[[], None]) -> Session | None:
        """Of each header, only so many seals are passed on; of a task that is not known here, nothing."""
        try:
            check()
        except TaskUnknown:
            return None
        known = seals.setdefault(session.header.cid, set())
        if len(seals) > REMEMBERED:
            seals.popitem(last=False)
        if session.id not in known and len(known) >= SEALS:
            return None
        known.add(session.id)
        return session

    def block(peer: str, data: bytes) -> Block | None:
        block = decode(Block, data, MAX_BLOCK)
        return plausible(block, lambda: check_block(params, network, block, spec_of))

    def share(peer: str, data: bytes) -> Share | None:
        share = decode(Share, data, MAX_SHARE)
        return plausible(share, lambda: check_share(params, network, share, spec_of))

    def batch(peer: str, data: bytes) -> Batch | None:
        batch = decode(Batch, data, MAX_BATCH_MESSAGE)
        if not batch.transactions:
            raise Malformed("a batch of nothing")
        if not transactions.take(peer, BATCH + len(batch.transactions)):
            return None
        for transaction in batch.transactions:
            check_transaction(params, network, transaction)
        return batch

    def accusation(peer: str, data: bytes) -> Accusation | None:
        accusation = decode(Accusation, data, MAX_ACCUSATION)
        return accusation if has_block(accusation.block) and accusations.take(peer) else None

    return {
        topic_of(network, "blocks"): block,
        topic_of(network, "shares"): share,
        topic_of(network, "transactions"): batch,
        topic_of(network, "frauds"): accusation,
    }


class Ears:
    """Reads the door's events, one after the other, and never waits for a verdict."""

    def __init__(
        self, door: Door, pipeline: Pipeline, shares: Shares, frauds: Frauds, peers: Peers, sync: Sync
    ) -> None:
        self._door = door
        self._pipeline = pipeline
        self._shares = shares
        self._frauds = frauds
        self._peers = peers
        self._sync = sync
        self._on_their_way: Counter[tuple[str, str]] = Counter()
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
                case Gossip():
                    self._message_came(event, event.topic.split("/")[-2])

    def _message_came(self, message: Gossip, what: str) -> None:
        match what:
            case "blocks":
                self._begin(message, what, self._take_block)
            case "shares":
                self._begin(message, what, self._take_share)
            case "frauds":
                self._begin(message, what, self._take_accusation)
            case _:
                for transaction in message.content.transactions:
                    with suppress(
                        RuleError
                    ):  # not payable, or known: an honest neighbour may have another head
                        self._pipeline.receive_transaction(transaction, "gossip", checked=True)

    def _begin(self, message: Gossip, what: str, take: Callable[[Gossip], Awaitable[None]]) -> None:
        """As a task of its own, unless too many of this neighbour's are being checked."""
        kind = what.removesuffix("s")
        if self._on_their_way[message.peer, what] >= UNAUDITED[what]:
            log.info(f"{kind}_dropped", peer=message.peer, reason=f"{UNAUDITED[what]} are being checked")
            if what == "blocks":
                self._sync.hint()
            return
        self._on_their_way[message.peer, what] += 1
        task = asyncio.create_task(self._judged(message, what, take))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judged(self, message: Gossip, what: str, take: Callable[[Gossip], Awaitable[None]]) -> None:
        """What a verdict costs its author."""
        kind = what.removesuffix("s")
        try:
            await take(message)
        except Disproved as error:
            log.info(f"{kind}_disproved", author=message.author, reason=str(error))
        except BodyMissing as error:
            log.info("block_without_body", author=message.author, peer=message.peer, reason=str(error))
            if error.asked_author:
                self._peers.penalise(
                    message.author, UNSERVED, f"announced a block and did not serve it: {error}"
                )
            self._sync.hint()
        except NotYet as error:
            log.debug(f"{kind}_waits", peer=message.peer, reason=str(error))
            if what == "blocks":
                self._sync.hint()
        except (Invalid, Malformed) as error:
            event = "fraud" if isinstance(error, Fraud) else f"invalid_{kind}"
            log.warning(event, author=message.author, peer=message.peer, reason=str(error))
            self._peers.penalise(message.author, BAN_SCORE, f"{event.replace('_', ' ')}: {error}")
        finally:
            self._on_their_way[message.peer, what] -= 1
            self._on_their_way += Counter()  # forget the zeros

    async def _take_block(self, message: Gossip) -> None:
        await self._pipeline.receive(message.content, Origin("gossip", message.peer, message.author))

    async def _take_share(self, message: Gossip) -> None:
        await self._shares.receive(message.content, message.author)

    async def _take_accusation(self, message: Gossip) -> None:
        await self._frauds.receive(message.content, message.author)
