"""The rule of a block, as a list: what is checked, in which order, and what it does to the state.

    check_block   needs only the block, the network's parameters and the task (who relays a block checks this much)
    check_chained needs the chain below it: header, ticket, a bound of the model
    apply_block   needs the body: shares, the model where it has one member, the money, the task, the reward

What remains, whether the training was really done, is for `consensus.audit`.
"""

from collections.abc import Container

from consensus.body import check_body
from consensus.ensemble import check_bound, check_result
from consensus.header import Ancestry, check_header
from consensus.market import check_signals, close_when_done, count_signals
from consensus.params import Params
from consensus.rewards import pay_matured, reward
from consensus.schedule import end_epoch
from consensus.seal import SpecOf, check_session, check_ticket
from consensus.shares import Past, check_carried, note_sessions
from consensus.state import State
from consensus.task import after_block
from consensus.transaction import apply_transaction
from deepblock.cid import Cid
from deepblock.types import Block, Body


def check_block(params: Params, network: Cid, block: Block, spec_of: SpecOf) -> None:
    """Rule B1. What a block shows by itself: of this version and network, a possible difficulty, a known task, K
    distinct states, a ticket that wins at that difficulty if its session passed the gate."""
    check_session(params, network, block.header, block.seal, spec_of)


def check_chained(
    params: Params, network: Cid, block: Block, below: Ancestry, state: State, now: int
) -> None:
    """Rule B6. What a block owes to the chain below it. `state`: after the parent; `now`: this node's clock, s."""
    header = block.header
    check_header(params, network, header, below, state.schedule().current, now)
    task = state.task(header.task)
    check_ticket(params, state.known_spec(params, header.task), task, header, block.seal)
    check_bound(block, task)


def apply_block(
    params: Params, state: State, block: Block, body: Body, past: Past, checked: Container[Cid] = ()
) -> None:
    """Rule B7. Takes `state` from after the parent to after the block, in this order. `checked`: ids of transactions
    that have met L1 before, as those that waited for a block have."""
    header = block.header
    check_body(params, header, body, checked)
    check_carried(params, state, block, body, past)
    check_result(block, body, state.task(header.task))
    check_signals(state, body.signals)
    count_signals(params, state, header.height, body.signals)
    pay_matured(state, header.height)
    fees = sum(
        apply_transaction(params, state, header.height, transaction) for transaction in body.transactions
    )
    reward(params, state, block, body, fees)
    note_sessions(params, state, block, body)
    spec, task = state.known_spec(params, header.task), state.task(header.task)
    state.set_task(header.task, after_block(spec, task, block.seal.score.loss, block.result))
    close_when_done(params, state, header.height, header.task)
    end_epoch(params, state, header.height)
