"""Whose turn it is: base tasks in turns, sponsored ones in proportion to what they pay."""

from collections import Counter
from dataclasses import replace

import pytest

from consensus.schedule import choose, end_epoch, stride
from consensus.state import State
from consensus.task import Schedule, base_task
from consensus.template import genesis_state
from deepblock.cid import Cid
from tests.unit.consensus.market_parts import PARAMS, contract, offer, open_names, opened, spec_of
from tests.unit.consensus.parts import ALICE, FIRST, OTHER, SECOND, empty_state

LAST = PARAMS.epoch - 1


def epochs(state: State, count: int, since: int = 0) -> list[Cid]:
    """The tasks of so many epochs, each trained by a block, none of which pays."""
    found = []
    for epoch in range(since, since + count):
        found.append(state.schedule().current)
        trained = state.task(found[-1])
        state.set_task(found[-1], replace(trained, blocks=trained.blocks + 1))
        for height in range(epoch * PARAMS.epoch, (epoch + 1) * PARAMS.epoch):
            end_epoch(PARAMS, state, height)
    return found


def test_base_tasks_take_turns_two_epochs_each():
    assert epochs(empty_state(), 6) == [FIRST, FIRST, SECOND, SECOND, FIRST, FIRST]


def test_so_do_three():
    params = replace(PARAMS, base_tasks=(*PARAMS.base_tasks, replace(OTHER, name="third")))
    state = State(lambda key: None)
    genesis_state(params, state)
    found = []
    for epoch in range(8):
        found.append(state.schedule().current)
        end_epoch(params, state, epoch * params.epoch + LAST)
    assert found == [base_task(params, epoch) for epoch in range(8)]
    assert len(set(found)) == 3


def test_only_the_last_block_of_an_epoch_decides():
    state = empty_state()
    opened(state, offer(), closing=True)
    before = state.delta()
    for height in range(LAST):
        end_epoch(PARAMS, state, height)
    assert state.delta() == before
    end_epoch(PARAMS, state, LAST)
    assert state.schedule() == Schedule(FIRST, SECOND)


def test_an_epoch_is_decided_and_reserved_an_epoch_ahead():
    state = empty_state()
    task = opened(state, offer(pay=100, epochs=3), position=7)
    epochs(state, 1)
    assert state.schedule() == Schedule(FIRST, SECOND, 0), "epochs 1 and 2"
    assert contract(state, task).reserved == 0
    epochs(state, 1, since=1)
    assert state.schedule() == Schedule(SECOND, task, 7), "epochs 2 and 3"
    assert (contract(state, task).escrow, contract(state, task).reserved) == (800, 400)
    assert contract(state, task).position == 7 + stride(PARAMS, spec_of("offered"), 100)
    epochs(state, 1, since=2)
    assert state.schedule() == Schedule(task, FIRST, 7), "epochs 3 and 4"
    assert contract(state, task).reserved == 400


def test_what_an_epoch_did_not_pay_counts_for_the_next():
    """Money for one epoch, and no block takes any: it is reserved again and again, and stays whole."""
    state = empty_state()
    task = opened(state, offer(epochs=1))
    assert epochs(state, 8)[3::2] == [task, task, task]
    assert contract(state, task).escrow + contract(state, task).reserved == 400


def test_a_stride_is_macs_a_mote():
    assert stride(PARAMS, OTHER, 1) == 288 << 32
    assert stride(PARAMS, OTHER, 7) == (288 << 32) // 7
    assert stride(PARAMS, spec_of("large"), 1) == 384 << 32, "what is dearer than base task 0 counts as that"
    assert stride(PARAMS, OTHER, 2**63) == 1


def test_epochs_are_shared_in_proportion_to_pay_per_mac():
    state = empty_state()
    pays = {
        opened(state, offer(name, pay=pay, epochs=10_000)): pay
        for name, pay in zip("abc", (1, 2, 5), strict=True)
    }
    found = Counter(epochs(state, 2 + 1_600)[3::2])
    for task, pay in pays.items():
        assert abs(found[task] - 100 * pay) <= 1


def test_equals_are_taken_in_the_order_of_their_ids():
    state = empty_state()
    tasks = sorted(opened(state, offer(name, epochs=9)) for name in "abc")
    assert epochs(state, 14)[3::2] == [*tasks, *tasks]


def test_every_other_epoch_is_a_base_tasks():
    state = empty_state()
    opened(state, offer(epochs=100))
    assert set(epochs(state, 40)[::2]) == {FIRST, SECOND}


@pytest.mark.parametrize("change", [{"closing": True}, {"escrow": 399}])
def test_who_is_about_to_close_or_cannot_pay_is_not_chosen(change):
    state = empty_state()
    opened(state, offer(), **change)
    assert choose(PARAMS, state, 3) == SECOND


def test_who_waits_for_signals_is_not_chosen():
    state = empty_state()
    opened(state, offer(), active=False)
    assert choose(PARAMS, state, 3) == SECOND


@pytest.mark.parametrize("escrow", [399, 400])
def test_whose_budget_is_used_closes(escrow):
    state = empty_state()
    task = opened(state, offer(), escrow=escrow)
    end_epoch(PARAMS, state, LAST)
    assert contract(state, task).closed == ("budget" if escrow == 399 else "")
    assert state.account(ALICE.address).balance == (399 if escrow == 399 else 0)


def test_a_task_whose_epoch_begins_is_spared():
    state = empty_state()
    task = opened(state, offer(), escrow=1, reserved=399, closing=True)
    state.set_schedule(Schedule(SECOND, task, 0))
    end_epoch(PARAMS, state, 2 * PARAMS.epoch + LAST)
    assert open_names(state) == ["offered"]
    end_epoch(PARAMS, state, 3 * PARAMS.epoch + LAST)
    assert contract(state, task).closed == "sponsor"
    assert state.account(ALICE.address).balance == 400


@pytest.mark.parametrize(
    ("height", "active", "closed"), [(11, False, ""), (15, False, "expired"), (15, True, "")]
)
def test_who_waits_too_long_for_signals_gets_the_money_back(height, active, closed):
    state = empty_state()
    task = opened(state, offer(), active=active, height=15 - PARAMS.pending_blocks)
    end_epoch(PARAMS, state, height)
    assert contract(state, task).closed == closed
    assert state.account(ALICE.address).balance == (800 if closed else 0)


def test_a_task_that_no_block_of_its_epoch_trained_closes():
    """So that data that vanished slows one epoch down, and not every second one for ever."""
    state = empty_state()
    task = opened(state, offer())
    assert epochs(state, 4)[-1] == task
    assert contract(state, task).closed == "", "one block is enough"
    epochs(state, 1, since=4)
    assert state.schedule().current == task
    end_epoch(PARAMS, state, 5 * PARAMS.epoch + LAST)
    assert contract(state, task).closed == "idle"
    assert state.account(ALICE.address).balance == 800


def test_a_task_that_came_late_does_not_make_up_for_it():
    """It starts where the others are: not at zero, where it would have every epoch until it has caught up."""
    state = empty_state()
    opened(state, offer("early", pay=10, epochs=1_000))
    epochs(state, 42)
    late = opened(state, offer("late", pay=10, epochs=1_000), position=0)
    contract_now = replace(
        contract(state, late), position=state.schedule().virtual + stride(PARAMS, spec_of("late"), 10)
    )
    state.set_task(late, replace(state.task(late), contract=contract_now))
    found = epochs(state, 22, since=42)[3::2]
    assert 4 <= found.count(late) <= 6
