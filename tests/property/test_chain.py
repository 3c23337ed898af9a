"""Random transfers, blocks, forks, reorganisations and crashes on a real LevelDB.

The blocks' training is nobody's: `commit` takes what the pipeline has checked, and does not look at tickets.
"""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consensus.errors import CannotPay, FalseShare, InvalidTransaction, NothingToBurn
from consensus.seal import ticket
from consensus.shares import Below, check_carried
from consensus.state import Payouts, State
from consensus.task import TaskState
from consensus.template import genesis_state
from consensus.transaction import apply_transaction
from consensus.transition import apply_block
from deepblock.cid import Cid
from deepblock.codec import decode
from deepblock.spec import TaskSpec, session_macs
from deepblock.transactions import FraudProof, Transaction
from deepblock.types import Account, Block, Body, Share
from node.chain import Chain
from node.mempool import Mempool
from node.storage import schema
from node.storage.database import Database
from tests.unit.consensus.parts import ALICE, BOB, CAROL, PARAMS, transfer
from tests.unit.consensus.test_state_tree import reference
from tests.unit.node.chain_parts import block_on, contents

SMALL = replace(PARAMS, maturity=3, finality=4, halving=1)
WALLETS = (ALICE, BOB, CAROL)
WHO = st.integers(0, 2)


class Chains(RuleBasedStateMachine):
    """A chain and its pool, and beside them every block and body that was ever made."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.database = Database(self.folder / "chain")
        self.chain = Chain(self.database, SMALL)
        self.pool = Mempool(SMALL, self.chain.network)
        self.blocks: dict[Cid, tuple[Block, Body]] = {}
        self.order = [self.chain.network]
        self.lost: list[Share] = []
        self.nonce = 0
        for miner in (0, 1, 2, 0, 1, 2):  # who has mined can pay
            self.commit(*self.made(self.chain.head.id, (), miner, 10))

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    # --- what can happen -------------------------------------------------------------------------------------

    @rule(
        transfers=st.lists(
            st.tuples(WHO, WHO, st.integers(0, 10**9) | st.just(10**10)), min_size=1, max_size=4
        )
    )
    def somebody_sends(self, transfers: list[tuple[int, int, int]]) -> None:
        for sender, receiver, amount in transfers:
            wallet, state = WALLETS[sender], self.chain.state()
            nonce = self.pool.next_nonce(wallet.address, state)
            transaction = transfer(
                wallet, WALLETS[receiver].address, amount, nonce, network=self.chain.network
            )
            try:
                self.pool.add(transaction, state, self.chain.head.height + 1)
            except InvalidTransaction:
                assert transaction not in self.pool.pending()
            else:
                assert self.pool.pending()[-1] == transaction

    @rule(prover=WHO, which=st.integers(0, 3), off=st.sampled_from((0, 0, 0, 1)))
    def somebody_proves_a_fraud(self, prover: int, which: int, off: int) -> None:
        """Of a share of the head's chain (or of a height where it is not)."""
        carried = [
            (share.id, self.blocks[cid][0].height)
            for cid in self.way_to(self.chain.head.id)
            for share in self.blocks[cid][1].shares
        ]
        accused = {getattr(waiting.payload, "share", None) for waiting in self.pool.pending()}
        if not carried or carried[-1 - which % len(carried)][0] in accused:
            return
        share, height = carried[-1 - which % len(carried)]
        wallet, state, next_height = WALLETS[prover], self.chain.state(), self.chain.head.height + 1
        nonce = self.pool.next_nonce(wallet.address, state)
        proof = wallet.sign(FraudProof(self.chain.network, wallet.key, nonce, 10_000, share, height + off, 1))
        named = {payout.share for payout in state.payouts(height + off + SMALL.maturity).items}
        try:
            self.pool.add(proof, self.chain.state(), next_height)
        except NothingToBurn:
            assert share not in named or next_height == height + SMALL.maturity
        except CannotPay:  # a branch may have taken all that the prover had, or what waits may spend it
            for waiting in self.pool.pending():
                if waiting.payload.sender == wallet.key:
                    apply_transaction(SMALL, state, next_height, waiting)
            assert state.account(wallet.address).balance < proof.payload.fee
        else:
            assert share in named

    @rule(miner=WHO, seconds=st.integers(1, 30), data=st.data())
    def a_block_on_the_head(self, miner: int, seconds: int, data: st.DataObject) -> None:
        chosen = self.pool.choose(self.chain.state(), self.chain.head.height + 1)
        if data.draw(st.booleans()):
            self.a_session_is_lost(miner, seconds, 0)
        shares = self.carriable(self.chain.head.id, seconds, data)
        self.commit(*self.made(self.chain.head.id, chosen, miner, seconds, shares))

    @rule(miner=WHO, seconds=st.integers(1, 30), back=st.integers(0, 2))
    def a_session_is_lost(self, miner: int, seconds: int, back: int) -> None:
        """Nobody has a block of it, but it may be a share."""
        block, _ = self.made(self.order[-1 - back % len(self.order)], (), miner, seconds)
        self.lost.append(Share(block.header, block.seal))

    @rule(miner=WHO, seconds=st.integers(-30, 10), back=st.integers(0, 6), data=st.data())
    def a_block_on_another(self, miner: int, seconds: int, back: int, data: st.DataObject) -> None:
        parent = self.order[-1 - back % len(self.order)]
        shares = self.carriable(parent, seconds, data)
        self.commit(*self.made(parent, self.drawn(parent, data), miner, seconds, shares))

    @rule(miner=WHO, back=st.integers(1, 5), data=st.data())
    def a_branch_overtakes(self, miner: int, back: int, data: st.DataObject) -> None:
        """From `back` blocks below the head on; from too deep it never does, however heavy."""
        old = self.chain.head
        parent = ([self.chain.network, *self.way_to(old.id)])[-1 - back :][0]
        depth = old.height - self.chain.tree.nodes[parent].height
        transactions, shares = self.drawn(parent, data), self.carriable(parent, -20, data)
        while self.weight(parent) <= old.weight:
            block, body = self.made(parent, transactions, miner, -20, shares)
            self.commit(block, body)
            parent, transactions, shares = block.id, (), ()
        assert (self.chain.head.id == parent) is (depth <= SMALL.finality)

    @rule()
    def a_restart(self) -> None:
        before, head = contents(self.database), self.chain.head
        self.database.close()
        self.database = Database(self.folder / "chain")
        self.chain = Chain(self.database, SMALL)
        assert contents(self.database) == before
        assert self.chain.head == head

    @rule(cut=st.integers(0, 400))
    def a_power_cut(self, cut: int) -> None:
        """A commit of which the disk has all but the last bytes: it never happened, or it did, wholly."""
        before, nodes = contents(self.database), set(self.chain.tree.nodes)
        self.commit(*self.made(self.chain.head.id, (), 0, 10))
        after, crashed = contents(self.database), self.folder / "crashed"
        shutil.copytree(self.folder / "chain", crashed)
        log = max(crashed.glob("*.log"), key=lambda path: path.name)
        with log.open("r+b") as file:
            file.truncate(max(0, log.stat().st_size - cut))
        with Database(crashed) as database:
            found = contents(database)
            assert found == (before if cut else after)
            chain = Chain(database, SMALL)
            assert set(chain.tree.nodes) == (nodes if cut else set(self.chain.tree.nodes))
        shutil.rmtree(crashed)

    # --- what is always true ---------------------------------------------------------------------------------

    @invariant()
    def the_state_is_that_of_a_replay(self) -> None:
        stored = dict(self.database.items(schema.STATE))
        assert stored == self.replayed(self.chain.head.id)
        assert self.chain.head.state_root == reference(stored)

    @invariant()
    def no_money_appears_or_is_lost(self) -> None:
        stored = dict(self.database.items(schema.STATE))
        balances = sum(decode(Account, data).balance for key, data in stored.items() if key[:1] == b"a")
        waiting = sum(
            payout.amount
            for key, data in stored.items()
            if key[:1] == b"p"
            for payout in decode(Payouts, data).items
        )
        contracts = [decode(TaskState, data).contract for key, data in stored.items() if key[:1] == b"t"]
        held = sum(contract.escrow + contract.reserved for contract in contracts if contract)
        assert balances + waiting + held == State(stored.get).supply().issued

    @invariant()
    def the_index_is_that_of_the_heads_chain(self) -> None:
        chain = self.way_to(self.chain.head.id)
        heights = dict(self.database.items(schema.HEIGHT))
        assert list(heights.values()) == [self.chain.network, *chain]
        placed = {
            transaction.id: (block, self.blocks[block][0].height, index)
            for block in chain
            for index, transaction in enumerate(self.blocks[block][1].transactions)
        }
        assert {Cid(key) for key, _ in self.database.items(schema.TRANSACTION)} == set(placed)
        assert all(self.chain.locate(transaction) == place for transaction, place in placed.items())

    @invariant()
    def what_waits_could_be_in_the_next_block(self) -> None:
        state = self.chain.state()
        for transaction in self.pool.pending():
            apply_transaction(SMALL, state, self.chain.head.height + 1, transaction)
            assert self.chain.locate(transaction.id) is None

    # --- how -------------------------------------------------------------------------------------------------

    def drawn(self, parent: Cid, data: st.DataObject) -> tuple[Transaction, ...]:
        """Transfers that suit a block on `parent`, some of them the pool's or another branch's."""
        known = {t.id: t for _, body in self.blocks.values() for t in body.transactions}
        known.update({t.id: t for t in self.pool.pending()})
        state, fitting = self.chain.state(parent), []
        wanted = data.draw(st.sets(st.sampled_from(sorted(known)), max_size=3)) if known else set()
        for transaction in sorted((known[cid] for cid in wanted), key=lambda t: t.payload.nonce):
            try:
                apply_transaction(SMALL, state, self.chain.head.height + 1, transaction)
            except InvalidTransaction:
                continue
            fitting.append(transaction)
        return tuple(fitting)

    def made(
        self,
        parent: Cid,
        transactions: tuple[Transaction, ...],
        miner: int,
        seconds: int,
        shares: tuple[Share, ...] = (),
    ) -> tuple[Block, Body]:
        self.nonce += 1
        address = WALLETS[miner].address
        return block_on(self.chain, parent, transactions, address, self.nonce, seconds, shares=shares)

    def carriable(self, parent: Cid, seconds: int, data: st.DataObject) -> tuple[Share, ...]:
        """Sessions that a block on `parent` can carry: the rule takes those, and only those, that a plain look at the
        whole chain allows."""
        blocks = [Share(block.header, block.seal) for block, _ in self.blocks.values()]
        known = [*blocks[-4:], *self.lost[-4:]]
        if not known:
            return ()
        wanted = data.draw(st.lists(st.sampled_from(range(len(known))), max_size=SMALL.max_shares))
        chosen: list[Share] = []
        for share in (known[place] for place in wanted):
            shares = (*chosen, share)
            block, body = self.made(parent, (), 0, seconds, shares)
            try:
                check_carried(SMALL, self.chain.state(parent), block, body, self.chain.past(parent))
            except FalseShare:
                assert not self.allowed(block, shares)
            else:
                assert self.allowed(block, shares)
                chosen.append(share)
        return tuple(chosen)

    def allowed(self, block: Block, shares: tuple[Share, ...]) -> bool:
        """By the whole chain below `block`, from the genesis on. (Their headers are in order on their own parents.)"""
        way = self.way_to(block.header.parent)
        bodies = [self.blocks[cid] for cid in way]
        once = [made.header.cid for made, _ in bodies]
        once += [share.header.cid for _, body in bodies for share in body.shares]
        once += [share.header.cid for share in shares]
        return len(set(once)) == len(once) and all(
            share.header.parent in [self.chain.network, *way][-SMALL.share_age :]
            and share.header.timestamp <= block.header.timestamp + SMALL.max_future
            and wins_a_share(self.chain.specs[share.header.task], share)
            for share in shares
        )

    def commit(self, block: Block, body: Body) -> None:
        """As the pipeline does it; and the head is where a plain look at all chains says."""
        parent, old = block.header.parent, self.chain.head
        state = self.chain.state(parent)
        apply_block(SMALL, state, block, body, self.chain.past(parent))
        switch = self.chain.commit(block, body, state.delta())
        self.blocks[block.id] = (block, body)
        self.order.append(block.id)

        ours, theirs = self.way_to(old.id), self.way_to(block.id)
        undone = [cid for cid in ours if cid not in theirs]
        heavier = self.weight(block.id) > self.weight(old.id)
        if not heavier or len(undone) > SMALL.finality:
            assert switch is None
            assert self.chain.head == old
            return
        assert switch is not None
        assert self.chain.head.id == block.id
        assert list(switch.undo) == undone[::-1]
        assert list(switch.apply) == [cid for cid in theirs if cid not in ours]
        back = [transaction for cid in undone for transaction in self.blocks[cid][1].transactions]
        gone = [transaction for cid in switch.apply for transaction in self.blocks[cid][1].transactions]
        self.pool.follow(back, gone, self.chain.state(), self.chain.head.height + 1)
        self.undone_transfers_wait_again(back, {transaction.id for transaction in gone})

    def undone_transfers_wait_again(self, back: list[Transaction], gone: set[Cid]) -> None:
        """Those that the new chain has not, and allows in the order of the old one."""
        state = self.chain.state()
        for transaction in back:
            try:
                apply_transaction(SMALL, state, self.chain.head.height + 1, transaction)
            except InvalidTransaction:
                continue
            assert transaction.id not in gone
            assert self.pool.get(transaction.id) == transaction

    def way_to(self, block: Cid) -> list[Cid]:
        way: list[Cid] = []
        while block in self.blocks:
            way.append(block)
            block = self.blocks[block][0].header.parent
        return way[::-1]

    def weight(self, block: Cid) -> int:
        return sum(self.blocks[cid][0].header.difficulty for cid in self.way_to(block))

    def replayed(self, block: Cid) -> dict[bytes, bytes]:
        """The state after a block, from the genesis on, in memory."""
        state = State(lambda key: None)
        genesis_state(SMALL, state)
        after = {self.chain.network: whole(state)}

        def past(parent: Cid) -> Below | None:
            near = list(after)[-SMALL.share_age :]
            return Below(self.chain.ancestry(parent), State(after[parent].get)) if parent in near else None

        for cid in self.way_to(block):
            apply_block(SMALL, state, *self.blocks[cid], past)
            after[cid] = whole(state)
        return after[block]


def whole(state: State) -> dict[bytes, bytes]:
    """All of a state that began empty."""
    return {change.key: change.new for change in state.delta().changes if change.new is not None}


def wins_a_share(spec: TaskSpec, share: Share) -> bool:
    """t · D < r · c · 2^256"""
    work = SMALL.share_ratio * min(session_macs(spec), 384) << 256 + 16
    return ticket(share.header, share.seal) * share.header.difficulty < work


TestChains = Chains.TestCase
TestChains.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
