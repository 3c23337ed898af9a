"""Shares that a block carries unheard, and accusations of them. Only the worker and the network are not real."""

import asyncio
from pathlib import Path

import pytest

from consensus.audit import Findings
from consensus.transition import apply_block
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.codec import encode
from deepblock.keys import Wallet
from deepblock.primitives import DBK
from deepblock.transactions import FraudProof, Transaction
from deepblock.types import Account, Body, Seal
from node.auditor import Auditor
from node.mempool import Mempool
from node.pipeline import Pipeline
from node.proofs import Proofs
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import ALICE, BOB, PARAMS, named
from tests.unit.node.chain_parts import open_chain


class Worker:
    """Replays in no time: all is true but what is in `false`, a state's CID."""

    def __init__(self, false: set[Cid]) -> None:
        self.false = false
        self.replays = 0

    async def audit(self, spec, seed, model, seal: Seal, segments) -> Findings:
        self.replays += 1
        found = {
            i: named("another") if seal.states[i - 1] in self.false else seal.states[i - 1] for i in segments
        }
        return Findings(found, seal.average, seal.score)


class Everything:
    """All files are here, and all data."""

    async def file(self, cid: Cid, *_: object) -> None:
        pass

    async def ensure(self, task: Cid) -> None:
        pass


class Lone:
    """A node on a chain whose second block carries two shares, of which it has heard nothing."""

    def __init__(self, folder: Path, wallet: Wallet) -> None:
        self.chain, self._database = open_chain(folder)
        line = Line()
        line.grow()
        self.shares = [line.share(line.head), line.share(line.head)]
        line.grow(Body((), tuple(self.shares)))
        for block, body in line.blocks.values():
            state = self.chain.state(block.header.parent)
            apply_block(PARAMS, state, block, body, self.chain.past(block.header.parent))
            self.chain.commit(block, body, state.delta())
        self.worker = Worker(set())
        self.sent: list[Transaction] = []
        self.mempool = Mempool(PARAMS, self.chain.network)
        auditor = Auditor(
            self.chain, self.worker, Everything(), Blockstore(folder / "blobs"), Everything(), lambda below: 0, "sample"
        )  # fmt: skip
        pipeline = Pipeline(self.chain, self.mempool, Everything(), auditor, self._publish, lambda: 0.0)
        pipeline.on_transaction.append(self.sent.append)
        self.proofs = Proofs(self.chain, auditor, self.mempool, pipeline, wallet)
        self.auditor = auditor

    async def _publish(self, topic: str, data: bytes) -> None:
        """No block is mined or disproved here."""

    def look(self) -> int:
        """Until there is nothing more to do. How often there was."""
        times = 0
        while asyncio.run(self.proofs.look()):
            times += 1
        return times

    def accusation(self, by: Wallet, share: int = 0, step: int = 1) -> Transaction:
        payload = FraudProof(self.chain.network, by.key, 0, 10_000, self.shares[share].id, 2, step)
        return by.sign(payload)

    def close(self) -> None:
        self._database.close()


@pytest.fixture
def node(tmp_path, monkeypatch):
    rich = Account(DBK, 0)
    monkeypatch.setattr("consensus.state.State.account", lambda self, address: rich)
    lone = Lone(tmp_path, ALICE)
    yield lone
    lone.close()


def test_true_shares_are_replayed_once(node):
    assert node.look() == 2
    assert node.worker.replays == 2 and not node.sent
    assert node.look() == 0


def test_what_was_heard_is_not_replayed_again(node):
    node.auditor.note_share(node.shares[0])
    assert node.look() == 1


def test_a_false_one_is_accused_of_its_step_and_the_accusation_may_be_carried(node):
    node.worker.false = {node.shares[1].seal.states[-1]}
    node.look()
    (proof,) = node.sent
    assert proof.payload.share == node.shares[1].id
    assert (proof.payload.height, proof.payload.step) == (2, len(node.shares[1].seal.states))
    assert proof.payload.fee >= PARAMS.fee_per_byte * len(encode(proof))
    assert node.proofs.hold(proof) and node.mempool.get(proof.id)


def test_an_accusation_is_carried_only_when_this_node_has_found_it_true(node):
    true, untrue = node.accusation(ALICE, 0, 2), node.accusation(BOB, 1, 2)
    node.worker.false = {node.shares[0].seal.states[1]}
    for transaction in (true, untrue):
        node.mempool.add(transaction, node.chain.state(), 3)
    state = node.chain.state()
    assert node.mempool.choose(state, 3, 0, node.proofs.hold) == ()
    node.look()
    assert node.mempool.choose(node.chain.state(), 3, 0, node.proofs.hold) == (true,)
