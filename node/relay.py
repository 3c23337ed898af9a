"""Transactions on their way to others. Gathered for a moment, so that many are one message: a gossip message costs
every node about as much as checking ten transfers. And asked for, since gossip loses some.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import structlog

from consensus.errors import NotYet, RuleError
from consensus.params import Params
from consensus.transaction import check_transaction
from deepblock.cid import Cid
from deepblock.codec import Malformed, decode, encode
from deepblock.transactions import Transaction
from node.fetch import Fetcher
from node.mempool import Mempool
from node.messages import MAX_BATCH, MAX_PIECES, Batch, topic_of
from node.p2p.door import Door
from node.p2p.events import DoorError
from node.peers import BAN_SCORE, Peers
from node.pipeline import MAX_TRANSACTION, Pipeline, Publish

log = structlog.get_logger("relay")

GATHER: Final = 1.0
"""Seconds between two messages at least. What comes after a pause goes at once, what comes in between waits."""
LOOK_EVERY: Final = 2.0
"""Seconds between two looks into somebody else's pool."""
MOST_AT_ONCE: Final = 32 * MAX_PIECES
"""Transactions that one look brings."""
REFUSED: Final = 4_096
"""Ids that are not asked for again: payable nowhere, or not on our head."""


class Relay:
    """Tells the others of transactions, and looks for those that nobody has told this node of."""

    def __init__(
        self, params: Params, network: Cid, mempool: Mempool, pipeline: Pipeline,
        fetcher: Fetcher, door: Door, peers: Peers, publish: Publish,
    ) -> None:  # fmt: skip
        self._params = params
        self._network = network
        self._mempool = mempool
        self._pipeline = pipeline
        self._fetcher = fetcher
        self._door = door
        self._peers = peers
        self._publish = publish
        self._gathered: list[Transaction] = []
        self._wake = asyncio.Event()
        self._refused: OrderedDict[Cid, None] = OrderedDict()

    def tell(self, transaction: Transaction) -> None:
        """The others are to hear of it."""
        self._gathered.append(transaction)
        self._wake.set()

    async def run(self, ready: asyncio.Event) -> None:
        """Until cancelled. `ready`: set while the node is caught up; before, it cannot tell what is payable."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_looking(ready))
            while True:
                await self._wake.wait()
                await asyncio.sleep(0)  # the rest of a burst
                self._wake.clear()
                gathered, self._gathered = self._gathered, []
                for batch in batches(gathered):
                    await self._publish(topic_of(self._network, "transactions"), encode(batch))
                await asyncio.sleep(GATHER)

    async def _keep_looking(self, ready: asyncio.Event) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await ready.wait()
            if connected := self._door.peers():
                peer = random.choice(connected).id
                try:
                    await self.look(peer)
                except DoorError as error:
                    log.debug("pool_not_seen", peer=peer, reason=str(error))
                except Malformed as error:
                    self._peers.penalise(peer, BAN_SCORE, f"undecodable pool: {error}")

    async def look(self, peer: str) -> None:
        """Takes from a peer's pool what is not in ours. Raises DoorError, Malformed."""
        theirs = await self._fetcher.pool(peer)
        missing = [id_ for id_ in theirs if id_ not in self._mempool and id_ not in self._refused]
        for start in range(0, min(len(missing), MOST_AT_ONCE), MAX_PIECES):
            wanted = missing[start : start + MAX_PIECES]
            pieces = await self._fetcher.pieces(peer, wanted)
            for id_ in wanted:
                if id_ in pieces:
                    self._take(decode(Transaction, pieces[id_], MAX_TRANSACTION), peer)

    def _take(self, transaction: Transaction, peer: str) -> None:
        if transaction.id in self._mempool:
            return
        try:
            check_transaction(self._params, self._network, transaction)
        except RuleError as error:
            self._peers.penalise(peer, BAN_SCORE, f"has an invalid transaction in its pool: {error}")
            return
        try:
            self._pipeline.receive_transaction(transaction, "pool", checked=True)
        except NotYet:
            pass  # there may be room later
        except RuleError:
            self._refused[transaction.id] = None
            if len(self._refused) > REFUSED:
                self._refused.popitem(last=False)


def batches(transactions: list[Transaction]) -> Iterator[Batch]:
    """All of them, in their order, in as few messages as are allowed."""
    batch: list[Transaction] = []
    size = 0
    for transaction in transactions:
        if batch and size + transaction.size > MAX_BATCH:
            yield Batch(tuple(batch))
            batch, size = [], 0
        batch.append(transaction)
        size += transaction.size
    if batch:
        yield Batch(tuple(batch))
