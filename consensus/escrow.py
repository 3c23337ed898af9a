"""The money of a sponsored task (protocol: Tasks; Ledger and rewards).

It is in two parts: `escrow` is free, `reserved` is set aside for an epoch that is decided, so that whoever trains in
it knows that there is pay. Together with balances and waiting payouts they are all that was ever issued.
"""

from dataclasses import replace

from consensus.params import Params
from consensus.state import State
from consensus.task import Contract, OpenTasks
from deepblock.cid import Cid


def epoch_pay(params: Params, contract: Contract) -> int:
    """Motes that an epoch of this task can cost."""
    return contract.pay * params.epoch


def reserve(params: Params, state: State, task: Cid) -> None:
    """Rule T14. An epoch's pay is set aside when the epoch is decided."""
    contract = contract_of(state, task)
    amount = epoch_pay(params, contract)
    set_contract(
        state, task, replace(contract, escrow=contract.escrow - amount, reserved=contract.reserved + amount)
    )


def pay_out(state: State, task: Cid, amount: int) -> None:
    """Rule T15. What a block pays of a task's money, at most `pay`, comes out of what is reserved for its epoch."""
    contract = contract_of(state, task)
    set_contract(state, task, replace(contract, reserved=contract.reserved - amount))


def release(state: State, task: Cid) -> None:
    """Rule T16. What an epoch did not pay out is free again at its end."""
    contract = contract_of(state, task)
    set_contract(state, task, replace(contract, escrow=contract.escrow + contract.reserved, reserved=0))


def close(state: State, task: Cid, reason: str) -> None:
    """Rule T17. A task that closes gives everything back to its sponsor, and is open no more. Model and description
    stay in the state."""
    contract = contract_of(state, task)
    state.deposit(contract.sponsor, contract.escrow + contract.reserved)
    set_contract(state, task, replace(contract, escrow=0, reserved=0, closed=reason))
    items = tuple(listed for listed in state.open_tasks().items if listed.task != task)
    state.set_open_tasks(OpenTasks(items))


def contract_of(state: State, task: Cid) -> Contract:
    """Of a sponsored task."""
    contract = state.task(task).contract
    assert contract is not None, f"{task} is a base task"
    return contract


def set_contract(state: State, task: Cid, contract: Contract) -> None:
    state.set_task(task, replace(state.task(task), contract=contract))
