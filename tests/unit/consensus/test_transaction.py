"""Transactions: each refusal, and where the money goes."""

from dataclasses import replace

import pytest

from consensus.errors import (
    AmountTooLarge,
    BadSignature,
    CannotPay,
    EscrowTooLow,
    FeeTooLow,
    NothingToBurn,
    TaskExists,
    TaskNotOpen,
    WrongNonce,
    WrongTransactionNetwork,
)
from consensus.state import Payout, Payouts, Supply
from consensus.transaction import apply_transaction, check_transaction
from deepblock.codec import cid_of
from deepblock.primitives import Signature
from deepblock.transactions import CloseTask, FraudProof, FundTask
from deepblock.types import Account
from tests.unit.consensus.market_parts import PARAMS, contract, offer, opened
from tests.unit.consensus.parts import (
    ALICE,
    BOB,
    CAROL,
    FIRST,
    NETWORK,
    NOBODY,
    SPEC,
    empty_state,
    named,
    transfer,
)


def check(transaction):
    check_transaction(PARAMS, NETWORK, transaction)


def state_with(balance: int, nonce: int = 0):
    state = empty_state()
    state.set_account(ALICE.address, Account(balance, nonce))
    return state


def test_a_transfer_in_order_passes():
    check(transfer(ALICE, BOB.address, 5))
    check(transfer(ALICE, BOB.address, 0))


def test_of_another_network():
    with pytest.raises(WrongTransactionNetwork) as caught:
        check(transfer(ALICE, BOB.address, 5, network=named("other")))
    assert (caught.value.found, caught.value.required) == (named("other"), NETWORK)


def test_the_fee_is_for_every_byte():
    size = transfer(ALICE, BOB.address, 5, fee=2_000).size
    check(transfer(ALICE, BOB.address, 5, fee=10 * size))
    with pytest.raises(FeeTooLow) as caught:
        check(transfer(ALICE, BOB.address, 5, fee=10 * size - 1))
    assert (caught.value.found, caught.value.required) == (10 * size - 1, 10 * size)


def test_amount_and_fee_together_are_an_amount():
    check(transfer(ALICE, BOB.address, 2**64 - 1 - 10_000))
    with pytest.raises(AmountTooLarge) as caught:
        check(transfer(ALICE, BOB.address, 2**64 - 10_000))
    assert caught.value.total == 2**64


def test_the_signature_is_the_senders_over_all_of_it():
    good = transfer(ALICE, BOB.address, 5)
    forged = (
        replace(good, signature=Signature(bytes(64))),
        replace(good, payload=replace(good.payload, amount=6)),
        replace(good, payload=replace(good.payload, to=CAROL.address)),
        replace(good, payload=replace(good.payload, sender=BOB.key)),
        replace(good, signature=transfer(BOB, BOB.address, 5).signature),
    )
    for transaction in forged:
        with pytest.raises(BadSignature):
            check(transaction)


def test_money_moves_and_the_nonce_counts():
    state = state_with(20_000, nonce=4)
    assert apply_transaction(PARAMS, state, 1, transfer(ALICE, BOB.address, 7_000, nonce=4)) == 10_000
    assert state.account(ALICE.address) == Account(3_000, 5)
    assert state.account(BOB.address) == Account(7_000, 0)


def test_the_receivers_own_account_is_kept():
    state = state_with(20_000)
    state.set_account(BOB.address, Account(1, 8))
    apply_transaction(PARAMS, state, 1, transfer(ALICE, BOB.address, 7_000))
    assert state.account(BOB.address) == Account(7_001, 8)


def test_to_oneself_only_the_fee_goes():
    state = state_with(20_000)
    apply_transaction(PARAMS, state, 1, transfer(ALICE, ALICE.address, 7_000))
    assert state.account(ALICE.address) == Account(10_000, 1)


@pytest.mark.parametrize("nonce", [3, 5, 0, 2**64 - 1])
def test_each_nonce_once_and_in_order(nonce):
    with pytest.raises(WrongNonce) as caught:
        apply_transaction(
            PARAMS, state_with(20_000, nonce=4), 1, transfer(ALICE, BOB.address, 1, nonce=nonce)
        )
    assert (caught.value.found, caught.value.required, caught.value.sender) == (nonce, 4, ALICE.address)


def test_the_last_mote_can_be_spent_and_no_more():
    state = state_with(10_001)
    apply_transaction(PARAMS, state, 1, transfer(ALICE, BOB.address, 1))
    assert state.account(ALICE.address).balance == 0
    with pytest.raises(CannotPay) as caught:
        apply_transaction(PARAMS, state_with(10_001), 1, transfer(ALICE, BOB.address, 2))
    assert (caught.value.sender, caught.value.balance, caught.value.required) == (
        ALICE.address,
        10_001,
        10_002,
    )


def test_who_has_nothing_cannot_even_pay_the_fee():
    with pytest.raises(CannotPay):
        apply_transaction(PARAMS, empty_state(), 1, transfer(ALICE, BOB.address, 0))


def test_a_refused_transaction_changes_nothing():
    state = state_with(5)
    before = state.delta()
    for transaction in (transfer(ALICE, NOBODY, 1), transfer(ALICE, NOBODY, 1, nonce=1)):
        with pytest.raises((CannotPay, WrongNonce)):
            apply_transaction(PARAMS, state, 1, transaction)
    assert state.delta() == before


# --- fraud proofs -----------------------------------------------------------------------------------------------


def test_a_proof_moves_what_waits_and_costs_its_fee():
    state = state_with(20_000, nonce=4)
    false = named("share")
    state.set_supply(Supply(30_000 + 400))
    state.set_payouts(5, Payouts((Payout(BOB.address, 375, false), Payout(CAROL.address, 25, false))))
    proof = ALICE.sign(FraudProof(NETWORK, ALICE.key, 4, 10_000, false, 2, 1))
    check(proof)
    assert apply_transaction(PARAMS, state, 3, proof) == 10_000
    assert state.account(ALICE.address) == Account(10_000, 5)
    assert state.payouts(5) == Payouts()
    assert state.payouts(6).items == (Payout(ALICE.address, 20),)
    assert state.supply().issued == 30_020


def test_a_proof_of_nothing_costs_nothing():
    state = state_with(20_000)
    before = state.delta()
    with pytest.raises(NothingToBurn):
        apply_transaction(
            PARAMS, state, 3, ALICE.sign(FraudProof(NETWORK, ALICE.key, 0, 10_000, FIRST, 2, 1))
        )
    assert state.delta() == before


# --- tasks ------------------------------------------------------------------------------------------------------

FEE = 20_000
OPEN = replace(offer(pay=100, epochs=2), fee=FEE)
TASK = cid_of(OPEN.spec)


def test_an_offer_is_checked_by_itself():
    check_transaction(PARAMS, NETWORK, ALICE.sign(OPEN))
    with pytest.raises(EscrowTooLow):
        check_transaction(PARAMS, NETWORK, ALICE.sign(replace(OPEN, escrow=399)))


def test_escrow_leaves_the_account_and_waits_with_the_task():
    state = state_with(FEE + 800)
    assert apply_transaction(PARAMS, state, 7, ALICE.sign(OPEN)) == FEE
    assert state.account(ALICE.address) == Account(0, 1)
    assert contract(state, TASK).escrow == 800
    assert state.open_tasks().items[0].since == 7
    state.set_account(BOB.address, Account(FEE + 50, 0))
    apply_transaction(PARAMS, state, 8, BOB.sign(FundTask(NETWORK, BOB.key, 0, FEE, TASK, 50)))
    assert state.account(BOB.address) == Account(0, 1)
    assert contract(state, TASK).escrow == 850
    state.set_account(ALICE.address, Account(FEE, 1))
    apply_transaction(PARAMS, state, 9, ALICE.sign(CloseTask(NETWORK, ALICE.key, 1, FEE, TASK)))
    assert state.account(ALICE.address) == Account(0, 2)
    assert contract(state, TASK).closing


@pytest.mark.parametrize("balance", [FEE, FEE + 799])
def test_a_task_that_the_sender_cannot_pay_is_not_opened(balance):
    state = state_with(balance)
    before = state.delta()
    with pytest.raises(CannotPay):
        apply_transaction(PARAMS, state, 7, ALICE.sign(OPEN))
    assert state.delta() == before


def test_what_the_market_refuses_has_cost_nothing():
    state = state_with(10**6)
    before = state.delta()
    for payload in (
        replace(OPEN, spec=SPEC),
        FundTask(NETWORK, ALICE.key, 0, FEE, FIRST, 1),
        CloseTask(NETWORK, ALICE.key, 0, FEE, FIRST),
    ):
        with pytest.raises((TaskExists, TaskNotOpen)):
            apply_transaction(PARAMS, state, 7, ALICE.sign(payload))
        assert state.delta() == before


def test_whose_new_task_outbids_an_old_one_of_its_own_gets_that_money_too():
    state = state_with(FEE + 800)
    for name in "abc":
        opened(state, offer(name, pay=1, epochs=3), active=False)
    apply_transaction(PARAMS, state, 7, ALICE.sign(OPEN))
    assert state.account(ALICE.address) == Account(3 * PARAMS.epoch, 1)
