"""The rule of a block as a whole: what each of its three parts looks at, and what a block does to the state."""

from dataclasses import replace

import pytest

from consensus.errors import (
    BadSignature,
    CannotPay,
    FalseShare,
    NothingToBurn,
    RepeatedState,
    TaskUnknown,
    TicketMissed,
    WorseResult,
    WrongBody,
    WrongDifficulty,
    WrongHeight,
    WrongNetwork,
    WrongNonce,
    WrongResult,
    WrongStateCount,
    WrongVersion,
)
from consensus.seal import GATE_FAILED, GATE_PASSED, limit
from consensus.state import Payout, Payouts
from consensus.task import Schedule, TaskState, specs
from consensus.transition import apply_block, check_block, check_chained
from deepblock.codec import cid_of
from deepblock.primitives import DBK, Signature
from deepblock.transactions import FraudProof
from deepblock.types import Account, Block, Body, Result, Score
from tests.unit.consensus.line import Line
from tests.unit.consensus.market_parts import EPOCH_PAY, contract, offer, opened
from tests.unit.consensus.parts import (
    ALICE,
    BOB,
    CAROL,
    FIRST,
    FLOOR,
    GUESSING,
    NETWORK,
    NOBODY,
    PARAMS,
    SECOND,
    ancestry,
    empty_state,
    header_on,
    named,
    no_past,
    seal_of,
    transfer,
)

BELOW = ancestry()
NOW = 1_000_010


def block_on(below=BELOW, loss=GUESSING, task=None, wins=True, body=Body(), **changes) -> Block:  # noqa: B008
    header = header_on(below, body=body.cid, **changes)
    seal = seal_of(header, loss, task, wins)
    return Block(header, seal, Result(seal.average, seal.score))


BLOCK = block_on()


def by_itself(block: Block):
    check_block(PARAMS, NETWORK, block, specs(PARAMS).get)


def chained(block: Block, below=BELOW, state=None, now=NOW):
    check_chained(PARAMS, NETWORK, block, below, state or empty_state(), now)


# --- by itself --------------------------------------------------------------------------------------------------


def test_an_honest_block_passes():
    by_itself(BLOCK)
    chained(BLOCK)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": 2}, WrongVersion(2, 1)),
        ({"network": named("n")}, WrongNetwork(named("n"), NETWORK)),
        ({"difficulty": FLOOR - 1}, WrongDifficulty(FLOOR - 1, FLOOR)),
        ({"difficulty": 0}, WrongDifficulty(0, FLOOR)),
        ({"task": named("t")}, TaskUnknown(named("t"))),
    ],
)
def test_what_a_header_shows_by_itself(change, error):
    with pytest.raises(type(error)) as caught:
        by_itself(replace(BLOCK, header=replace(BLOCK.header, **change)))
    assert vars(caught.value) == vars(error)


def test_what_a_seal_shows_by_itself():
    states = BLOCK.seal.states
    for seal, error in (
        (replace(BLOCK.seal, states=states[:3]), WrongStateCount),
        (replace(BLOCK.seal, states=(*states[:3], states[0])), RepeatedState),
        (seal_of(BLOCK.header, wins=False), TicketMissed),
    ):
        with pytest.raises(error):
            by_itself(replace(BLOCK, seal=seal))


def test_another_task_has_its_own_segments_and_cost(monkeypatch):
    other = block_on(replace(BELOW, height=8), task=TaskState())
    assert other.header.task == SECOND
    assert len(other.seal.states) == 3
    by_itself(other)
    monkeypatch.setattr("consensus.seal.ticket", lambda header, seal: limit(FLOOR, 16, 288))
    with pytest.raises(TicketMissed):
        by_itself(other)


@pytest.mark.parametrize("loss", [GUESSING, GUESSING + 1])
def test_by_itself_a_ticket_is_given_the_benefit_of_the_gate(monkeypatch, loss):
    """Whether it passed the gate depends on the chain; who relays does not know the chain."""
    block = replace(BLOCK, seal=replace(BLOCK.seal, score=Score(loss, 5)))
    bound = limit(FLOOR, GATE_PASSED, 384)
    monkeypatch.setattr("consensus.seal.ticket", lambda header, seal: bound - 1)
    by_itself(block)
    monkeypatch.setattr("consensus.seal.ticket", lambda header, seal: bound)
    with pytest.raises(TicketMissed):
        by_itself(block)


# --- on its chain -----------------------------------------------------------------------------------------------


def test_the_header_is_checked_against_its_parent():
    with pytest.raises(WrongHeight):
        chained(block_on(height=2))


def test_the_gate_is_that_of_the_chain(monkeypatch):
    monkeypatch.setattr("consensus.seal.ticket", lambda header, seal: limit(FLOOR, GATE_FAILED, 384))
    chained(BLOCK)
    state = empty_state()
    state.set_task(FIRST, TaskState(offset=-1))
    with pytest.raises(TicketMissed):
        chained(BLOCK, state=state)


def test_the_result_is_that_of_the_chain():
    state = empty_state()
    before = Result(named("before"), Score(GUESSING - 1, 5))
    state.set_task(FIRST, TaskState(before.model, before.score, 1, 1))
    chained(replace(BLOCK, result=before), state=state)
    with pytest.raises(WorseResult):
        chained(BLOCK, state=state)
    with pytest.raises(WrongResult):
        apply_block(PARAMS, empty_state(), replace(BLOCK, result=before), Body(), no_past)


def test_another_tasks_state_does_not_matter():
    state = empty_state()
    state.set_task(SECOND, TaskState(named("m"), Score(1, 1), -(10**9), 1))
    chained(BLOCK, state=state)


# --- what it does -----------------------------------------------------------------------------------------------


def test_an_empty_block_rewards_its_miner_and_trains_its_task():
    state = empty_state()
    apply_block(PARAMS, state, BLOCK, Body(), no_past)
    assert state.supply().issued == 25 * DBK
    assert state.payouts(4).items == (Payout(NOBODY, 25 * DBK),)
    assert state.account(NOBODY).balance == 0
    task = state.task(FIRST)
    assert (task.model, task.score) == (BLOCK.result.model, BLOCK.result.score)
    assert (task.offset, task.blocks) == (
        -((GUESSING - BLOCK.seal.score.loss) // 16) + GUESSING - BLOCK.result.score.loss,
        1,
    )
    assert state.task(SECOND) == TaskState()


@pytest.mark.parametrize(("loss", "step"), [(GUESSING + 8_400, -100), (GUESSING + 11_600, 1_600)])
def test_the_offset_follows_the_blocks_own_session(loss, step):
    """Its own: not the model that the block names, which here is the old one."""
    state = empty_state()
    before = Result(named("before"), Score(GUESSING, 5))
    state.set_task(FIRST, TaskState(before.model, before.score, 10_000, 1))
    block = block_on(loss=loss, task=state.task(FIRST))
    apply_block(PARAMS, state, replace(block, result=before), Body(), no_past)
    assert state.task(FIRST) == TaskState(before.model, before.score, 10_000 + step, 2)


def rich_state(*wallets):
    state = empty_state()
    for wallet in wallets:
        state.set_account(wallet.address, Account(100_000, 0))
    return state


def test_transactions_are_applied_in_order_and_their_fees_are_the_miners():
    body = Body(
        (
            transfer(ALICE, BOB.address, 50_000, fee=10_000),
            transfer(BOB, CAROL.address, 30_000, fee=20_000),  # out of what just came
            transfer(ALICE, BOB.address, 1, nonce=1, fee=10_003),
        )
    )
    state = rich_state(ALICE)
    apply_block(PARAMS, state, block_on(body=body), body, no_past)
    assert state.account(ALICE.address) == Account(100_000 - 60_000 - 10_004, 2)
    assert state.account(BOB.address) == Account(1, 1)
    assert state.account(CAROL.address) == Account(30_000, 0)
    assert state.payouts(4).items == (Payout(NOBODY, 40_003), Payout(NOBODY, 25 * DBK))


def test_one_transaction_that_cannot_be_applied_refuses_the_block():
    one, two = transfer(ALICE, BOB.address, 1), transfer(ALICE, BOB.address, 1, nonce=1)
    for transactions, error in (((two, one), WrongNonce), ((two,), WrongNonce)):
        body = Body(transactions)
        with pytest.raises(error):
            apply_block(PARAMS, rich_state(ALICE), block_on(body=body), body, no_past)
    body = Body((transfer(BOB, ALICE.address, 1),))
    with pytest.raises(CannotPay):
        apply_block(PARAMS, rich_state(ALICE), block_on(body=body), body, no_past)


def test_the_body_is_the_headers():
    with pytest.raises(WrongBody):
        apply_block(PARAMS, rich_state(ALICE), BLOCK, Body((transfer(ALICE, BOB.address, 1),)), no_past)


def test_only_transactions_that_nobody_has_checked_are_checked():
    false = replace(transfer(ALICE, BOB.address, 1), signature=Signature(bytes(64)))
    body = Body((false,))
    with pytest.raises(BadSignature):
        apply_block(PARAMS, rich_state(ALICE), block_on(body=body), body, no_past)
    state = rich_state(ALICE)
    apply_block(PARAMS, state, block_on(body=body), body, no_past, {false.id})
    assert state.account(BOB.address).balance == 1


def test_a_reward_can_be_spent_in_the_very_block_in_which_it_matures():
    state = empty_state()
    state.set_payouts(1, Payouts((Payout(ALICE.address, 10_001),)))
    body = Body((transfer(ALICE, BOB.address, 1),))
    apply_block(PARAMS, state, block_on(body=body), body, no_past)
    assert state.account(BOB.address).balance == 1
    assert state.payouts(1).items == ()


def test_and_not_in_the_block_before():
    state = empty_state()
    state.set_payouts(2, Payouts((Payout(ALICE.address, 10_001),)))
    body = Body((transfer(ALICE, BOB.address, 1),))
    with pytest.raises(CannotPay):
        apply_block(PARAMS, state, block_on(body=body), body, no_past)


def test_a_sponsors_task_that_meets_its_target_closes_and_the_base_task_goes_on():
    """In the first of the four blocks of its epoch; what was reserved for them goes back."""
    made = offer(target=GUESSING)

    def begin(state):
        task = opened(state, made, escrow=EPOCH_PAY, reserved=EPOCH_PAY)
        state.set_schedule(Schedule(task, FIRST, 0))

    line = Line(begin=begin)
    line.grow(loss=GUESSING + 1)
    assert contract(line.state(), cid_of(made.spec)).closed == ""
    line.grow(loss=GUESSING)
    assert contract(line.state(), cid_of(made.spec)).closed == "target"
    assert line.state().schedule().current == FIRST
    assert line.grow().header.task == FIRST


# --- shares -----------------------------------------------------------------------------------------------------


def test_a_block_that_carries_shares():
    """The shares are checked, counted and paid; a better model than the own average may follow from them."""
    line = Line()
    shares = (line.share(miner=BOB.address), line.share(miner=CAROL.address))
    body = Body((), shares)
    block = line.block(body)
    ensemble = replace(block, result=Result(named("ensemble"), Score(GUESSING - 1, 6)))
    line.take(ensemble, body)
    state = line.state()
    assert state.sessions(1).headers == tuple(item.header.cid for item in (block, *shares))
    assert {item.address for item in state.payouts(4).items} == {NOBODY, BOB.address, CAROL.address}
    assert state.task(FIRST).model == named("ensemble")
    assert state.supply().issued == 25 * DBK + 2 * (50 * DBK // 6)


def test_a_share_that_is_not_in_order_refuses_the_block():
    line = Line()
    share = line.share()
    body = Body((), (replace(share, seal=replace(share.seal, states=share.seal.states[1:])),))
    with pytest.raises(FalseShare, match="3 states"):
        line.check(line.block(body), body)


def test_a_proven_fraud_leads_from_the_payout_to_the_prover():
    line = Line(begin=lambda state: state.set_account(ALICE.address, Account(10**6, 0)))
    share = line.share(miner=BOB.address)
    line.grow(Body((), (share,)))
    proof = FraudProof(line.network, ALICE.key, 0, 10_000, share.id, 1, 3)
    line.grow(Body((ALICE.sign(proof),)))
    slot = 50 * DBK // 6
    prize = (slot + slot // 4) // 20
    assert line.state().supply().issued == 2 * 25 * DBK - slot // 4 + prize
    for _ in range(3):
        line.grow()
    assert line.state().account(BOB.address).balance == 0
    assert line.state().account(ALICE.address) == Account(10**6 - 10_000 + prize, 1)
    late = FraudProof(line.network, ALICE.key, 1, 10_000, share.id, 1, 3)
    body = Body((ALICE.sign(late),))
    with pytest.raises(NothingToBurn):
        line.check(line.block(body), body)
