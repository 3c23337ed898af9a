"""Transactions that wait for a block, and how a miner chooses among them.

A transaction enters only if it could be in a block after those of its sender that wait already. So a double spend
(another transaction with a nonce that is taken) is refused here, with a plain reason.
"""

import heapq
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from consensus.errors import Invalid, InvalidTransaction, NotYet
from consensus.params import Params
from consensus.state import State
from consensus.transaction import apply_transaction, check_transaction, spent
from deepblock.cid import Cid
from deepblock.primitives import Address
from deepblock.transactions import Payload, Transaction, Transfer
from deepblock.types import Account

CAPACITY = 20_000
"""Transactions. A full pool refuses new ones; what waits has come first."""
PER_SENDER = 64
"""Transactions of one sender that may wait at once."""
BODY_RESERVE = 1_024
"""Bytes of a body that are not transactions."""


@dataclass(eq=False)
class AlreadyKnown(InvalidTransaction):
    transaction: Cid
    text = "transaction {transaction} is waiting already"


@dataclass(eq=False)
class NonceTaken(InvalidTransaction):
    sender: Address
    nonce: int
    by: Cid
    text = "nonce {nonce} of {sender} is taken by {by}, which waits for a block; a double spend is refused"


@dataclass(eq=False)
class PoolFull(NotYet):
    waiting: int
    text = "{waiting} transactions wait already; try again later"


@dataclass(slots=True)
class Mempool:
    """The waiting transactions of a network, by id and by sender and nonce."""

    params: Params
    network: Cid
    _by_id: dict[Cid, Transaction] = field(default_factory=dict)
    _by_sender: dict[Address, dict[int, Transaction]] = field(default_factory=dict)
    _after: dict[Address, Account | State] = field(default_factory=dict)
    """By sender, after what waits of it, on the head's state: its account, where that is all that plain ones change."""

    def __contains__(self, transaction: object) -> bool:
        """By its id. What waits here has met rule L1."""
        return transaction in self._by_id

    def get(self, transaction: Cid) -> Transaction | None:
        return self._by_id.get(transaction)

    def pending(self) -> list[Transaction]:
        """In the order in which they came."""
        return list(self._by_id.values())

    def next_nonce(self, sender: Address, state: State) -> int:
        """The nonce for a sender's next transaction, after those that wait."""
        nonce = state.account(sender).nonce
        while nonce in self._by_sender.get(sender, {}):
            nonce += 1
        return nonce

    def add(self, transaction: Transaction, state: State, height: int, checked: bool = False) -> None:
        """Takes one in. `state`: after the head; `height`: of the next block; `checked`: it is known to meet rule L1.
        Raises a RuleError that says why not."""
        if transaction.id in self._by_id:
            raise AlreadyKnown(transaction.id)
        if not checked:
            check_transaction(self.params, self.network, transaction)
        payload = transaction.payload
        sender = payload.sender.address
        waiting = self._by_sender.get(sender, {})
        if payload.nonce in waiting:
            raise NonceTaken(sender, payload.nonce, waiting[payload.nonce].id)
        if len(self._by_id) >= CAPACITY or len(waiting) >= PER_SENDER:
            raise PoolFull(len(waiting) if len(waiting) >= PER_SENDER else len(self._by_id))
        state = self._state_after(sender, waiting, state, height)
        apply_transaction(self.params, state, height, transaction)
        plain = _is_plain(payload) and not isinstance(self._after.get(sender), State)
        self._after[sender] = state.account(sender) if plain else state
        self._keep(transaction)

    def follow(
        self, undone: Iterable[Transaction], applied: Iterable[Transaction], state: State, height: int
    ) -> None:
        """After the head moved: what is in a block leaves, what fell out of one comes back, what can no longer be
        paid is dropped. `undone`: oldest first, so that what is paid out of another transfer comes after it.
        `state`: after the new head, and not changed since; `height`: of the next block."""
        gone = {transaction.id for transaction in applied}
        back = [transaction for transaction in undone if transaction.id not in gone]
        waiting = [transaction for transaction in self._by_id.values() if transaction.id not in gone]
        self._by_id, self._by_sender, self._after = {}, {}, {}
        for transaction in waiting:
            self._keep(transaction)
        if not back and all(self._can_pay(sender, state, height) for sender in self._by_sender):
            return
        self._by_id, self._by_sender, self._after = {}, {}, {}
        for transaction in (*back, *waiting):
            if transaction.id not in self._by_id:
                with suppress(Invalid):
                    apply_transaction(self.params, state, height, transaction)
                    self._keep(transaction)

    def choose(
        self, state: State, height: int, taken: int = 0, fit: Callable[[Transaction], bool] = lambda _: True
    ) -> tuple[Transaction, ...]:
        """For the block at `height`, on `state`: the best fees per byte first, each sender's in order of nonce, within
        the limits. `taken`: bytes of the body that are something else; `fit`: which may be in it."""
        chosen: list[Transaction] = []
        space = self.params.max_body - BODY_RESERVE - taken
        queues = [
            [waiting[nonce] for nonce in sorted(waiting, reverse=True)]
            for waiting in self._by_sender.values()
        ]
        best = [(-_fee_rate(queue[-1]), place) for place, queue in enumerate(queues)]
        heapq.heapify(best)
        while best and len(chosen) < self.params.max_transactions:
            _, place = heapq.heappop(best)
            transaction = queues[place].pop()
            if transaction.size > space:
                break
            if not fit(transaction):
                continue
            try:
                apply_transaction(self.params, state, height, transaction)
            except Invalid:
                continue  # and none of its sender's later ones
            chosen.append(transaction)
            space -= transaction.size
            if queues[place]:
                heapq.heappush(best, (-_fee_rate(queues[place][-1]), place))
        return tuple(chosen)

    def _state_after(
        self, sender: Address, waiting: dict[int, Transaction], state: State, height: int
    ) -> State:
        """After what waits of a sender, for its next transaction: `state`, or one that was kept since the head moved.
        Should that one be refused, it changes nothing."""
        match self._after.get(sender):
            case State() as after:
                return after
            case Account() as account:
                state.set_account(sender, account)
                return state
        for _, earlier in sorted(waiting.items()):
            apply_transaction(self.params, state, height, earlier)
        if waiting:
            plain = all(_is_plain(earlier.payload) for earlier in waiting.values())
            self._after[sender] = state.account(sender) if plain else state
        return state

    def _can_pay(self, sender: Address, state: State, height: int) -> bool:
        """Whether a sender can pay, out of what it has, all that waits of it. Of plain transactions its account alone
        tells, which takes a tenth of the time."""
        waiting = [transaction for _, transaction in sorted(self._by_sender[sender].items())]
        try:
            if all(_is_plain(transaction.payload) for transaction in waiting):
                account = state.account(sender)
                for transaction in waiting:
                    account = spent(account, transaction.payload)
                self._after[sender] = account
            else:
                after = State(state.read)
                for transaction in waiting:
                    apply_transaction(self.params, after, height, transaction)
        except Invalid:
            return False
        return True

    def _keep(self, transaction: Transaction) -> None:
        payload = transaction.payload
        self._by_id[transaction.id] = transaction
        self._by_sender.setdefault(payload.sender.address, {})[payload.nonce] = transaction


def _is_plain(payload: Payload) -> bool:
    """Whether all that it does to its sender's account is to take something out of it, once it can be paid."""
    return isinstance(payload, Transfer) and payload.to != payload.sender.address


def _fee_rate(transaction: Transaction) -> int:
    """Motes per 1,024 bytes."""
    return (transaction.payload.fee << 10) // transaction.size
