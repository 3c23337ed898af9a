"""The waiting transactions: who comes in, who is chosen, and what a new head does to them."""

import time
from dataclasses import replace

import pytest

from consensus.errors import BadSignature, CannotPay, FeeTooLow, WrongNonce, WrongTransactionNetwork
from consensus.state import State
from deepblock.codec import encode
from deepblock.primitives import Address, PublicKey, Signature
from deepblock.transactions import Transaction, Transfer
from deepblock.types import Account, Body
from node import mempool
from node.mempool import AlreadyKnown, Mempool, NonceTaken, PoolFull
from tests.unit.consensus.parts import ALICE, BOB, CAROL, NETWORK, PARAMS, named, transfer


def state_of(**balances: int) -> State:
    state = State(lambda key: None)
    for name, wallet in (("alice", ALICE), ("bob", BOB), ("carol", CAROL)):
        if name in balances:
            state.set_account(wallet.address, Account(balances[name], 0))
    return state


def pool_of(*transactions: Transaction, params=PARAMS, **balances: int) -> Mempool:
    pool = Mempool(params, NETWORK)
    for transaction in transactions:
        pool.add(transaction, state_of(**balances), 1)
    return pool


def to_bob(nonce: int = 0, amount: int = 1, fee: int = 10_000) -> Transaction:
    return transfer(ALICE, BOB.address, amount, nonce, fee)


# --- coming in --------------------------------------------------------------------------------------------------


def test_what_comes_in_can_be_found():
    one, two = to_bob(0), to_bob(1)
    pool = pool_of(one, two, alice=100_000)
    assert pool.get(one.id) == one
    assert pool.get(named("x")) is None
    assert one.id in pool
    assert to_bob(2).id not in pool
    assert pool.pending() == [one, two]
    assert pool.next_nonce(ALICE.address, state_of()) == 2
    assert pool.next_nonce(BOB.address, state_of()) == 0


@pytest.mark.parametrize(
    ("transaction", "error"),
    [
        (transfer(ALICE, BOB.address, 1, network=named("other")), WrongTransactionNetwork),
        (to_bob(fee=5), FeeTooLow),
        (replace(to_bob(), signature=Signature(bytes(64))), BadSignature),
        (to_bob(nonce=1), WrongNonce),
        (to_bob(amount=90_001), CannotPay),
    ],
)
def test_what_could_not_be_in_a_block_is_refused(transaction, error):
    pool = Mempool(PARAMS, NETWORK)
    with pytest.raises(error):
        pool.add(transaction, state_of(alice=100_000), 1)
    assert pool.pending() == []
    assert pool.next_nonce(ALICE.address, state_of()) == 0


def test_twice_the_same():
    pool = pool_of(to_bob(), alice=100_000)
    with pytest.raises(AlreadyKnown, match="is waiting already"):
        pool.add(to_bob(), state_of(alice=100_000), 1)


def test_a_double_spend_is_refused_with_a_plain_reason():
    first, second = to_bob(amount=5), transfer(ALICE, CAROL.address, 5, fee=99_000)
    pool = pool_of(first, alice=100_000)
    with pytest.raises(NonceTaken, match=f"taken by {first.id}.*a double spend is refused"):
        pool.add(second, state_of(alice=100_000), 1)
    assert pool.pending() == [first]


def test_what_waits_is_spent_already():
    pool = pool_of(to_bob(0, amount=40_000), alice=100_000)
    with pytest.raises(CannotPay) as caught:
        pool.add(to_bob(1, amount=40_001), state_of(alice=100_000), 1)
    assert (caught.value.balance, caught.value.required) == (50_000, 50_001)
    pool.add(to_bob(1, amount=40_000), state_of(alice=100_000), 1)


def test_what_another_sends_is_not_there_before_its_block():
    pool = pool_of(to_bob(amount=50_000), alice=100_000)
    with pytest.raises(CannotPay):
        pool.add(transfer(BOB, CAROL.address, 1), state_of(alice=100_000), 1)


def test_nonces_without_gaps_and_not_again():
    state = state_of()
    state.set_account(ALICE.address, Account(100_000, 5))
    pool = Mempool(PARAMS, NETWORK)
    for nonce in (4, 6):
        with pytest.raises(WrongNonce) as caught:
            pool.add(to_bob(nonce), state, 1)
        assert (caught.value.found, caught.value.required) == (nonce, 5)
    pool.add(to_bob(5), state, 1)


@pytest.mark.parametrize("undone", [0, 1])
def test_what_waits_is_applied_once_however_many_are_refused_after_it(monkeypatch, undone):
    """Else whoever fills the places of a sender makes each further transaction as dear as all of them. Of what waits
    through a new head that undoes nothing, the head's state has been asked already."""
    pool = pool_of(*map(to_bob, range(20)), alice=1_000_000)
    pool.follow([to_bob(0)] * undone, [], state_of(alice=1_000_000), 2)
    applied = []
    real = mempool.apply_transaction
    monkeypatch.setattr(mempool, "apply_transaction", lambda *args: applied.append(args) or real(*args))
    for _ in range(10):
        with pytest.raises(WrongNonce):
            pool.add(to_bob(30), state_of(alice=1_000_000), 2)
    assert len(applied) == 20 * undone + 10


def test_a_sender_may_not_fill_the_pool(monkeypatch):
    monkeypatch.setattr(mempool, "PER_SENDER", 2)
    pool = pool_of(to_bob(0), to_bob(1), alice=100_000)
    with pytest.raises(PoolFull, match="2 transactions wait already"):
        pool.add(to_bob(2), state_of(alice=100_000), 1)
    pool.add(transfer(CAROL, BOB.address, 1), state_of(carol=100_000), 1)


def test_a_full_pool_is_nobodys_fault(monkeypatch):
    monkeypatch.setattr(mempool, "CAPACITY", 2)
    pool = pool_of(to_bob(0), to_bob(1), alice=100_000)
    with pytest.raises(PoolFull, match="try again later"):
        pool.add(transfer(CAROL, BOB.address, 1), state_of(carol=100_000), 1)


# --- being chosen -----------------------------------------------------------------------------------------------


def test_the_best_fees_come_first_and_each_senders_in_order():
    cheap, dear = to_bob(0, fee=10_000), to_bob(1, fee=90_000)
    middle, least = transfer(BOB, ALICE.address, 1, fee=20_000), transfer(CAROL, BOB.address, 1, fee=5_000)
    pool = pool_of(least, cheap, dear, middle, alice=200_000, bob=100_000, carol=100_000)
    chosen = pool.choose(state_of(alice=200_000, bob=100_000, carol=100_000), 1)
    assert chosen == (middle, cheap, dear, least)


def test_it_is_the_fee_per_byte_that_counts():
    short, long = to_bob(0, amount=1, fee=10_000), transfer(BOB, ALICE.address, 2**40, fee=10_010)
    assert long.size > short.size
    pool = pool_of(long, short, alice=2**41, bob=2**41)
    assert pool.choose(state_of(alice=2**41, bob=2**41), 1) == (short, long)


def test_no_more_than_a_block_may_have():
    params = replace(PARAMS, max_transactions=2)
    pool = pool_of(to_bob(0), to_bob(1), to_bob(2), params=params, alice=100_000)
    assert pool.choose(state_of(alice=100_000), 1) == (to_bob(0), to_bob(1))


@pytest.mark.parametrize("room", [0, 1, 2])
def test_the_body_fits(room):
    size = to_bob(0).size
    params = replace(PARAMS, max_body=mempool.BODY_RESERVE + room * size)
    pool = pool_of(to_bob(0), to_bob(1), to_bob(2), params=params, alice=100_000)
    chosen = pool.choose(state_of(alice=100_000), 1)
    assert len(chosen) == room
    assert len(encode(Body(chosen))) <= params.max_body


def test_who_cannot_pay_any_more_is_left_out_with_all_that_follows():
    pool = pool_of(to_bob(0, amount=50_000), to_bob(1), alice=100_000)
    pool.add(transfer(CAROL, BOB.address, 1), state_of(carol=100_000), 1)
    chosen = pool.choose(state_of(alice=30_000, carol=100_000), 1)
    assert [transaction.payload.sender for transaction in chosen] == [CAROL.key]
    assert len(pool.pending()) == 3


def test_choosing_among_as_many_senders_as_there_is_room_for_is_quick():
    """It happens on the node's only loop, before every session."""
    pool, state = Mempool(replace(PARAMS, max_transactions=500, max_body=1 << 20), NETWORK), state_of()
    for number in range(mempool.CAPACITY):
        key = PublicKey(number.to_bytes(32, "big"))
        payload = Transfer(NETWORK, key, 0, 10_000 + number, Address(bytes(20)), 1)
        state.set_account(key.address, Account(10**9, 0))
        pool._keep(Transaction(payload, Signature(bytes(64))))
    began = time.perf_counter()
    chosen = pool.choose(state, 1)
    assert time.perf_counter() - began < 1
    assert len(chosen) == 500


# --- following the head -----------------------------------------------------------------------------------------


def test_what_is_in_a_block_leaves():
    one, two = to_bob(0), to_bob(1)
    pool = pool_of(one, two, alice=100_000)
    state = state_of()
    state.set_account(ALICE.address, Account(100_000, 1))
    pool.follow((), (one,), state, 1)
    assert pool.pending() == [two]
    assert pool.get(one.id) is None
    assert pool.next_nonce(ALICE.address, state_of()) == 0


def test_what_another_block_made_impossible_is_dropped():
    one, other = to_bob(0), transfer(ALICE, CAROL.address, 1)
    pool = pool_of(one, to_bob(1), alice=100_000)
    state = state_of()
    state.set_account(ALICE.address, Account(15_000, 1))
    pool.follow((), (other,), state, 1)
    assert pool.pending() == [to_bob(1)]
    poor = state_of()
    poor.set_account(ALICE.address, Account(10_000, 1))
    pool.follow((), (), poor, 1)
    assert pool.pending() == []


def test_what_fell_out_of_a_block_comes_back_before_what_waits():
    pool = pool_of(to_bob(0), to_bob(1), alice=100_000)
    later = state_of()
    later.set_account(ALICE.address, Account(80_000, 2))
    pool.follow((), (to_bob(0), to_bob(1)), later, 1)
    pool.add(to_bob(2), later, 1)
    assert pool.pending() == [to_bob(2)]
    pool.follow((to_bob(0), to_bob(1)), (), state_of(alice=100_000), 1)
    assert pool.pending() == [to_bob(0), to_bob(1), to_bob(2)]


def test_what_fell_out_of_one_block_into_another_is_gone():
    pool = Mempool(PARAMS, NETWORK)
    state = state_of()
    state.set_account(ALICE.address, Account(80_000, 1))
    pool.follow((to_bob(0), to_bob(1)), (to_bob(0),), state, 1)
    assert pool.pending() == [to_bob(1)]


def test_of_two_that_exclude_each_other_the_older_stays():
    pool = pool_of(transfer(ALICE, CAROL.address, 2), alice=100_000)
    pool.follow((to_bob(0),), (), state_of(alice=100_000), 1)
    assert pool.pending() == [to_bob(0)]


@pytest.mark.parametrize("nonce", [0, 3])
def test_transfers_paid_out_of_each_other_come_back_together(nonce):
    """Bob had nothing but what Alice sent him, in an earlier block or in the same one."""
    state = state_of()
    state.set_account(ALICE.address, Account(100_000, nonce))
    first = to_bob(nonce, amount=50_000)
    second = transfer(BOB, CAROL.address, 30_000)
    third = transfer(CAROL, ALICE.address, 10_000)
    pool = Mempool(PARAMS, NETWORK)
    pool.follow((first, second, third), (), state, 1)
    assert pool.pending() == [first, second, third]


def test_nothing_comes_in_twice():
    pool = pool_of(to_bob(0), alice=100_000)
    pool.follow((to_bob(0),), (), state_of(alice=100_000), 1)
    assert pool.pending() == [to_bob(0)]
