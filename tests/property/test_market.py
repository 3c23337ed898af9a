"""Random sponsors and miners on random chains: money, turns and ends of tasks, through forks, crashes and all."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from consensus.errors import InvalidTransaction
from consensus.market import pending
from consensus.task import Contract
from consensus.transaction import apply_transaction
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.transactions import CloseTask, FundTask, OpenTask, Payload
from deepblock.types import Block, Body, Share
from tests.property.test_chain import SMALL, WALLETS, WHO, Chains
from tests.unit.consensus.market_parts import spec_of
from tests.unit.consensus.parts import FIRST
from tests.unit.node.chain_parts import block_on

NAMES = [f"task {number}" for number in range(6)]
TASKS = {cid_of(spec_of(name)): spec_of(name) for name in NAMES}
EPOCH = SMALL.epoch


class Markets(Chains):
    """`holders`: signal a pending task, of every four miners. `loss`: of the sessions that become blocks."""

    holders = 4
    loss = 1_000_000

    @initialize(first=st.sampled_from((10**8, 2 * 10**8)), goal=st.sampled_from((None, 10**6)))
    def begin_a_market(self, first: int, goal: int | None) -> None:
        """Two tasks, so far on that one is being trained, and the other will be."""
        super().begin()
        self.somebody_opens(0, NAMES[0], first, 3 * EPOCH, goal)
        self.somebody_opens(1, NAMES[1], 10**8, 2 * EPOCH, None)
        self.time_goes_by(5 * EPOCH - 1 - self.chain.head.height, 2, 10)
        assert self.chain.state().schedule().current in TASKS
        self.time_goes_by(2, 2, 10)

    # --- what can happen -------------------------------------------------------------------------------------

    @rule(
        who=WHO,
        name=st.sampled_from(NAMES),
        pay=st.sampled_from((1, 7, 10**6, 10**9)),
        money=st.integers(EPOCH - 1, 3 * EPOCH),
        goal=st.sampled_from((None, 1, 10**6)),
    )
    def somebody_opens(self, who: int, name: str, pay: int, money: int, goal: int | None) -> None:
        """`money`: for so many blocks. The subsidy halves with each block, so the height decides what is too little."""
        self.send(who, OpenTask, spec=spec_of(name), pay=pay, escrow=money * pay, target=goal)

    @rule(who=WHO, task=st.sampled_from(sorted(TASKS)), amount=st.integers(0, 10**7))
    def somebody_funds(self, who: int, task: Cid, amount: int) -> None:
        self.send(who, FundTask, task=task, amount=amount)

    @rule(who=WHO, task=st.sampled_from(sorted(TASKS)))
    def somebody_ends(self, who: int, task: Cid) -> None:
        self.send(who, CloseTask, task=task)

    @rule(holders=st.sampled_from((0, 3, 4)), loss=st.sampled_from((0, 990_000, 1_000_000, 10**12)))
    def miners_change(self, holders: int, loss: int) -> None:
        self.holders, self.loss = holders, loss

    @rule(blocks=st.integers(EPOCH, 6 * EPOCH), miner=WHO, seconds=st.sampled_from((10, 10, 80)))
    def time_goes_by(self, blocks: int, miner: int, seconds: int) -> None:
        """With blocks so far apart, they fall back on base task 0."""
        for _ in range(blocks):
            head = self.chain.head
            chosen = self.pool.choose(self.chain.state(), head.height + 1)
            self.commit(*self.made(head.id, chosen, miner, seconds))

    # --- what is always true ---------------------------------------------------------------------------------

    @invariant()
    def a_tasks_money_is_what_came_in_less_what_blocks_paid(self) -> None:
        blocks = [self.blocks[cid] for cid in self.way_to(self.chain.head.id)]
        payloads = [transaction.payload for _, body in blocks for transaction in body.transactions]
        for task, contract in self.contracts().items():
            came = sum(brought(payload, task) for payload in payloads)
            paid = sum(due(contract.pay, block, body) for block, body in blocks if block.header.task == task)
            assert paid <= came
            if contract.closed:
                assert contract.escrow == contract.reserved == 0
            else:
                assert contract.escrow + contract.reserved == came - paid

    @invariant()
    def what_waits_could_be_in_the_next_block(self) -> None:
        """Not all of it: two may want the last place in the list of open tasks. What is chosen can, in its order."""
        state, height = self.chain.state(), self.chain.head.height + 1
        for transaction in self.pool.choose(self.chain.state(), height):
            apply_transaction(SMALL, state, height, transaction)
            assert self.chain.locate(transaction.id) is None

    @invariant()
    def money_is_reserved_for_decided_epochs_alone(self) -> None:
        schedule, height = self.chain.state().schedule(), self.chain.head.height
        left = EPOCH - (height + 1) % EPOCH
        for task, contract in self.contracts().items():
            if task == schedule.next:
                assert contract.reserved == contract.pay * EPOCH
            elif task == schedule.current:
                assert contract.reserved >= contract.pay * left
            else:
                assert contract.reserved == 0

    @invariant()
    def a_task_is_open_until_it_is_closed(self) -> None:
        listed = [item.task for item in self.chain.state().open_tasks().items]
        assert len(set(listed)) == len(listed) <= SMALL.max_open_tasks
        assert set(listed) == {task for task, contract in self.contracts().items() if not contract.closed}

    @invariant()
    def every_second_epoch_is_a_base_tasks(self) -> None:
        schedule, epoch = self.chain.state().schedule(), (self.chain.head.height + 1) // EPOCH
        even = schedule.next if epoch % 2 else schedule.current
        assert even not in self.contracts()
        for cid in self.way_to(self.chain.head.id):
            header = self.blocks[cid][0].header
            assert header.height // EPOCH % 2 or header.task not in TASKS

    @invariant()
    def a_task_is_trained_only_after_enough_signals(self) -> None:
        seen: list[tuple[Cid, ...]] = []
        for cid in self.way_to(self.chain.head.id):
            block, body = self.blocks[cid]
            if block.header.task in TASKS:
                windows = [seen[at : at + SMALL.signal_window] for at in range(len(seen))]
                assert any(
                    sum(block.header.task in signals for signals in window) >= SMALL.signals_needed
                    for window in windows
                )
            seen.append(body.signals)

    # --- how -------------------------------------------------------------------------------------------------

    def send(self, who: int, kind: type[Payload], **fields: object) -> None:
        wallet, state = WALLETS[who], self.chain.state()
        nonce = self.pool.next_nonce(wallet.address, state)
        transaction = wallet.sign(kind(self.chain.network, wallet.key, nonce, 20_000, **fields))
        try:
            self.pool.add(transaction, state, self.chain.head.height + 1)
        except InvalidTransaction:
            assert self.pool.get(transaction.id) is None

    def made(
        self, parent: Cid, transactions: tuple = (), miner: int = 0, seconds: int = 10, shares: tuple = ()
    ) -> tuple[Block, Body]:
        self.nonce += 1
        held = pending(self.chain.state(parent)) if self.nonce % 4 < self.holders else ()
        signals = tuple(held[: SMALL.max_signals])
        return block_on(
            self.chain, parent, transactions, WALLETS[miner].address, self.nonce, seconds,
            loss=self.loss, shares=shares, signals=signals, task=FIRST if seconds >= 80 else None,
        )  # fmt: skip

    def contracts(self) -> dict[Cid, Contract]:
        state = self.chain.state()
        found = {task: state.task(task).contract for task in TASKS}
        return {task: contract for task, contract in found.items() if contract}


def brought(payload: Payload, task: Cid) -> int:
    """Motes for a task."""
    match payload:
        case OpenTask(spec=spec, escrow=escrow) if cid_of(spec) == task:
            return escrow
        case FundTask(task=funded, amount=amount) if funded == task:
            return amount
    return 0


def due(pay: int, block: Block, body: Body) -> int:
    """What a block of a task costs it: half for its miner, an eighth part or so of the rest for each share."""

    def slot(share: Share) -> int:
        left = SMALL.share_age - (block.height - share.header.height)
        return pay * left // (2 * SMALL.max_shares * SMALL.share_age)

    return pay // 2 + sum(slot(share) for share in body.shares if share.header.task == block.header.task)


TestMarkets = Markets.TestCase
TestMarkets.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
