"""The state: typed keys, and a delta that applies and undoes."""

from consensus.state import (
    Account,
    Change,
    Delta,
    Payout,
    Payouts,
    Session,
    Sessions,
    State,
    Supply,
    account_key,
    payouts_key,
    sessions_key,
    spec_key,
    task_key,
)
from consensus.task import TaskState
from deepblock.codec import decode, encode
from deepblock.types import Score
from tests.unit.consensus.parts import ALICE, BOB, FIRST, SECOND, empty_state, named


def test_keys_cannot_meet():
    heights = {key(height) for key in (payouts_key, sessions_key) for height in (1, 256)}
    keys = {b"s", b"o", b"e", account_key(ALICE.address), task_key(FIRST), spec_key(FIRST), *heights}
    assert len(keys) == 10
    assert len({key[:1] for key in keys}) == 8  # no key of one sort is one of another
    assert account_key(ALICE.address) == b"a" + ALICE.address
    assert task_key(FIRST) == b"t" + FIRST
    assert payouts_key(258) == b"p" + bytes(6) + b"\x01\x02"
    assert sessions_key(258) == b"c" + bytes(6) + b"\x01\x02"


def test_sessions_that_do_not_matter_any_more_leave_no_key():
    state = State(lambda key: None)
    state.set_sessions(7, Sessions((Session(FIRST),)))
    assert state.sessions(7).headers == (FIRST,)
    assert state.sessions(8) == Sessions()
    state.set_sessions(7, Sessions())
    assert state.delta() == Delta(())


def test_what_is_not_there_has_a_value():
    state = State(lambda key: None)
    assert state.account(ALICE.address) == Account(0, 0)
    assert state.task(FIRST) == TaskState(None, None, 0, 0)
    assert state.payouts(5) == Payouts(())
    assert state.supply() == Supply(0)


def test_what_is_written_is_read():
    state = State(lambda key: None)
    state.set_account(ALICE.address, Account(5, 6))
    state.set_task(FIRST, TaskState(named("m"), Score(1, 2), -3, 4))
    state.set_payouts(7, Payouts((Payout(BOB.address, 8),)))
    state.set_supply(Supply(9))
    assert state.account(ALICE.address) == Account(5, 6)
    assert state.account(BOB.address) == Account()
    assert state.task(FIRST) == TaskState(named("m"), Score(1, 2), -3, 4)
    assert state.task(SECOND) == TaskState()
    assert state.payouts(7).items == (Payout(BOB.address, 8),)
    assert state.payouts(8).items == ()
    assert state.supply().issued == 9


def test_reads_go_through_and_writes_stay_here():
    below = {
        account_key(ALICE.address): encode(Account(5, 0)),
        account_key(BOB.address): encode(Account(6, 0)),
    }
    state = State(below.get)
    state.set_account(ALICE.address, Account(1, 1))
    assert state.account(ALICE.address) == Account(1, 1)
    assert state.account(BOB.address) == Account(6, 0)
    assert below[account_key(ALICE.address)] == encode(Account(5, 0))


def test_the_delta_has_old_and_new_in_order_of_the_keys():
    alice, bob = account_key(ALICE.address), account_key(BOB.address)
    state = State({alice: encode(Account(5, 0))}.get)
    state.set_account(BOB.address, Account(1, 0))
    state.set_account(ALICE.address, Account(4, 0))
    state.set_account(ALICE.address, Account(3, 1))
    delta = state.delta()
    assert delta == Delta(
        tuple(
            sorted(
                (
                    Change(alice, encode(Account(3, 1)), encode(Account(5, 0))),
                    Change(bob, encode(Account(1, 0)), None),
                ),
                key=lambda change: change.key,
            )
        )
    )
    assert delta.new == {alice: encode(Account(3, 1)), bob: encode(Account(1, 0))}
    assert delta.old == {alice: encode(Account(5, 0)), bob: None}


def test_what_came_back_to_its_old_value_has_not_changed():
    below = {account_key(ALICE.address): encode(Account(5, 0))}
    state = State(below.get)
    state.set_account(ALICE.address, Account(4, 0))
    state.set_account(ALICE.address, Account(5, 0))
    state.set_payouts(3, Payouts((Payout(BOB.address, 8),)))
    state.set_payouts(3, Payouts())
    state.set_payouts(4, Payouts())
    assert state.delta() == Delta(())


def test_payouts_that_were_paid_leave_no_key():
    below = {payouts_key(3): encode(Payouts((Payout(BOB.address, 8),)))}
    state = State(below.get)
    state.set_payouts(3, Payouts())
    assert state.payouts(3) == Payouts()
    assert state.delta().new == {payouts_key(3): None}


def test_a_delta_can_be_stored():
    delta = empty_state().delta()
    assert {change.key for change in delta.changes} == {b"e", task_key(FIRST), task_key(SECOND)}
    assert decode(Delta, encode(delta)) == delta
