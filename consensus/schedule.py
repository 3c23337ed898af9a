"""Whose turn it is: epochs of one task each, at most every second one sponsored (protocol: Tasks).

The last block of epoch E − 2 decides epoch E, so every miner knows an epoch ahead what it will train, and can have its
data. Sponsored tasks share their epochs in proportion to pay per MAC, by stride scheduling (Waldspurger and Weihl,
1995): each epoch moves a task on by its stride, and the one that is furthest behind is next.
"""

from dataclasses import replace

from consensus import escrow
from consensus.difficulty import cost
from consensus.params import Params
from consensus.state import State
from consensus.task import Listed, Schedule, base_task
from deepblock.cid import Cid
from deepblock.spec import TaskSpec


def stride(params: Params, spec: TaskSpec, pay: int) -> int:
    """Rule T9. An epoch moves a task on by the MACs that a mote buys, with 32 fractional bits; by at least 1."""
    return max(1, (cost(params, spec) << 32) // pay)


def stride_of(params: Params, state: State, task: Cid) -> int:
    """The stride of a sponsored task that is on the chain."""
    return stride(params, state.known_spec(params, task), escrow.contract_of(state, task).pay)


def end_epoch(params: Params, state: State, height: int) -> None:
    """Rule T10. The last block of an epoch frees what the epoch has not paid, closes the tasks that are at their end,
    and decides the epoch after the next."""
    if (height + 1) % params.epoch:
        return
    before = state.schedule()
    if state.task(before.current).contract:
        escrow.release(state, before.current)
    close_ended(params, state, height, before)
    chosen = choose(params, state, height // params.epoch + 2)
    state.set_schedule(Schedule(before.next, chosen, before.virtual))
    if state.task(chosen).contract:
        take_turn(params, state, chosen)


def close_ended(params: Params, state: State, height: int, schedule: Schedule) -> None:
    """Rule T11. At the end of an epoch a task closes that its sponsor has ended, that nobody trained in this epoch of
    its own, whose escrow is below an epoch's pay, or that has waited too long for signals; unless its epoch begins."""
    for listed in state.open_tasks().items:
        if listed.task != schedule.next:
            ended = listed.task == schedule.current
            if reason := _end_of(params, state, height, listed, ended):
                escrow.close(state, listed.task, reason)


def _end_of(params: Params, state: State, height: int, listed: Listed, ended: bool) -> str | None:
    task = state.task(listed.task)
    contract = escrow.contract_of(state, listed.task)
    if contract.closing:
        return "sponsor"
    if ended and task.blocks == contract.turn:
        return "idle"
    if contract.escrow < escrow.epoch_pay(params, contract):
        return "budget"
    if not listed.active and height - listed.since >= params.pending_blocks:
        return "expired"
    return None


def choose(params: Params, state: State, epoch: int) -> Cid:
    """Rule T12. An even epoch trains a base task; an odd one the active task that is furthest behind and can pay for it
    (of several the lowest CID), and a base task where there is none."""
    able = []
    if epoch % 2:
        for listed in state.open_tasks().items:
            contract = escrow.contract_of(state, listed.task)
            funded = contract.escrow >= escrow.epoch_pay(params, contract)
            if listed.active and funded and not contract.closing:
                able.append((contract.position, listed.task))
    return min(able)[1] if able else base_task(params, epoch)


def take_turn(params: Params, state: State, task: Cid) -> None:
    """Rule T13. The pay of the epoch that is decided is reserved, the task moves on by its stride, and the blocks that
    have trained it so far are noted."""
    escrow.reserve(params, state, task)
    contract = escrow.contract_of(state, task)
    state.set_schedule(replace(state.schedule(), virtual=contract.position))
    position = contract.position + stride_of(params, state, task)
    escrow.set_contract(state, task, replace(contract, position=position, turn=state.task(task).blocks))
