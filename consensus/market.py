"""The market: sponsors open, fund and end tasks, miners say whose data they hold (protocol: Tasks)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from consensus import escrow
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
from consensus.params import Params
from consensus.rewards import subsidy
from consensus.schedule import stride, stride_of
from consensus.state import State
from consensus.task import Contract, Listed, OpenTasks, TaskState, base_task
from deepblock.cid import Cid
from deepblock.codec import cid_of, encode
from deepblock.spec import SpecError, TaskSpec, check_bounds, session_macs
from deepblock.transactions import CloseTask, FundTask, OpenTask

MAX_SPEC: Final = 16 << 10
"""Bytes of a task's description, which the state keeps for ever."""

LEAST_GAIN: Final = 1_000
"""A loss is an improvement when it is lower by at least one part in so many."""


def check_offer(params: Params, offer: OpenTask) -> None:
    """Rule T1. What an offer shows by itself: a description within the bounds, a session that costs at most so many of
    base task 0, and money for at least an epoch."""
    check_description(params, offer.spec)
    if offer.escrow < offer.pay * params.epoch:
        raise EscrowTooLow(offer.escrow, offer.pay * params.epoch)


def check_description(params: Params, spec: TaskSpec) -> None:
    """Of an offer, what is not about money."""
    size = len(encode(spec))
    if size > MAX_SPEC:
        raise SpecTooLarge(size, MAX_SPEC)
    try:
        check_bounds(spec, params.min_train)
    except SpecError as error:
        raise SpecRefused(str(error)) from None
    if session_macs(spec) > max_session_macs(params):
        raise TaskTooExpensive(session_macs(spec), max_session_macs(params))


def check_pay(params: Params, height: int, pay: int) -> None:
    """Rule T19. An offer at `height` pays no less for a block than the subsidy whose place it takes."""
    if pay < least_pay(params, height):
        raise PayTooLow(pay, least_pay(params, height))


def least_pay(params: Params, height: int) -> int:
    """Motes; one where there is no subsidy left, as epochs are shared out by pay. It never grows, so who offers enough
    now will do so for ever."""
    return max(1, subsidy(params, height))


def max_session_macs(params: Params) -> int:
    """The most that a session of a sponsored task may cost."""
    return params.max_task_cost * session_macs(params.base_tasks[0])


def open_task(params: Params, state: State, height: int, offer: OpenTask) -> None:
    """Rule T2. A task that the chain has never seen is open from now on, and waits for signals; its escrow is held.

    Where the list is full, the waiting task that pays least per MAC gives way to one that pays more: places are cheap
    to ask for, and would otherwise be cheap to block.
    """
    task = cid_of(offer.spec)
    if state.spec(params, task):
        raise TaskExists(task)
    check_pay(params, height, offer.pay)
    if len(state.open_tasks().items) >= params.max_open_tasks:
        escrow.close(state, _outbid(params, state, offer), "outbid")
    contract = Contract(offer.sender.address, offer.pay, offer.escrow, 0, offer.target)
    state.set_spec(task, offer.spec)
    state.set_task(task, TaskState(contract=contract))
    items = state.open_tasks().items
    state.set_open_tasks(OpenTasks((*items, Listed(task, 0, False, height))))


def _outbid(params: Params, state: State, offer: OpenTask) -> Cid:
    """The waiting task that gives way to the offer."""
    items = state.open_tasks().items
    waiting = [(stride_of(params, state, item.task), item.task) for item in items if not item.active]
    worst, task = max(waiting, default=(0, None))
    if task is None or worst <= stride(params, offer.spec, offer.pay):
        raise TooManyTasks(len(items))
    return task


def fund_task(state: State, gift: FundTask) -> None:
    """Rule T3. Anybody may add to the escrow of a task that is open and not about to close."""
    contract = _open_contract(state, gift.task)
    escrow.set_contract(state, gift.task, replace(contract, escrow=contract.escrow + gift.amount))


def close_task(state: State, order: CloseTask) -> None:
    """Rule T4. The sponsor, and nobody else, may end a task. It closes with the epoch, or with its own."""
    contract = _open_contract(state, order.task)
    if order.sender.address != contract.sponsor:
        raise NotTheSponsor(order.task, contract.sponsor)
    escrow.set_contract(state, order.task, replace(contract, closing=True))


def _open_contract(state: State, task: Cid) -> Contract:
    contract = state.task(task).contract
    if contract is None or contract.closing or contract.closed:
        raise TaskNotOpen(task)
    return contract


def pending(state: State) -> list[Cid]:
    """The tasks that wait for signals, in the order in which they were opened."""
    return [listed.task for listed in state.open_tasks().items if not listed.active]


def check_signals(state: State, signals: Sequence[Cid]) -> None:
    """Rule T5. A body signals tasks that are pending after the parent, each once. `state`: after the parent."""
    waiting = set(pending(state))
    for index, task in enumerate(signals):
        if task in signals[:index]:
            raise RepeatedSignal(task)
        if task not in waiting:
            raise NotPending(task)


def count_signals(params: Params, state: State, height: int, signals: Sequence[Cid]) -> None:
    """Rule T6. A task is active once enough of the last blocks signalled it. It starts a stride behind the others, so
    that opening tasks anew brings nobody forward."""
    window = (1 << params.signal_window) - 1
    items = []
    for listed in state.open_tasks().items:
        if not listed.active:
            seen = (listed.signals << 1 | (listed.task in signals)) & window
            listed = replace(listed, signals=seen)
            if seen.bit_count() >= params.signals_needed:
                listed = replace(listed, active=True, since=height)
                contract = escrow.contract_of(state, listed.task)
                start = state.schedule().virtual + stride_of(params, state, listed.task)
                escrow.set_contract(state, listed.task, replace(contract, position=start))
        items.append(listed)
    state.set_open_tasks(OpenTasks(tuple(items)))


def close_when_done(params: Params, state: State, height: int, task: Cid) -> None:
    """Rule T7. A task closes with the block that meets its target, or with the last of so many of its blocks that did
    not improve it by 0.1 %. The rest of its epoch is the base task's."""
    found = state.task(task)
    contract, score = found.contract, found.score
    if contract is None or score is None:
        return
    best = contract.best
    if best is None or (score.loss < best and (best - score.loss) * LEAST_GAIN >= best):
        contract = replace(contract, best=score.loss, stale=0)
    else:
        contract = replace(contract, stale=contract.stale + 1)
    escrow.set_contract(state, task, contract)
    if contract.target is not None and score.loss <= contract.target:
        reason = "target"
    elif contract.stale >= params.plateau:
        reason = "plateau"
    else:
        return
    escrow.close(state, task, reason)
    state.set_schedule(replace(state.schedule(), current=base_task(params, height // params.epoch)))
