"""What a block mints, and when it can be spent."""

from dataclasses import replace

import pytest

from consensus.rewards import miners_half, pay_matured, reward_miner, subsidy
from consensus.state import Payout
from deepblock.primitives import DBK
from deepblock.types import Account
from tests.unit.consensus.parts import ALICE, BOB, PARAMS, empty_state


@pytest.mark.parametrize(
    ("height", "motes"),
    [
        (1, 5_000_000_000),
        (10, 5_000_000_000),
        (11, 2_500_000_000),
        (20, 2_500_000_000),
        (21, 1_250_000_000),
        (101, 4_882_812),
        (321, 1),
        (331, 0),
        (640, 0),
        (641, 0),
        (10**12, 0),
    ],
)
def test_the_subsidy_halves(height, motes):
    assert subsidy(PARAMS, height) == motes


def test_the_largest_subsidy_is_gone_after_64_halvings():
    params = replace(PARAMS, subsidy=2**64 - 1)
    assert subsidy(params, 630 + 1) == 1
    assert subsidy(params, 640 + 1) == 0


def test_the_miner_has_half():
    assert miners_half(PARAMS, 1) == 25 * DBK
    assert miners_half(PARAMS, 11) == 25 * DBK // 2
    assert miners_half(PARAMS, 321) == 0  # half a mote


def test_all_that_will_ever_be_issued_fits_an_amount():
    params = replace(PARAMS, halving=2_100_000)
    total = sum(2_100_000 * miners_half(params, 1 + era * 2_100_000) for era in range(64))
    assert total <= 105_000_000 * DBK < 2**64
    assert total > 104_999_999 * DBK


def test_a_reward_waits():
    state = empty_state()
    reward_miner(PARAMS, state, 7, ALICE.address, 123)
    assert state.supply().issued == 25 * DBK
    assert state.payouts(10).items == (Payout(ALICE.address, 25 * DBK + 123),)
    for height in (8, 9, 11):
        pay_matured(state, height)
        assert state.account(ALICE.address).balance == 0
    pay_matured(state, 10)
    assert state.account(ALICE.address) == Account(25 * DBK + 123, 0)
    assert state.payouts(10).items == ()
    pay_matured(state, 10)
    assert state.account(ALICE.address).balance == 25 * DBK + 123


def test_fees_are_not_new_money():
    state = empty_state()
    reward_miner(PARAMS, state, 7, ALICE.address, 0)
    reward_miner(PARAMS, state, 8, BOB.address, 10**9)
    assert state.supply().issued == 50 * DBK
    assert state.payouts(11).items == (Payout(BOB.address, 25 * DBK + 10**9),)


def test_as_much_in_fees_as_is_minted():
    state = empty_state()
    reward_miner(PARAMS, state, 7, ALICE.address, 25 * DBK)
    assert state.payouts(10).items == (Payout(ALICE.address, 50 * DBK),)


def test_after_the_last_subsidy_fees_remain():
    state = empty_state()
    reward_miner(PARAMS, state, 1_000, ALICE.address, 5)
    reward_miner(PARAMS, state, 1_001, ALICE.address, 0)
    assert state.supply().issued == 0
    assert state.payouts(1_003).items == (Payout(ALICE.address, 5),)
    assert state.payouts(1_004).items == ()


def test_a_payout_adds_to_what_is_there_and_leaves_the_nonce():
    state = empty_state()
    state.set_account(ALICE.address, Account(70, 9))
    reward_miner(PARAMS, state, 1, ALICE.address, 0)
    pay_matured(state, 4)
    assert state.account(ALICE.address) == Account(70 + 25 * DBK, 9)
