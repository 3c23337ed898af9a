"""Money: none appears, none is lost, and everybody has what a plain account book says."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.errors import CannotPay, InvalidTransaction, WrongNonce
from consensus.rewards import miners_half, pay_matured, reward_miner
from consensus.state import Payouts, State
from consensus.transaction import apply_transaction
from deepblock.primitives import Address, PublicKey, Signature
from deepblock.transactions import Transaction, Transfer
from deepblock.types import Account
from tests.unit.consensus.parts import NETWORK, PARAMS

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


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(TRANSFERS, max_size=6)), max_size=HEIGHTS))
@settings(max_examples=100)
def test_balances_are_those_of_a_plain_account_book(blocks):
    params = replace(PARAMS, subsidy=200, halving=10)
    state = State(lambda key: None)
    book, nonces, due = [0] * 4, [0] * 4, {}
    for height, (miner, transfers) in enumerate(blocks, 1):
        pay_matured(state, height)
        for receiver, amount in due.pop(height, ()):
            book[receiver] += amount
        fees = 0
        for sender, receiver, amount, fee, skew in transfers:
            nonce = max(0, nonces[sender] + skew)
            transaction = unsigned(sender, receiver, amount, fee, nonce)
            if nonce != nonces[sender]:
                expected = WrongNonce
            elif amount + fee > book[sender]:
                expected = CannotPay
            else:
                assert apply_transaction(PARAMS, state, 1, transaction) == fee
                book[sender] -= amount + fee
                book[receiver] += amount
                nonces[sender] += 1
                fees += fee
                continue
            before = state.delta()
            with pytest.raises(expected):
                apply_transaction(PARAMS, state, 1, transaction)
            assert state.delta() == before
        reward_miner(params, state, height, ADDRESSES[miner], fees)
        due.setdefault(height + params.maturity, []).append((miner, miners_half(params, height) + fees))
        assert [state.account(address) for address in ADDRESSES] == [
            Account(*pair) for pair in zip(book, nonces, strict=True)
        ]
        assert total(state) == state.supply().issued
    assert state.supply().issued == sum(miners_half(params, height) for height in range(1, len(blocks) + 1))


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
    reward_miner(PARAMS, start, 1, ADDRESSES[0], 0)
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
