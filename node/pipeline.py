"""The one path of a block. Gossip, sync and the miner all enter it here:

    block → stateless checks → parent known? → contextual checks → body → apply (state delta) →
    audit (plan → replay on a worker → verdict) → commit (one batch: store + fork choice) → announce

The rules are `consensus`; what a rule's refusal costs a peer is decided where the block came in, and was
decoded, strictly.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

import structlog

from consensus.audit import step_number
from consensus.errors import Fraud, Invalid, NotYet, ParentUnknown, RuleError
from consensus.fork_choice import Switch
from consensus.state import Delta
from consensus.transition import apply_block, check_block, check_chained
from deepblock.cid import Cid
from deepblock.codec import Malformed, decode, encode
from deepblock.transactions import Transaction
from deepblock.types import Block, Body
from node.auditor import Auditor, DataMissing
from node.chain import Chain
from node.fetch import Fetcher, NotAvailable
from node.log import said
from node.mempool import Mempool
from node.messages import Accusation, topic_of
from node.signatures import CORES, in_order
from node.verdicts import Verdicts

log = structlog.get_logger("chain")

MAX_TRANSACTION = 32 << 10
"""Bytes."""
PROVISIONAL = 2
"""Blocks that have to stand on one that cannot be audited, before this node follows it."""

PATIENCE = 10.0
"""Seconds for the body of a block whose author is not connected. It comes hop by hop, as fast as it is fetched; such a
block has one of its neighbour's few places meanwhile, and catching up brings what does not come."""

Clock = Callable[[], float]
"""Unix seconds."""
Publish = Callable[[str, bytes], Awaitable[None]]
"""Gossip: topic and message."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How a block came here. `peer` handed it to us, `author` vouched for it first (both None: we did). `depth`:
    how many blocks were shown on top of it."""

    way: str
    peer: str | None = None
    author: str | None = None
    depth: int = 0


MINED = Origin("miner")


@dataclass(eq=False)
class Disproved(Invalid):
    """It, or its parent, is known to be invalid. Whoever brings it again may be honest, and have missed the false step,
    or not have heard of it."""

    reason: str
    text: ClassVar[str] = "known to be invalid: {reason}"


@dataclass(eq=False)
class BodyMissing(NotYet):
    """`asked_author`: whether the author of the block was among those who were asked, and so is to blame."""

    body: Cid
    asked_author: bool = False
    text: ClassVar[str] = "no connected peer has the body {body}"


class Pipeline:
    """Takes blocks and transactions in. `on_head` is called after every change of the head, `on_transaction` for each
    that the others are to hear of."""

    def __init__(
        self,
        chain: Chain,
        mempool: Mempool,
        fetcher: Fetcher,
        auditor: Auditor,
        publish: Publish,
        clock: Clock,
        threads: int = CORES,
    ) -> None:
        """`threads`: that check the signatures of a block."""
        self._chain = chain
        self._mempool = mempool
        self._fetcher = fetcher
        self._auditor = auditor
        self._publish = publish
        self._clock = clock
        self._threads = threads
        self._verdicts = Verdicts()
        self._accusations: dict[Cid, Accusation] = {}
        self.on_head: list[Callable[[Switch], None]] = []
        self.on_transaction: list[Callable[[Transaction], None]] = []

    # --- blocks --------------------------------------------------------------------------------------------

    async def receive(self, block: Block, origin: Origin, body: Body | None = None) -> None:
        """Takes one block as far as it goes. Raises Malformed (of its body), Invalid, or NotYet.

        Whoever brings a block that is on its way already waits for the same verdict.
        """
        await self._verdicts.of(block.id, lambda: self._judge(block, origin, body))

    def is_judging(self, block: Cid) -> bool:
        """Whether somebody has brought it, and it has no verdict yet."""
        return block in self._verdicts

    async def _judge(self, block: Block, origin: Origin, body: Body | None) -> None:
        if self._chain.node(block.id):
            return
        began = time.perf_counter()
        check_block(self._chain.params, self._chain.network, block, self._chain.specs.get)
        await self._parent(block)
        if reason := self._chain.rejection(block.id):
            await self._accuse(block.id)
            raise Disproved(reason)
        try:
            self._check_chained(block)
            async with self._body(block, origin, body) as body:
                delta = self._apply(block, body, await self._in_order(body))
                await self._audit(block, body, origin)
        except (Invalid, Malformed) as error:
            self._chain.reject(block.id, str(error))
            if isinstance(error, Fraud):  # others, whose samples have missed the step, may have taken it
                self._note((block.id,), block, error)
                await self._accuse(block.id)
            raise
        returned = self._commit(block, body, delta, sync=not origin.depth)  # others have the deep ones
        if origin is MINED:
            await self._publish(topic_of(self._chain.network, "blocks"), encode(block))
        else:
            self._tell(block, body, origin, began)
        self._announce(returned)

    def _announce(self, transactions: Iterable[Transaction]) -> None:
        """Tells the others of what is new in the pool, or back in it."""
        for transaction in transactions:
            for listener in self.on_transaction:
                listener(transaction)

    def _tell(self, block: Block, body: Body, origin: Origin, began: float) -> None:
        if origin.depth > PROVISIONAL:
            return  # of catching up, its progress says more
        log.info(
            "block",
            height=block.height,
            id=str(block.id),
            miner=str(block.header.miner),
            transactions=len(body.transactions),
            **said(self._chain.specs[block.header.task], block.result.score),
            way=origin.way,
            head=self._chain.head.id == block.id,
            ms=round(1000 * (time.perf_counter() - began)),
        )

    async def _parent(self, block: Block) -> None:
        """The parent is in the tree, at once or when its own verdict is there."""
        parent = block.header.parent
        await self._verdicts.settled(parent)
        if self._chain.node(parent):
            return
        if reason := self._chain.rejection(parent):
            await self._accuse(parent)
            raise Disproved(f"its parent {parent}: {reason}")
        raise ParentUnknown(parent)

    async def _audit(self, block: Block, body: Body, origin: Origin) -> None:
        """A block that nobody can audit here and now is followed all the same once others have built on it:
        availability decides nothing. Its audit is caught up with when there is time (`node.frauds`)."""
        if origin is MINED:
            self._auditor.trained(block)
            return
        try:
            await self._auditor.audit(block, body, origin.author or origin.peer, origin.depth)
        except DataMissing as error:
            if origin.depth < PROVISIONAL:
                raise
            log.warning("block_not_audited", height=block.height, id=str(block.id), reason=str(error))

    # --- frauds --------------------------------------------------------------------------------------------

    async def disprove(self, block: Block, fraud: Fraud) -> None:
        """Takes a block of the tree out of it, with all that stand on it, and tells the others."""
        if not self._chain.node(block.id):
            return
        gone = self._chain.tree.branch(block.id)
        self._note(gone, block, fraud)
        log.warning(
            "block_disproved", height=block.height, id=str(block.id), reason=str(fraud), gone=len(gone)
        )
        switch = self._chain.invalidate(block.id, str(fraud))
        if switch:
            self._announce(self._follow(switch, self._transactions(switch.apply)))
        await self._accuse(block.id)

    def _note(self, blocks: Iterable[Cid], block: Block, fraud: Fraud) -> None:
        """Whoever comes with one of `blocks` is to hear of the fraud in `block`."""
        step = step_number(len(block.seal.states), fraud.step)
        if step is not None:
            self._accusations.update(dict.fromkeys(blocks, Accusation(block.id, step)))

    async def _accuse(self, block: Cid) -> None:
        if accusation := self._accusations.get(block):
            await self._publish(topic_of(self._chain.network, "frauds"), encode(accusation))

    def _check_chained(self, block: Block) -> None:
        chain, parent = self._chain, block.header.parent
        now = int(self._clock())
        check_chained(chain.params, chain.network, block, chain.ancestry(parent), chain.state(parent), now)

    @asynccontextmanager
    async def _body(self, block: Block, origin: Origin, body: Body | None) -> AsyncIterator[Body]:
        """The body, given or fetched. What was fetched is served to others while the block is judged, for a gossip has
        gone on to them already. So whoever passed it on may still be fetching the body, and is asked again; an
        author that is connected has it or lies."""
        if body:
            yield body
            return
        cid, author = block.header.body, origin.author
        asked_author = author is not None and self._fetcher.is_connected(author)
        patience = PATIENCE if author and not asked_author else 0
        try:
            data = self._chain.raw(cid) or await self._fetcher.structure(cid, origin.peer, patience)
        except NotAvailable:
            raise BodyMissing(cid, asked_author) from None
        fetched = decode(Body, data, self._chain.params.max_body)
        with self._chain.holding(cid, data):
            yield fetched

    async def _in_order(self, body: Body) -> frozenset[Cid]:
        """Ids of transactions of which it is known now that they meet rule L1."""
        chain = self._chain
        return await in_order(chain.params, chain.network, body.transactions, self._mempool, self._threads)

    def _apply(self, block: Block, body: Body, checked: frozenset[Cid]) -> Delta:
        parent = block.header.parent
        state = self._chain.state(parent)
        apply_block(self._chain.params, state, block, body, self._chain.past(parent), checked)
        return state.delta()

    def _commit(self, block: Block, body: Body, delta: Delta, sync: bool) -> list[Transaction]:
        """Returns the transactions that a reorganisation put back into the pool: the others may not know them."""
        switch = self._chain.commit(block, body, delta, sync)
        if switch is None:
            self._alarm_if_too_deep(block.id)
            return []
        *between, _ = switch.apply
        return self._follow(switch, [*self._transactions(between), *body.transactions])

    def _follow(self, switch: Switch, applied: list[Transaction]) -> list[Transaction]:
        """Whoever cares for the head hears of a new one. `applied`: its transactions. Returns as `_commit` does."""
        undone = self._transactions(switch.undo[::-1])
        self._mempool.follow(undone, applied, self._chain.state(), self._chain.head.height + 1)
        returned = [transaction for transaction in undone if self._mempool.get(transaction.id)]
        if switch.undo:
            log.warning(
                "reorganisation", undone=len(switch.undo), applied=len(switch.apply), returned=len(returned)
            )
        for listener in self.on_head:
            listener(switch)
        return returned

    def _alarm_if_too_deep(self, block: Cid) -> None:
        node, head = self._chain.node(block), self._chain.head
        if node and node.weight > head.weight:
            log.error(
                "deep_reorganisation_refused",
                head=str(head.id),
                heavier=str(block),
                finality=self._chain.params.finality,
                advice="one of the two is not the chain: compare with others; to take the heavier one, fetch it anew",
            )

    def _transactions(self, blocks: Iterable[Cid]) -> list[Transaction]:
        found: list[Transaction] = []
        for cid in blocks:
            block = self._chain.block(cid)
            body = self._chain.body(block) if block else None
            found += body.transactions if body else ()
        return found

    # --- transactions --------------------------------------------------------------------------------------

    def submit_transaction(self, transaction: Transaction, way: str) -> None:
        """From this node's own users: into the pool, and to the others. Raises RuleError with a plain reason."""
        self.receive_transaction(transaction, way)
        self._announce([transaction])

    def receive_transaction(self, transaction: Transaction, way: str, checked: bool = False) -> None:
        """Into the pool. `checked`: it is known to meet rule L1. Raises RuleError."""
        try:
            self._mempool.add(transaction, self._chain.state(), self._chain.head.height + 1, checked)
        except RuleError as error:
            log.debug("transaction_refused", id=transaction.id, way=way, reason=str(error))
            raise
        log.debug("transaction", id=transaction.id, way=way, kind=transaction.payload.kind)
