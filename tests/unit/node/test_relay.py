"""Transactions in batches, and those that no gossip brought. Only the network is not real."""

import asyncio
from pathlib import Path

from deepblock.cid import Cid
from deepblock.codec import decode, encode
from deepblock.transactions import Transaction
from node.fetch import Fetcher
from node.mempool import Mempool
from node.messages import MAX_BATCH, Batch
from node.peers import BAN_SCORE
from node.pipeline import Pipeline
from node.relay import Relay, batches
from tests.unit.consensus.parts import ALICE, BOB, PARAMS, transfer
from tests.unit.node.chain_parts import extend, open_chain

PEER = "a peer"


class Net(Fetcher):
    """A peer with a pool."""

    def __init__(self, *pool: Transaction) -> None:
        self.there = {transaction.id: transaction for transaction in pool}
        self.asked: list[Cid] = []
        self.sent: list[Batch] = []
        self.penalties: list[tuple[float, str]] = []

    async def pool(self, peer: str) -> tuple[Cid, ...]:
        return tuple(self.there)

    async def pieces(self, peer: str, cids) -> dict[Cid, bytes]:
        self.asked += cids
        return {cid: encode(self.there[cid]) for cid in cids}

    def penalise(self, peer: str, points: float, reason: str) -> None:
        self.penalties.append((points, reason))

    async def publish(self, topic: str, data: bytes) -> None:
        self.sent.append(decode(Batch, data))


class Parts:
    """A node with a relay, on a chain that made Alice rich."""

    def __init__(self, folder: Path, net: Net) -> None:
        self.chain, self.database = open_chain(folder)
        for _ in range(PARAMS.maturity + 1):
            extend(self.chain)
        self.mempool = Mempool(PARAMS, self.chain.network)
        self.pipeline = Pipeline(self.chain, self.mempool, net, None, net.publish, lambda: 0.0)  # type: ignore[arg-type]
        self.relay = Relay(
            PARAMS, self.chain.network, self.mempool, self.pipeline, net, None, net, net.publish  # type: ignore[arg-type]
        )  # fmt: skip
        self.pipeline.on_transaction.append(self.relay.tell)


def pays(nonce: int, amount: int = 5) -> Transaction:
    return transfer(ALICE, BOB.address, amount, nonce)


def test_what_the_others_have_is_taken_in_their_order_once(tmp_path: Path) -> None:
    waiting = [pays(nonce) for nonce in range(5)]
    net = Net(*waiting)
    parts = Parts(tmp_path, net)
    for _ in range(2):
        asyncio.run(parts.relay.look(PEER))
    assert parts.mempool.pending() == waiting
    assert net.asked == [transaction.id for transaction in waiting]
    parts.database.close()


def test_what_cannot_be_paid_here_is_not_asked_for_again(tmp_path: Path) -> None:
    net = Net(pays(7))
    parts = Parts(tmp_path, net)
    for _ in range(2):
        asyncio.run(parts.relay.look(PEER))
    assert not parts.mempool.pending()
    assert len(net.asked) == 1 and not net.penalties
    parts.database.close()


def test_who_has_an_invalid_one_in_its_pool_is_banned(tmp_path: Path) -> None:
    true = pays(0)
    net = Net(Transaction(true.payload, pays(1).signature))
    parts = Parts(tmp_path, net)
    asyncio.run(parts.relay.look(PEER))
    ((points, reason),) = net.penalties
    assert points == BAN_SCORE and "invalid transaction" in reason
    assert not parts.mempool.pending()
    parts.database.close()


def test_many_at_once_are_few_messages_in_their_order(tmp_path: Path) -> None:
    net = Net()
    parts = Parts(tmp_path, net)
    sent = [pays(nonce) for nonce in range(40)]

    async def play() -> None:
        running = asyncio.create_task(parts.relay.run(asyncio.Event()))
        for transaction in sent:
            parts.pipeline.submit_transaction(transaction, "test")
        await asyncio.sleep(0.3)
        running.cancel()

    asyncio.run(play())
    (batch,) = net.sent
    assert list(batch.transactions) == sent
    parts.database.close()


def test_a_batch_is_bounded() -> None:
    many = [pays(nonce) for nonce in range(1_000)]
    made = list(batches(many))
    assert [transaction for batch in made for transaction in batch.transactions] == many
    assert len(made) > 1
    assert all(sum(transaction.size for transaction in batch.transactions) <= MAX_BATCH for batch in made)
