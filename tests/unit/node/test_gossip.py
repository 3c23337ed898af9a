"""What is passed on, and what is not."""

from functools import partial

import pytest

from deepblock.cid import cid_of_block
from deepblock.codec import Malformed, encode
from node.allowance import Allowance
from node.gossip import ACCUSATIONS_AT_ONCE, BATCH, TRANSACTIONS_AT_ONCE, validators
from node.messages import Accusation, Batch, topic_of
from tests.unit.consensus.parts import ALICE, BOB, transfer
from tests.unit.node.chain_parts import open_chain

STRANGE = cid_of_block(b"a block that is not here")


@pytest.fixture
def passed_on(tmp_path, monkeypatch):
    monkeypatch.setattr("node.gossip.Allowance", partial(Allowance, clock=lambda: 0.0))
    chain, database = open_chain(tmp_path)
    checks = validators(chain.params, chain.network, chain.specs.get, lambda block: block != STRANGE)
    yield lambda what, message, peer="a peer": checks[topic_of(chain.network, what)](peer, encode(message))
    database.close()


def test_a_batch_of_nothing_is_no_message(passed_on):
    with pytest.raises(Malformed, match="nothing"):
        passed_on("transactions", Batch(()))


def test_many_small_batches_count_for_more_than_their_transactions(passed_on):
    batch = Batch((transfer(ALICE, BOB.address, 5),))
    most = int(TRANSACTIONS_AT_ONCE) // (1 + BATCH)
    taken = [passed_on("transactions", batch) for _ in range(2 * most)]
    assert sum(found is not None for found in taken) == most
    assert passed_on("transactions", batch, "another") == batch


def test_accusations_are_passed_on_at_a_bounded_rate(passed_on):
    accusation = Accusation(cid_of_block(b"a block"), 1)
    taken = [passed_on("frauds", accusation) for _ in range(50)]
    assert sum(found is not None for found in taken) == ACCUSATIONS_AT_ONCE
    assert passed_on("frauds", accusation, "another") == accusation


def test_accusations_of_blocks_that_are_not_here_use_nothing_up(passed_on):
    assert [passed_on("frauds", Accusation(STRANGE, 1)) for _ in range(50)] == [None] * 50
    assert passed_on("frauds", Accusation(cid_of_block(b"a block"), 1)) is not None
