"""What waits is what could still be paid, one transaction after the other, as the rules say it."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import Invalid, RuleError
from consensus.state import State
from consensus.transaction import apply_transaction
from deepblock.codec import encode
from deepblock.primitives import PublicKey, Signature
from deepblock.state_proof import account_key
from deepblock.transactions import Transaction, Transfer
from deepblock.types import Account
from node.mempool import Mempool
from tests.unit.consensus.parts import NETWORK, PARAMS

KEYS = [PublicKey(bytes([number]) * 32) for number in range(3)]
ADDRESSES = [key.address for key in KEYS]
WHO = st.integers(0, 2)

OFFERS = st.tuples(st.just("offer"), WHO, WHO, st.integers(0, 60), st.sampled_from((0, 0, 0, 1)))
"""Sender, receiver (itself too), amount, and by how much the nonce is too high."""
OTHERS = st.tuples(st.just("other"), WHO, WHO, st.integers(0, 60), st.integers(0, 3))
"""A block has a transfer of the sender that the pool never saw, and so many of those that wait."""
MINED = st.tuples(st.sampled_from(("mined", "undone")), WHO, WHO, st.integers(0, 60), st.integers(0, 3))
"""A block has so many of a sender's that wait; and perhaps it makes way for another one, which has none."""


def unsigned(sender: int, receiver: int, amount: int, nonce: int, fee: int) -> Transaction:
    payload = Transfer(NETWORK, KEYS[sender], nonce, fee, ADDRESSES[receiver], amount)
    return Transaction(payload, Signature(bytes(64)))


class Chain:
    def __init__(self) -> None:
        self.accounts = dict.fromkeys(ADDRESSES, Account(100, 0))

    def state(self) -> State:
        kept = {account_key(address): encode(account) for address, account in self.accounts.items()}
        return State(kept.get)

    def follow(self, transactions: list[Transaction]) -> list[Transaction]:
        """Those that a block with these has."""
        state, taken = self.state(), []
        for transaction in transactions:
            with suppress(Invalid):
                apply_transaction(PARAMS, state, 1, transaction)
                taken.append(transaction)
        self.accounts = {address: state.account(address) for address in ADDRESSES}
        return taken


class Slow:
    """The pool as one would write it down: everything is applied again each time."""

    def __init__(self) -> None:
        self.waiting: list[Transaction] = []

    def of(self, sender: int) -> list[Transaction]:
        theirs = (one for one in self.waiting if one.payload.sender == KEYS[sender])
        return sorted(theirs, key=lambda one: one.payload.nonce)

    def add(self, transaction: Transaction, state: State) -> None:
        for earlier in self.of(KEYS.index(transaction.payload.sender)):
            apply_transaction(PARAMS, state, 1, earlier)
        apply_transaction(PARAMS, state, 1, transaction)
        self.waiting.append(transaction)

    def follow(self, undone: list[Transaction], applied: list[Transaction], state: State) -> None:
        waiting, self.waiting = [*undone, *self.waiting], []
        for transaction in waiting:
            if transaction not in applied and transaction not in self.waiting:
                with suppress(Invalid):
                    apply_transaction(PARAMS, state, 1, transaction)
                    self.waiting.append(transaction)


@settings(max_examples=300, deadline=None)
@given(st.lists(OFFERS | OFFERS | OFFERS | OTHERS | MINED, max_size=40))
def test_the_pool_holds_what_its_slow_likeness_holds(steps) -> None:
    chain, pool, slow = Chain(), Mempool(PARAMS, NETWORK), Slow()
    for number, (what, sender, receiver, amount, count) in enumerate(steps):
        if what == "offer":
            nonce = pool.next_nonce(ADDRESSES[sender], chain.state()) + count
            transaction = unsigned(sender, receiver, amount, nonce, fee=number % 3)
            refusals = []
            for add in (slow.add, lambda one, state: pool.add(one, state, 1, checked=True)):
                try:
                    add(transaction, chain.state())
                    refusals.append(None)
                except RuleError as error:
                    refusals.append(str(error))
            assert refusals[0] == refusals[1]
        else:
            before = chain.accounts
            taken = slow.of(sender)[:count]
            if what == "other":
                nonce = before[ADDRESSES[sender]].nonce
                taken.insert(0, unsigned(sender, receiver, amount, nonce, fee=8 + number))
            applied = chain.follow(taken)
            slow.follow([], applied, chain.state())
            pool.follow((), applied, chain.state(), 1)
            if what == "undone":
                assert pool.pending() == slow.waiting
                chain.accounts = before
                slow.follow(applied, [], chain.state())
                pool.follow(applied, (), chain.state(), 1)
        assert pool.pending() == slow.waiting
