"""Transactions of a block are looked at ahead, in threads; what is judged is judged by the rules."""

import asyncio
import threading
from dataclasses import replace

import pytest

from consensus import body as body_rule
from consensus.errors import BadSignature
from deepblock.codec import encode
from deepblock.primitives import Signature
from deepblock.types import Body
from node import signatures
from node.chain import Chain
from node.config import load_params
from node.mempool import Mempool
from node.pipeline import Origin, Pipeline
from node.signatures import FEW, in_order
from node.storage.database import Database
from tests.bench.blocks import Bodies, NoAudits
from tests.bench.chains import Payers, child, grow
from tests.unit.consensus.parts import NETWORK, PARAMS

TRANSFERS = Payers(NETWORK, FEW + 5).body(FEW + 5).transactions


def forged(transaction):
    return replace(transaction, signature=Signature(bytes(transaction.signature[:32]) + b"\1" + bytes(31)))


def ids(transactions):
    return {transaction.id for transaction in transactions}


def found(transactions, known=(), threads=3):
    return asyncio.run(in_order(PARAMS, NETWORK, transactions, known, threads))


@pytest.mark.parametrize("threads", [1, 2, 3, 100])
def test_all_that_are_in_order_are_found(threads):
    assert found(TRANSFERS, threads=threads) == ids(TRANSFERS)


@pytest.mark.parametrize("place", [0, 7, len(TRANSFERS) - 1])
@pytest.mark.parametrize("threads", [1, 4])
def test_one_that_is_refused_is_never_found(place, threads):
    mixed = [*TRANSFERS[:place], bad := forged(TRANSFERS[place]), *TRANSFERS[place + 1 :]]
    met = found(mixed, threads=threads)
    assert bad.id not in met
    assert met <= ids(TRANSFERS)


def test_what_is_known_is_found_without_a_look(monkeypatch):
    looked = []
    monkeypatch.setattr(signatures, "check_transaction", lambda *args: looked.append(args[2].id))
    known = ids(TRANSFERS[:3])
    assert found(TRANSFERS, known) == ids(TRANSFERS)
    assert set(looked) == ids(TRANSFERS[3:])
    assert len(looked) == len(TRANSFERS) - 3


def test_few_are_left_to_the_rules(monkeypatch):
    monkeypatch.setattr(signatures, "check_transaction", lambda *_: pytest.fail("looked at"))
    assert found(TRANSFERS[:FEW]) == set()
    assert found(TRANSFERS[: FEW + 1], ids(TRANSFERS[:1])) == ids(TRANSFERS[:1])


def test_the_loop_is_not_held_up(monkeypatch):
    """The loop has turns while transactions are looked at: one of them waits for the loop."""
    turn = threading.Event()
    monkeypatch.setattr(signatures, "check_transaction", lambda *_: turn.wait(10) or pytest.fail("no turn"))

    async def look():
        looking = asyncio.create_task(in_order(PARAMS, NETWORK, TRANSFERS, (), 2))
        await asyncio.sleep(0.01)
        turn.set()
        return await looking

    assert asyncio.run(look()) == ids(TRANSFERS)


def test_a_bug_is_not_taken_for_a_refusal(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(signatures, "check_transaction", broken)
    with pytest.raises(ZeroDivisionError):
        found(TRANSFERS)


@pytest.fixture
def chains(tmp_path):
    """Two with the same rich payers: one that blocks are made on, one that they are given to; and the payers."""
    with Database(tmp_path / "source") as here, Database(tmp_path / "target") as there:
        source, target = (Chain(database, load_params("devnet")) for database in (here, there))
        payers = Payers(source.network, len(TRANSFERS))
        bodies = [*[Body()] * 20, payers.funding(1 << 20)]
        for block, body in zip(grow(source, bodies), bodies, strict=True):
            give(target, block, body)
        yield source, target, payers


def give(chain, block, body):
    async def publish(topic, data):
        pass

    mempool = Mempool(chain.params, chain.network)
    bodies = Bodies({body.cid: encode(body)})
    pipeline = Pipeline(
        chain, mempool, bodies, NoAudits(), publish, lambda: block.header.timestamp, threads=2
    )
    asyncio.run(pipeline.receive(block, Origin("test")))


def test_a_full_block_is_looked_at_once(chains, monkeypatch):
    source, target, payers = chains
    monkeypatch.setattr(body_rule, "check_transaction", lambda *_: pytest.fail("looked at again"))
    body = payers.body(len(TRANSFERS))
    block = child(source, body)
    give(target, block, body)
    assert target.head.id == block.id
    assert target.state().account(body.transactions[0].payload.sender.address).nonce == 1


def test_a_full_block_with_one_forged_signature_is_refused_with_its_reason(chains):
    source, target, payers = chains
    transactions = list(payers.body(len(TRANSFERS)).transactions)
    transactions[11] = forged(transactions[11])
    body = Body(tuple(transactions))
    block = child(source, body)
    head = target.head
    with pytest.raises(BadSignature):
        give(target, block, body)
    assert target.head == head
    assert target.rejection(block.id) == str(BadSignature())
