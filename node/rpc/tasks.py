"""The methods about tasks and models."""

from typing import Annotated

from pydantic import Field

from consensus.difficulty import FRACTION_BITS, cost
from consensus.errors import TaskExists
from consensus.header import required_difficulty
from consensus.market import check_description, check_pay, least_pay, max_session_macs
from consensus.task import Contract, Listed, bar
from deepblock import api
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.primitives import Motes
from deepblock.spec import TaskSpec, heldout_labels, parameter_count, session_macs
from deepblock.tensors import file_size, model_manifest
from node.rpc.registry import NotFound, method
from node.rpc.services import Services, ancestors, answer, find_block, held_out

MICRO = 10**6
"""Units of a score in a nat."""


@method("task_list")
def task_list(node: Services) -> tuple[api.TaskSummary, ...]:
    """Every task of this chain and how far it is: the base tasks, and all that were ever opened."""
    state = node.chain.state()
    known = (task for task in node.chain.specs if state.spec(node.chain.params, task))
    return tuple(_summary(node, task) for task in known)


@method("task_get")
def task_get(node: Services, task: Cid) -> api.TaskInfo:
    """A task: what it trains, how good its model is, what its sponsor agreed to, and the bar that the next session has
    to pass."""
    summary = _summary(node, task)
    spec, state = node.chain.specs[task], node.chain.state().task(task)
    epoch = node.chain.params.epoch
    next_bar = bar(spec, state) + state.offset
    return answer(
        api.TaskInfo,
        summary,
        bar=next_bar,
        bar_loss=next_bar / (MICRO * heldout_labels(spec)),
        parameters=parameter_count(spec),
        epoch_ends=((node.chain.head.height + 1) // epoch + 1) * epoch - 1,
        contract=_contract(node, task, spec, state.contract) if state.contract else None,
        spec=spec,
    )


@method("task_quote")
def task_quote(node: Services, spec: TaskSpec, pay: Motes | None = None) -> api.Quote:
    """What a task of this description would cost and get if it were opened now, for `pay` a block (the least that is
    taken unless said). Error -32000 names the rule that refuses it."""
    chain, params, state = node.chain, node.chain.params, node.chain.state()
    check_description(params, spec)
    if state.spec(params, task := cid_of(spec)):
        raise TaskExists(task)
    least = least_pay(params, chain.head.height + 1)
    pay = least if pay is None else pay
    check_pay(params, chain.head.height + 1, pay)
    difficulty = required_difficulty(params, chain.ancestry(chain.head.id))
    counted = cost(params, spec)
    rivals = [_summary(node, listed.task) for listed in state.open_tasks().items]
    demand = sum(int(rival.pay or 0) / rival.counted_macs for rival in rivals)
    return api.Quote(
        task=task,
        session_macs=session_macs(spec),
        max_macs=max_session_macs(params),
        counted_macs=counted,
        base_macs=session_macs(params.base_tasks[0]),
        difficulty=difficulty,
        sessions_per_block=difficulty / (counted << FRACTION_BITS),
        pay=pay,
        least_pay=least,
        min_escrow=pay * params.epoch,
        share=pay / counted / (demand + pay / counted),
        rivals=tuple(rivals),
        block_time=params.block_time,
        epoch=params.epoch,
        signals_needed=params.signals_needed,
        signal_window=params.signal_window,
        pending_blocks=params.pending_blocks,
        plateau=params.plateau,
        fee_per_byte=params.fee_per_byte,
    )


@method("model_get")
def model_get(
    node: Services,
    task: Cid | None = None,
    last: Annotated[int, Field(strict=True, ge=0, le=api.MAX_LINEAGE)] = 16,
) -> api.ModelInfo:
    """A task's current model (that of the head's task unless said) and the last blocks that made it."""
    chosen = task or find_block(node, node.chain.head.id).header.task
    summary = _summary(node, chosen)
    if summary.model is None or summary.held_out is None:
        raise NotFound(f"task {summary.name} has no model yet: no block has trained it")
    return api.ModelInfo(
        task=chosen,
        task_name=summary.name,
        model=summary.model,
        size=file_size(model_manifest(node.chain.specs[chosen])),
        held_out=summary.held_out,
        lineage=_lineage(node, chosen, last),
    )


def _summary(node: Services, task: Cid) -> api.TaskSummary:
    params, state = node.chain.params, node.chain.state()
    spec = state.spec(params, task)
    if spec is None:
        raise NotFound(f"there is no task {task} on this chain; task_list names them")
    found, schedule = state.task(task), state.schedule()
    contract = found.contract
    return api.TaskSummary(
        id=task,
        name=spec.name,
        status=_status(contract, _listed(node, task)),
        scheduled=schedule.current == task,
        next=schedule.next == task,
        blocks=found.blocks,
        model=found.model,
        held_out=held_out(node, task, found.score) if found.score else None,
        session_macs=session_macs(spec),
        counted_macs=cost(params, spec),
        pay=contract.pay if contract else None,
        closed=contract.closed or None if contract else None,
    )


def _status(contract: Contract | None, listed: Listed | None) -> api.TaskStatus:
    if contract is None:
        return "base"
    if listed is None:
        return "closed"
    if contract.closing:
        return "closing"
    return "active" if listed.active else "pending"


def _listed(node: Services, task: Cid) -> Listed | None:
    return next((item for item in node.chain.state().open_tasks().items if item.task == task), None)


def _contract(node: Services, task: Cid, spec: TaskSpec, contract: Contract) -> api.ContractInfo:
    params, listed = node.chain.params, _listed(node, task)
    waiting = listed is not None and not listed.active
    target = contract.target
    return answer(
        api.ContractInfo,
        contract,
        target_loss=None if target is None else target / (MICRO * heldout_labels(spec)),
        plateau=params.plateau,
        signals=listed.signals.bit_count() if listed else 0,
        signals_needed=params.signals_needed,
        signal_window=params.signal_window,
        since=listed.since if listed else None,
        expires=listed.since + params.pending_blocks if listed and waiting else None,
    )


def _lineage(node: Services, task: Cid, last: int) -> tuple[api.LineageEntry, ...]:
    entries: list[api.LineageEntry] = []
    wanted = min(last, node.chain.state().task(task).blocks)
    below = ancestors(node, node.chain.head.id)
    while len(entries) < wanted:
        block = next(below)
        if block.header.task == task:
            score = held_out(node, task, block.result.score)
            entries.append(api.LineageEntry(block.height, block.id, block.result.model, score))
    return tuple(entries)
