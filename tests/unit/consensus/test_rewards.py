"""What a block mints, and when it can be spent."""

from collections import Counter
from dataclasses import replace

import pytest

from consensus.errors import NothingToBurn
from consensus.rewards import burn, earns, pay_matured, pledge, reward, slot, split, subsidy
from consensus.state import Payout, Supply
from consensus.task import Contract, TaskState
from deepblock.codec import cid_of
from deepblock.primitives import DBK
from deepblock.transactions import FraudProof
from deepblock.types import Account, Block, Body, Result, Share
from tests.unit.consensus.market_parts import OFFERED
from tests.unit.consensus.parts import (
    ALICE,
    BOB,
    CAROL,
    FIRST,
    NETWORK,
    PARAMS,
    SECOND,
    ancestry,
    empty_state,
    header_on,
    named,
    seal_of,
)

SEAL = seal_of(header_on(ancestry()))


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


# --- who gets it ------------------------------------------------------------------------------------------------


def block_at(height: int, miner=ALICE, task=FIRST) -> Block:
    header = header_on(ancestry(height - 1), miner=miner.address, task=task)
    return Block(header, SEAL, Result(SEAL.average, SEAL.score))


def share_at(height: int, miner=BOB, nonce: int = 0, task=FIRST) -> Share:
    return Share(header_on(ancestry(height - 1), miner=miner.address, nonce=nonce, task=task), SEAL)


def rewarded(height: int, shares=(), fees: int = 0, state=None, **block):
    state = state or empty_state()
    reward(PARAMS, state, block_at(height, **block), Body((), tuple(shares)), fees)
    return state


def paid(state, height: int) -> dict:
    """Motes by address and share."""
    sums: Counter = Counter()
    for item in state.payouts(height + PARAMS.maturity).items:
        sums[item.address, item.share] += item.amount
    return dict(sums)


@pytest.mark.parametrize(("height", "motes"), [(1, 25 * DBK), (11, 25 * DBK // 2), (321, 0)])
def test_the_miner_has_half(height, motes):
    state = rewarded(height)
    assert state.supply().issued == motes
    assert sum(paid(state, height).values()) == motes


@pytest.mark.parametrize(
    ("age", "motes"), [(0, 312_500_000), (1, 260_416_666), (2, 208_333_333), (5, 52_083_333)]
)
def test_a_slot_of_the_presets(age, motes):
    """⌊50 DBK / 16 · (6 − age) / 6⌋"""
    assert slot(replace(PARAMS, max_shares=8, share_age=6), 50 * DBK, age) == motes


def test_slots_and_the_miners_half_are_never_more_than_all():
    for amount in (1, 2, 5, 47, 48, 50 * DBK, 2**64 - 1):
        for count, age in ((1, 1), (3, 3), (8, 6), (64, 128)):
            params = replace(PARAMS, max_shares=count, share_age=age)
            assert amount // 2 + count * slot(params, amount, 0) <= amount
            assert slot(params, amount, age - 1) >= 0


def test_a_share_is_paid_by_its_age_and_its_carrier_gets_a_sixteenth_and_answers_for_it_with_a_quarter():
    shares = [share_at(7 - age, nonce=age) for age in range(3)]
    state = rewarded(7, shares, fees=123)
    slots = [50 * DBK * (3 - age) // (2 * 3 * 3) for age in range(3)]
    expected = {(ALICE.address, None): 25 * DBK + 123 - sum(whole // 4 for whole in slots)}
    for share, whole in zip(shares, slots, strict=True):
        expected[BOB.address, share.id] = whole - whole // 16
        expected[ALICE.address, share.id] = whole // 16 + whole // 4
    assert paid(state, 7) == expected
    assert state.supply().issued == 25 * DBK + sum(slots)


def test_empty_slots_are_not_minted():
    assert rewarded(7, [share_at(7)]).supply().issued == 25 * DBK + 50 * DBK // 6


def test_who_carries_an_own_share_gets_the_whole_slot():
    mine = share_at(7, ALICE)
    items = rewarded(7, [mine]).payouts(10).items
    slot = 50 * DBK // 6
    assert sum(item.amount for item in items if item.share == mine.id) == slot + slot // 4
    assert sum(item.amount for item in items) == 25 * DBK + slot


def test_a_slot_of_nothing_is_no_payout():
    state = rewarded(331, [share_at(331)])
    assert state.payouts(334).items == ()


def test_all_that_will_ever_be_issued_fits_an_amount():
    params = replace(PARAMS, halving=2_100_000)
    total = sum(2_100_000 * subsidy(params, 1 + era * 2_100_000) for era in range(64))
    assert total <= 210_000_000 * DBK < 2**64
    assert total > 209_999_998 * DBK


# --- what a sponsor pays ----------------------------------------------------------------------------------------

PAID = cid_of(OFFERED)


def sponsored(pay: int = 960):
    """A state in which PAID is Carol's task, with an epoch's pay reserved."""
    state = empty_state()
    contract = Contract(CAROL.address, pay, 5_000, 4 * pay, None)
    state.set_task(PAID, TaskState(contract=contract))
    return state


def money(state) -> tuple[int, int]:
    contract = state.task(PAID).contract
    return contract.escrow, contract.reserved


def test_a_sponsored_block_is_paid_for_in_the_same_proportions_and_mints_nothing():
    share = share_at(6, task=PAID)
    state = rewarded(7, [share], fees=5, state=sponsored(), task=PAID)
    whole = 960 * 2 // 18
    assert state.payouts(10).items == (
        Payout(ALICE.address, 5),
        Payout(ALICE.address, 480 - whole // 4),
        Payout(BOB.address, whole - whole // 16, share.id),
        Payout(ALICE.address, whole // 16, share.id),
        Payout(ALICE.address, whole // 4, share.id),
    )
    assert money(state) == (5_000, 4 * 960 - 480 - whole)
    assert state.supply().issued == 0


def test_who_trains_its_own_task_gets_its_own_money_back():
    state = rewarded(7, [share_at(7, CAROL, task=PAID)], state=sponsored(), task=PAID, miner=CAROL)
    assert sum(paid(state, 7).values()) + sum(money(state)) == 5_000 + 4 * 960


def test_a_share_of_a_base_task_is_minted_in_a_sponsored_block_too():
    share = share_at(7, task=SECOND)
    state = rewarded(7, [share], state=sponsored(), task=PAID)
    whole = 50 * DBK // 6
    assert paid(state, 7) == {
        (BOB.address, share.id): whole - whole // 16,
        (ALICE.address, share.id): whole // 16 + 480,  # its own part is far below a quarter of that slot
    }
    assert state.supply().issued == whole
    assert money(state) == (5_000, 4 * 960 - 480)


def test_a_share_of_a_sponsored_task_is_paid_in_its_own_blocks_alone():
    state, elsewhere = sponsored(), cid_of(replace(OFFERED, name="another"))
    state.set_task(elsewhere, TaskState(contract=Contract(BOB.address, 960, 0, 960, None)))
    for task in (FIRST, elsewhere):
        rewarded(7, [share_at(7, task=PAID)], state=state, task=task)
    assert {share for _, share in paid(state, 7)} == {None}
    assert money(state) == (5_000, 4 * 960)


def test_what_a_share_earns_where():
    for task, carrier, paid_there in (
        (FIRST, FIRST, True), (FIRST, SECOND, True), (SECOND, PAID, True), (PAID, PAID, True), (PAID, FIRST, False),
    ):  # fmt: skip
        assert earns(PARAMS, task, carrier) is paid_there


# --- when -------------------------------------------------------------------------------------------------------


def test_a_reward_waits():
    state = rewarded(7, fees=123)
    assert state.payouts(10).items == (Payout(ALICE.address, 123), Payout(ALICE.address, 25 * DBK))
    for height in (8, 9, 11):
        pay_matured(state, height)
        assert state.account(ALICE.address).balance == 0
    pay_matured(state, 10)
    assert state.account(ALICE.address) == Account(25 * DBK + 123, 0)
    assert state.payouts(10).items == ()
    pay_matured(state, 10)
    assert state.account(ALICE.address).balance == 25 * DBK + 123


def test_fees_are_not_new_money():
    state = rewarded(7)
    rewarded(8, fees=10**9, state=state)
    assert state.supply().issued == 50 * DBK
    assert sum(paid(state, 8).values()) == 25 * DBK + 10**9


def test_after_the_last_subsidy_fees_remain():
    state = rewarded(1_000, fees=5)
    rewarded(1_001, state=state)
    assert state.supply().issued == 0
    assert state.payouts(1_003).items == (Payout(ALICE.address, 5),)
    assert state.payouts(1_004).items == ()


def test_a_payout_adds_to_what_is_there_and_leaves_the_nonce():
    state = empty_state()
    state.set_account(ALICE.address, Account(70, 9))
    rewarded(1, state=state)
    pay_matured(state, 4)
    assert state.account(ALICE.address) == Account(70 + 25 * DBK, 9)


# --- a share that was false -------------------------------------------------------------------------------------


def proof_of(share: Share, height: int, by=CAROL) -> FraudProof:
    return FraudProof(NETWORK, by.key, 0, 0, share.id, height, 1)


def test_a_proof_takes_slot_bonus_and_pledge_and_gives_a_twentieth_to_the_prover():
    false, true = share_at(7), share_at(6)
    state = rewarded(7, [false, true])
    before, slot = paid(state, 7), 50 * DBK // 6
    burned = slot + slot // 4
    burn(PARAMS, state, 9, proof_of(false, 7))
    assert paid(state, 7) == {key: amount for key, amount in before.items() if key[1] != false.id}
    assert state.payouts(12).items == (Payout(CAROL.address, burned // 20),)
    assert state.supply().issued == sum(before.values()) - burned + burned // 20


def test_a_prover_of_its_own_lie_gets_no_more_than_the_carrier_would_have_had():
    for subsidised in range(1, 2_000, 7):
        slot = subsidised // 6
        assert (slot + slot // 4) // 20 <= slot // 16


def test_what_a_sponsor_paid_for_it_burns_too():
    share = share_at(7, task=PAID)
    state = rewarded(7, [share], state=sponsored(), task=PAID)
    state.set_supply(Supply(10_000))
    burn(PARAMS, state, 8, proof_of(share, 7))
    assert state.payouts(11).items == (Payout(CAROL.address, (160 + 40) // 20),)
    assert {item.share for item in state.payouts(10).items} == {None}
    assert state.supply().issued == 10_000 - 200 + 10
    assert money(state) == (5_000, 4 * 960 - 480 - 160)


def test_the_own_part_covers_a_quarter_of_every_slot():
    shares = [share_at(7, nonce=nonce) for nonce in range(PARAMS.max_shares)]
    assert paid(rewarded(7, shares), 7)[ALICE.address, None] >= 25 * DBK - 25 * DBK // 4


def test_an_amount_is_split_between_the_block_its_shares_and_their_carrier():
    share = share_at(7)
    found = split(PARAMS, 960, block_at(7), Body((), (share,)), {FIRST})
    assert found == [
        Payout(ALICE.address, 480), Payout(BOB.address, 150, share.id), Payout(ALICE.address, 10, share.id),
    ]  # fmt: skip


def test_a_pledge_is_no_more_than_what_is_left_of_the_own_part():
    first, second = named("first"), named("second")
    payouts = [Payout(BOB.address, 100, first), Payout(BOB.address, 60, second)]
    for own, pledged in ((100, (25, 15)), (40, (25, 15)), (39, (25, 14)), (24, (24, 0)), (0, (0, 0))):
        found = pledge(ALICE.address, [Payout(ALICE.address, own), *payouts])
        assert found == [
            Payout(ALICE.address, own - sum(pledged)),
            *payouts,
            *(
                Payout(ALICE.address, part, share)
                for part, share in zip(pledged, (first, second), strict=True)
            ),
        ]


def test_what_is_paid_burned_or_of_another_height_cannot_burn():
    share = share_at(7)
    for height, at in ((10, 7), (11, 7), (8, 6), (8, 8), (9, 8), (7, 7), (8, 2**64 - 1)):
        state = rewarded(7, [share])
        before = state.delta()
        with pytest.raises(NothingToBurn) as caught:
            burn(PARAMS, state, height, proof_of(share, at))
        assert (caught.value.share, caught.value.height) == (share.id, at)
        assert state.delta() == before
    state = rewarded(7, [share])
    burn(PARAMS, state, 9, proof_of(share, 7))
    with pytest.raises(NothingToBurn):
        burn(PARAMS, state, 9, proof_of(share, 7))


def test_a_share_that_nobody_carried_burns_nothing():
    with pytest.raises(NothingToBurn):
        burn(PARAMS, rewarded(7, [share_at(7)]), 8, proof_of(share_at(6), 7))
