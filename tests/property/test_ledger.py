"""Money: none appears, none is lost, and everybody has what a plain account book says."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import CannotPay, InvalidTransaction, NothingToBurn, RuleError, WrongNonce
from consensus.params import Params
from consensus.rewards import pay_matured, reward, subsidy
from consensus.state import Payouts, State
from consensus.transaction import apply_transaction
from deepblock.cid import Cid
from deepblock.primitives import Address, PublicKey, Signature
from deepblock.transactions import FraudProof, Transaction, Transfer
from deepblock.types import Account, Block, Body, Result, Share
from tests.unit.consensus.parts import NETWORK, PARAMS, ancestry, header_on, seal_of

NOTHING = seal_of(header_on(ancestry()))
KEYS = [PublicKey(bytes([number]) * 32) for number in range(4)]
ADDRESSES = [key.address for key in KEYS]
HEIGHTS = 30

TRANSFERS = st.builds(
    lambda sender, receiver, amount, fee, skew: (sender, receiver, amount, fee, skew),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 60) | st.just(2**63),
    st.integers(0, 20),
    st.sampled_from((0, 0, 0, 0, -1, 1)),
)


def unsigned(sender: int, receiver: int, amount: int, fee: int, nonce: int) -> Transaction:
    return Transaction(
        Transfer(NETWORK, KEYS[sender], nonce, fee, ADDRESSES[receiver], amount), Signature(bytes(64))
    )


def total(state: State) -> int:
    waiting = sum(payout.amount for height in range(HEIGHTS + 10) for payout in state.payouts(height).items)
    return waiting + sum(state.account(address).balance for address in ADDRESSES)


def block_at(height: int, miner: int) -> Block:
    header = header_on(ancestry(height - 1), miner=ADDRESSES[miner])
    return Block(header, NOTHING, Result(NOTHING.average, NOTHING.score))


def share_at(height: int, miner: int, nonce: int) -> Share:
    return Share(header_on(ancestry(height - 1), miner=ADDRESSES[miner], nonce=nonce), NOTHING)


class Book:
    """What a plain account book says: balances, and what is due when, to whom and for which share."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.balances, self.nonces = [0] * 4, [0] * 4
        self.due: dict[int, list[tuple[int, int, Cid | None]]] = {}
        self.issued = 0

    def mature(self, height: int) -> None:
        for receiver, amount, _ in self.due.pop(height, ()):
            self.balances[receiver] += amount

    def reward(self, height: int, miner: int, fees: int, shares: list[tuple[int, Share]]) -> None:
        whole = subsidy(self.params, height)
        due = self.due.setdefault(height + self.params.maturity, [])
        due.append((miner, fees, None))
        own = whole // 2
        self.issued += own
        for owner, share in shares:
            part = whole * (3 - (height - share.header.height)) // 18
            due += [(owner, part - part // 16, share.id), (miner, part // 16 + part // 4, share.id)]
            own -= part // 4
            self.issued += part
        due.append((miner, own, None))

    def prove(self, height: int, prover: int, share: Cid, carried: int) -> bool:
        waiting = self.due.get(carried + self.params.maturity, [])
        burned = sum(amount for _, amount, named in waiting if named == share)
        if not burned:
            return False
        waiting[:] = [item for item in waiting if item[2] != share]
        self.due.setdefault(height + self.params.maturity, []).append((prover, burned // 20, None))
        self.issued -= burned - burned // 20
        return True


BLOCKS = st.tuples(
    st.integers(0, 3),
    st.lists(TRANSFERS, max_size=6),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 5)), max_size=2),
)
"""Miner, transfers, shares (miner and age), fraud proofs (prover, which share so far, the height off by at times)."""


@given(st.lists(BLOCKS, max_size=HEIGHTS))
@settings(max_examples=150)
def test_balances_are_those_of_a_plain_account_book(blocks):
    params = replace(PARAMS, subsidy=2_000, halving=10)
    state, book = State(lambda key: None), Book(params)
    carried: list[tuple[Cid, int]] = []
    for height, (miner, transfers, sharers, proofs) in enumerate(blocks, 1):
        pay_matured(state, height)
        book.mature(height)
        fees = 0
        for sender, receiver, amount, fee, skew in transfers:
            nonce = max(0, book.nonces[sender] + skew)
            transaction = unsigned(sender, receiver, amount, fee, nonce)
            if nonce != book.nonces[sender]:
                expected = WrongNonce
            elif amount + fee > book.balances[sender]:
                expected = CannotPay
            else:
                assert apply_transaction(params, state, height, transaction) == fee
                book.balances[sender] -= amount + fee
                book.balances[receiver] += amount
                book.nonces[sender] += 1
                fees += fee
                continue
            refused(params, state, height, transaction, expected)
        for prover, which, off in proofs if carried else ():
            share, at = carried[which % len(carried)]
            named = at + max(0, off - 4)
            payload = FraudProof(NETWORK, KEYS[prover], book.nonces[prover], 0, share, named, 1)
            transaction = Transaction(payload, Signature(bytes(64)))
            if named < height and book.prove(height, prover, share, named):
                apply_transaction(params, state, height, transaction)
                book.nonces[prover] += 1
            else:
                refused(params, state, height, transaction, NothingToBurn)
        shares = [
            (owner, share_at(max(1, height - age), owner, nonce))
            for nonce, (owner, age) in enumerate(sharers)
        ]
        reward(params, state, block_at(height, miner), Body((), tuple(share for _, share in shares)), fees)
        book.reward(height, miner, fees, shares)
        carried += [(share.id, height) for _, share in shares]
        assert [state.account(address) for address in ADDRESSES] == [
            Account(*pair) for pair in zip(book.balances, book.nonces, strict=True)
        ]
        assert total(state) == state.supply().issued == book.issued
    most = sum(subsidy(params, height) for height in range(1, len(blocks) + 1))
    unburnt = most // 2 - most // 8  # the blocks' own halves, less a quarter of all slots
    assert unburnt - len(blocks) <= state.supply().issued <= most


def refused(
    params: Params, state: State, height: int, transaction: Transaction, error: type[RuleError]
) -> None:
    """It is, and has changed nothing."""
    before = state.delta()
    with pytest.raises(error):
        apply_transaction(params, state, height, transaction)
    assert state.delta() == before


@given(st.lists(st.integers(0, 2**62), min_size=4, max_size=4), st.lists(TRANSFERS, max_size=12))
@settings(max_examples=100)
def test_a_transfer_moves_money_and_burns_none(balances, transfers):
    state = State(lambda key: None)
    for address, balance in zip(ADDRESSES, balances, strict=True):
        state.set_account(address, Account(balance, 0))
    fees = 0
    for sender, receiver, amount, fee, _ in transfers:
        nonce = state.account(ADDRESSES[sender]).nonce
        try:
            fees += apply_transaction(PARAMS, state, 1, unsigned(sender, receiver, amount, fee, nonce))
        except InvalidTransaction:
            continue
    assert total(state) + fees == sum(balances)
    assert all(state.account(address).balance >= 0 for address in ADDRESSES)


@given(st.lists(TRANSFERS, max_size=12), st.integers(0, 200))
@settings(max_examples=75)
def test_a_delta_leads_there_and_back(transfers, balance):
    stored: dict[bytes, bytes] = {}

    def write(changes: dict[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                stored.pop(key, None)
            else:
                stored[key] = value

    start = State(stored.get)
    for address in ADDRESSES[:2]:
        start.set_account(address, Account(balance, 0))
    reward(PARAMS, start, block_at(1, 0), Body((), (share_at(1, 1, 0),)), 0)
    write(start.delta().new)
    before = dict(stored)

    state = State(dict(stored).get)
    pay_matured(state, 1 + PARAMS.maturity)
    for sender, receiver, amount, fee, _ in transfers:
        nonce = state.account(ADDRESSES[sender]).nonce
        try:
            apply_transaction(PARAMS, state, 1, unsigned(sender, receiver, amount, fee, nonce))
        except InvalidTransaction:
            continue
    delta = state.delta()
    write(delta.new)
    after = State(stored.get)
    assert after.payouts(1 + PARAMS.maturity) == Payouts()
    assert [after.account(address) for address in ADDRESSES] == [
        state.account(address) for address in ADDRESSES
    ]
    assert after.account(Address(bytes(20))) == Account()
    write(delta.old)
    assert stored == before
