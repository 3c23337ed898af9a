"""A task's money: free, reserved, paid, given back."""

from consensus.escrow import close, epoch_pay, pay_out, release, reserve
from consensus.task import TaskState
from deepblock.types import Account
from tests.unit.consensus.market_parts import PARAMS, contract, offer, open_names, opened
from tests.unit.consensus.parts import ALICE, empty_state


def money(state, task):
    return contract(state, task).escrow, contract(state, task).reserved


def test_an_epoch_is_reserved_paid_and_released():
    state = empty_state()
    task = opened(state, offer(pay=100, epochs=2))
    assert epoch_pay(PARAMS, contract(state, task)) == 400
    assert money(state, task) == (800, 0)
    reserve(PARAMS, state, task)
    assert money(state, task) == (400, 400)
    pay_out(state, task, 100)
    pay_out(state, task, 53)
    assert money(state, task) == (400, 247)
    release(state, task)
    assert money(state, task) == (647, 0)


def test_what_is_left_goes_back_to_the_sponsor():
    state = empty_state()
    state.set_account(ALICE.address, Account(5, 3))
    task, other = (opened(state, offer(name)) for name in "ab")
    reserve(PARAMS, state, task)
    pay_out(state, task, 99)
    close(state, task, "budget")
    assert state.account(ALICE.address) == Account(5 + 800 - 99, 3)
    assert money(state, task) == (0, 0)
    assert contract(state, task).closed == "budget"
    assert open_names(state) == ["b"]
    assert money(state, other) == (800, 0)
    assert state.spec(PARAMS, task), "whoever wants to use the model has to know what it is"
    assert state.task(task) != TaskState()
