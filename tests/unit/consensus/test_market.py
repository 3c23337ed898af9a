"""The market: who may open, fund and end a task, and when it is active, done, or given up."""

from dataclasses import replace

import pytest

from consensus.errors import (
    EscrowTooLow,
    NotPending,
    NotTheSponsor,
    PayTooLow,
    RepeatedSignal,
    SpecRefused,
    SpecTooLarge,
    TaskExists,
    TaskNotOpen,
    TaskTooExpensive,
    TooManyTasks,
)
from consensus.market import (
    check_offer,
    check_signals,
    close_task,
    close_when_done,
    count_signals,
    fund_task,
    open_task,
    pending,
)
from consensus.schedule import stride
from consensus.task import Contract, Listed, Schedule, TaskState
from deepblock.codec import cid_of, encode
from deepblock.spec import Linear
from deepblock.transactions import OpenTask
from deepblock.types import Score
from tests.unit.consensus.market_parts import (
    PARAMS,
    contract,
    gift,
    offer,
    open_names,
    opened,
    order,
    spec_of,
)
from tests.unit.consensus.parts import ALICE, BOB, FIRST, SECOND, SPEC, empty_state, named
from tests.unit.consensus.parts import PARAMS as RULES

# --- opening ----------------------------------------------------------------------------------------------------


def test_an_offer_within_the_bounds_passes():
    check_offer(PARAMS, offer(epochs=1))


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (offer(lr_low=1), SpecRefused),
        (offer(segments=2), SpecRefused),
        (offer(segments=17), TaskTooExpensive),
        (replace(offer(), escrow=100 * PARAMS.epoch - 1), EscrowTooLow),
        (offer(name="x" * 17_000), SpecTooLarge),
    ],
)
def test_an_offer_that_nobody_should_have_to_keep(made, error):
    with pytest.raises(error):
        check_offer(PARAMS, made)


@pytest.mark.parametrize(
    ("height", "least"), [(1, 5_000_000_000), (10, 5_000_000_000), (11, 2_500_000_000), (321, 1), (10**12, 1)]
)
def test_a_task_pays_what_it_keeps_from_being_minted(height, least):
    state = empty_state()
    before = state.delta()
    for pay in (0, least - 1):
        with pytest.raises(PayTooLow) as caught:
            open_task(RULES, state, height, offer(pay=pay))
        assert (caught.value.found, caught.value.required) == (pay, least)
    assert state.delta() == before
    open_task(RULES, state, height, offer(pay=least))
    assert open_names(state) == ["offered"]


def test_what_is_wrong_with_a_description_is_said():
    with pytest.raises(SpecRefused, match="the last layer gives"):
        check_offer(PARAMS, offer(layers=(Linear(4),)))


def test_an_opened_task_waits_for_signals():
    state = empty_state()
    made = offer(target=7)
    open_task(PARAMS, state, 5, made)
    task = cid_of(made.spec)
    assert state.task(task) == TaskState(contract=Contract(ALICE.address, 100, 800, 0, 7))
    assert state.spec(PARAMS, task) == made.spec
    assert state.open_tasks().items == (Listed(task, 0, False, 5),)
    assert pending(state) == [task]


def test_a_task_is_opened_once_and_never_again():
    state = empty_state()
    task = opened(state, offer())
    for made in (offer(), offer(by=BOB, pay=1)):
        with pytest.raises(TaskExists) as caught:
            open_task(PARAMS, state, 6, made)
        assert caught.value.task == task
    set_closed(state, task)
    with pytest.raises(TaskExists):
        open_task(PARAMS, state, 6, offer())
    with pytest.raises(TaskExists):
        open_task(PARAMS, state, 6, replace(offer(), spec=SPEC))


def set_closed(state, task):
    state.set_task(task, TaskState(contract=replace(contract(state, task), closed="sponsor")))


def test_in_a_full_list_the_waiting_task_that_pays_least_gives_way():
    state = empty_state()
    opened(state, offer("a", pay=1))
    second = opened(state, offer("b", pay=5, by=BOB), active=False)
    opened(state, offer("c", pay=6), active=False)
    before = state.delta()
    for pay in (4, 5):
        with pytest.raises(TooManyTasks):
            open_task(PARAMS, state, 9, offer("d", pay=pay))
    assert state.delta() == before
    open_task(PARAMS, state, 9, offer("d", pay=7))
    assert open_names(state) == ["a", "c", "d"]
    assert contract(state, second).closed == "outbid"
    assert state.account(BOB.address).balance == 2 * 5 * PARAMS.epoch


def test_active_tasks_give_way_to_nobody():
    state = empty_state()
    for name in "abc":
        opened(state, offer(name, pay=1))
    with pytest.raises(TooManyTasks) as caught:
        open_task(PARAMS, state, 9, offer("d", pay=100))
    assert caught.value.waiting == 3


def named_so_that_it_has(size: int) -> OpenTask:
    """An offer whose description has so many bytes, most of which are its name."""
    without = len(encode(offer(name="x" * 1_000).spec)) - 1_000
    made = offer(name="x" * (size - without))
    assert len(encode(made.spec)) == size
    return made


def test_a_refused_offer_is_told_what_it_has_and_what_it_may_have():
    with pytest.raises(SpecRefused, match="the name's length"):
        check_offer(PARAMS, named_so_that_it_has(16_384))
    for made, found, bound in (
        (named_so_that_it_has(16_385), 16_385, 16_384),
        (offer(segments=17), 17 * 96, 4 * 384),
    ):
        with pytest.raises((SpecTooLarge, TaskTooExpensive)) as caught:
            check_offer(PARAMS, made)
        assert (caught.value.found, caught.value.limit) == (found, bound)
    with pytest.raises(EscrowTooLow) as caught:
        check_offer(PARAMS, replace(offer(pay=101), escrow=101 * PARAMS.epoch - 1))
    assert (caught.value.found, caught.value.required) == (101 * PARAMS.epoch - 1, 101 * PARAMS.epoch)


# --- funding and ending -----------------------------------------------------------------------------------------


def test_anybody_may_add_to_the_escrow():
    state = empty_state()
    task = opened(state, offer())
    fund_task(state, gift(task, 11, by=BOB))
    assert contract(state, task).escrow == 811


def test_the_sponsor_ends_its_task():
    state = empty_state()
    task = opened(state, offer())
    with pytest.raises(NotTheSponsor) as caught:
        close_task(state, order(task, by=BOB))
    assert (caught.value.task, caught.value.sponsor) == (task, ALICE.address)
    close_task(state, order(task))
    assert contract(state, task).closing
    assert open_names(state) == ["offered"], "until the end of an epoch"


def test_what_is_closed_or_about_to_close_takes_no_money_and_no_orders():
    closing, closed = empty_state(), empty_state()
    task = opened(closing, offer(), closing=True)
    opened(closed, offer())
    set_closed(closed, task)
    for state, which in ((closing, task), (closed, task), (closed, FIRST), (closed, named("unknown"))):
        before = state.delta()
        with pytest.raises(TaskNotOpen) as caught:
            fund_task(state, gift(which, 1))
        assert caught.value.task == which
        with pytest.raises(TaskNotOpen):
            close_task(state, order(which))
        assert state.delta() == before


# --- signals ----------------------------------------------------------------------------------------------------


def test_signals_name_waiting_tasks_once_each():
    state = empty_state()
    one, two = (opened(state, offer(name), active=False) for name in "ab")
    running = opened(state, offer("c"))
    check_signals(state, ())
    check_signals(state, (two, one))
    with pytest.raises(RepeatedSignal) as caught:
        check_signals(state, (one, two, one))
    assert caught.value.task == one
    for task in (running, FIRST, named("unknown")):
        with pytest.raises(NotPending) as caught:
            check_signals(state, (one, task))
        assert caught.value.task == task


def signalled(state, task, pattern: str):
    for height, mark in enumerate(pattern, 1):
        count_signals(PARAMS, state, height, (task,) if mark == "x" else ())
    return state.open_tasks().items[0]


@pytest.mark.parametrize(
    ("pattern", "active", "since"),
    [
        ("xx", False, 1),
        ("xxx", True, 3),
        ("xx.x", True, 4),
        ("xx..x", False, 1),
        ("x.xx.x", True, 4),
        ("x..xx.x", True, 7),
        ("x.x.x.x.x", False, 1),
        ("xxx....", True, 3),
    ],
)
def test_three_of_four_blocks_make_a_task_active(pattern, active, since):
    state = empty_state()
    task = opened(state, offer(), active=False)
    listed = signalled(state, task, pattern)
    assert (listed.active, listed.since) == (active, since)


def test_only_the_blocks_of_the_window_are_remembered():
    state = empty_state()
    task = opened(state, offer(), active=False)
    assert signalled(state, task, "xx...x").signals == 0b0001
    assert signalled(state, task, ".").signals == 0b0010


def test_a_task_starts_a_stride_behind_the_others():
    state = empty_state()
    state.set_schedule(Schedule(FIRST, FIRST, 1_000))
    task = opened(state, offer(pay=50), active=False)
    signalled(state, task, "xxx")
    assert contract(state, task).position == 1_000 + stride(PARAMS, spec_of("offered"), 50)


# --- at its end -------------------------------------------------------------------------------------------------


def trained(state, task, loss: int, height: int = 5):
    state.set_task(task, replace(state.task(task), model=named("m"), score=Score(loss, 1)))
    close_when_done(PARAMS, state, height, task)
    return contract(state, task)


@pytest.mark.parametrize(("loss", "closed"), [(701, ""), (700, "target"), (0, "target")])
def test_a_task_closes_at_its_target(loss, closed):
    state = empty_state()
    task = opened(state, offer(target=700), reserved=30)
    state.set_schedule(Schedule(task, SECOND, 7))
    assert trained(state, task, loss).closed == closed
    assert state.account(ALICE.address).balance == (830 if closed else 0)
    assert state.schedule() == Schedule(FIRST if closed else task, SECOND, 7)
    assert state.task(task).model == named("m")


def test_without_a_target_no_loss_is_the_last():
    state = empty_state()
    assert not trained(state, opened(state, offer()), 0).closed


def test_a_task_closes_at_its_plateau():
    state = empty_state()
    task = opened(state, offer())
    losses = [10_000, 9_991, 9_999, 9_990, 9_981, 9_981, 12_000, 9_981, 9_981]
    stale = [trained(state, task, loss).stale for loss in losses]
    assert stale == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert contract(state, task).closed == "plateau"
    assert state.account(ALICE.address).balance == 800


@pytest.mark.parametrize(("gain", "stale"), [(1_000, 1), (1_001, 0)])
def test_a_gain_is_at_least_a_thousandth(gain, stale):
    state = empty_state()
    task = opened(state, offer())
    trained(state, task, 1_001_000)
    assert trained(state, task, 1_001_000 - gain).stale == stale


def test_gains_too_small_to_count_add_up():
    state = empty_state()
    task = opened(state, offer())
    assert [trained(state, task, loss).stale for loss in (10_000, 9_996, 9_993, 9_990, 9_985)] == [
        0,
        1,
        2,
        0,
        1,
    ]


def test_a_perfect_model_is_a_plateau():
    state = empty_state()
    task = opened(state, offer())
    assert [trained(state, task, 0).stale for _ in range(6)] == [0, 1, 2, 3, 4, 5]
    assert contract(state, task).closed == "plateau"


def test_a_base_task_has_no_end():
    state = empty_state()
    before = TaskState(named("m"), Score(0, 1))
    state.set_task(FIRST, before)
    close_when_done(PARAMS, state, 5, FIRST)
    assert state.task(FIRST) == before
