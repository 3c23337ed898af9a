"""Offers, and tasks that are on a chain already."""

from dataclasses import replace

from consensus.escrow import set_contract
from consensus.market import open_task
from consensus.state import State
from consensus.task import Contract, OpenTasks
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.keys import Wallet
from deepblock.spec import TaskSpec
from deepblock.transactions import CloseTask, FundTask, OpenTask
from tests.unit.consensus.parts import ALICE, NETWORK, SPEC
from tests.unit.consensus.parts import PARAMS as RULES

PARAMS = replace(RULES, subsidy=1)
"""So that pays of a few motes will do."""

OFFERED = replace(SPEC, name="offered", n_heldout=1, segments=16)
"""c = 16 segments · 2 steps · batch 2 · 24 = 1,536 MACs, four times as much as base task 0."""

EPOCH_PAY = 100 * PARAMS.epoch


def spec_of(name: str) -> TaskSpec:
    return replace(OFFERED, name=name)


def offer(
    name: str = "offered",
    pay: int = 100,
    epochs: int = 2,
    target: int | None = None,
    by: Wallet = ALICE,
    **changes,
) -> OpenTask:
    """Of money for so many epochs. `changes`: of the description."""
    spec = replace(spec_of(name), **changes)
    return OpenTask(NETWORK, by.key, 0, 0, spec, pay, epochs * pay * PARAMS.epoch, target)


def gift(task: Cid, amount: int, by: Wallet = ALICE) -> FundTask:
    return FundTask(NETWORK, by.key, 0, 0, task, amount)


def order(task: Cid, by: Wallet = ALICE) -> CloseTask:
    return CloseTask(NETWORK, by.key, 0, 0, task)


def opened(state: State, made: OpenTask, active: bool = True, height: int = 1, **terms) -> Cid:
    """A task that is on the chain. `terms`: of its contract, other than the offer's."""
    task = cid_of(made.spec)
    open_task(PARAMS, state, height, made)
    items = state.open_tasks().items
    state.set_open_tasks(OpenTasks((*items[:-1], replace(items[-1], active=active))))
    set_contract(state, task, replace(contract(state, task), **terms))
    return task


def contract(state: State, task: Cid) -> Contract:
    found = state.task(task).contract
    assert found
    return found


def open_names(state: State) -> list[str]:
    return [state.spec(PARAMS, listed.task).name for listed in state.open_tasks().items]
