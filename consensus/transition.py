"""The rule of a block, as a list: what is checked, in which order, and what it does to the state.

    check_block   needs only the block and the network's parameters (who relays a block checks this much)
    check_chained needs the chain below it: header, ticket, model
    apply_block   needs the body: moves the money, the task and the reward

What remains, whether the training was really done, is for `consensus.audit`.
"""

from collections.abc import Callable

from consensus.body import check_body
from consensus.difficulty import cost, floor
from consensus.ensemble import check_result
from consensus.errors import TaskUnknown, TicketMissed, WrongDifficulty, WrongNetwork, WrongVersion
from consensus.header import Ancestry, check_header
from consensus.market import check_signals, close_when_done, count_signals
from consensus.params import VERSION, Params
from consensus.rewards import pay_matured, reward_miner
from consensus.schedule import end_epoch
from consensus.seal import GATE_PASSED, check_states, check_ticket, gate, limit, ticket
from consensus.state import State
from consensus.task import after_block
from consensus.transaction import apply_transaction
from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.types import Block, Body

SpecOf = Callable[[Cid], TaskSpec | None]
"""The description of a task by its id; None where it is not known yet."""


def check_block(params: Params, network: Cid, block: Block, spec_of: SpecOf) -> None:
    """What a block shows by itself: of this version and network, a possible difficulty, K distinct states, a
    ticket that wins at that difficulty if its session passed the gate."""
    header = block.header
    if header.version != VERSION:
        raise WrongVersion(header.version, VERSION)
    if header.network != network:
        raise WrongNetwork(header.network, network)
    if header.difficulty < floor(params):
        raise WrongDifficulty(header.difficulty, floor(params))
    spec = spec_of(header.task)
    if spec is None:
        raise TaskUnknown(header.task)
    check_states(spec, block.seal)
    drawn = ticket(header, block.seal)
    bound = limit(header.difficulty, GATE_PASSED, cost(params, spec))
    if drawn >= bound:
        raise TicketMissed(drawn, bound)


def check_chained(
    params: Params, network: Cid, block: Block, below: Ancestry, state: State, now: int
) -> None:
    """What a block owes to the chain below it. `state`: after the parent; `now`: this node's clock, s."""
    header = block.header
    check_header(params, network, header, below, state.schedule().current, now)
    task = state.task(header.task)
    check_ticket(params, state.known_spec(params, header.task), task, header, block.seal)
    check_result(block, task)


def apply_block(params: Params, state: State, block: Block, body: Body) -> None:
    """Takes `state` from after the parent to after the block."""
    header = block.header
    check_body(params, header, body)
    check_signals(state, body.signals)
    count_signals(params, state, header.height, body.signals)
    pay_matured(state, header.height)
    fees = sum(
        apply_transaction(params, state, header.height, transaction) for transaction in body.transactions
    )
    reward_miner(params, state, header.height, header.miner, fees)
    spec = state.known_spec(params, header.task)
    task = state.task(header.task)
    passed = gate(spec, task, block.seal.score.loss) == GATE_PASSED
    state.set_task(header.task, after_block(spec, task, passed, block.result))
    close_when_done(params, state, header.height, header.task)
    end_epoch(params, state, header.height)
