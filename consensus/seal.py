"""The seal: ticket, gate and target (protocol: Score, ticket, difficulty, weight)."""

import hashlib
from collections.abc import Callable
from typing import Final

from consensus.difficulty import FRACTION_BITS, cost, floor
from consensus.errors import (
    RepeatedState,
    TaskUnknown,
    TicketMissed,
    WrongDifficulty,
    WrongNetwork,
    WrongStateCount,
    WrongVersion,
)
from consensus.params import VERSION, Params
from consensus.task import TaskState, bar
from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.types import Header, Seal

SpecOf = Callable[[Cid], TaskSpec | None]
"""The description of a task by its id; None where it is not known."""

GATE_PASSED: Final = 16
"""Sixteenths: g of a session whose average holds up on unseen data."""
GATE_FAILED: Final = 1


def ticket(header: Header, seal: Seal) -> int:
    """Rule B3. SHA-256 over the seed and every state, so nothing is known before the session's end."""
    return int.from_bytes(
        hashlib.sha256(b"deepblock/ticket/1" + header.seed + b"".join(seal.states)).digest(), "big"
    )


def gate(spec: TaskSpec, task: TaskState, loss: int) -> int:
    """Rule G2. g in sixteenths. `task`: its state after the parent; `loss`: of the session's average."""
    return GATE_PASSED if loss <= bar(spec, task) + task.offset else GATE_FAILED


def limit(difficulty: int, gate: int, cost: int, ratio: int = 1) -> int:
    """Rule B4. The least ticket that does *not* win: t wins iff t·D < ratio·g·c·2^256. `cost`: c, in MACs."""
    return -(-(ratio * gate * cost << 256 + FRACTION_BITS) // (difficulty * GATE_PASSED))


def check_session(
    params: Params, network: Cid, header: Header, seal: Seal, spec_of: SpecOf, ratio: int = 1
) -> None:
    """What a session shows by itself: of this version and network, a possible difficulty, a known task, K distinct
    states, a ticket that wins `ratio` times a block's target if its session passed the gate. Cheapest first."""
    if header.version != VERSION:
        raise WrongVersion(header.version, VERSION)
    if header.network != network:
        raise WrongNetwork(header.network, network)
    if header.difficulty < floor(params):
        raise WrongDifficulty(header.difficulty, floor(params))
    spec = spec_of(header.task)
    if spec is None:
        raise TaskUnknown(header.task)
    check_states(spec, seal)
    drawn = ticket(header, seal)
    bound = limit(header.difficulty, GATE_PASSED, cost(params, spec), ratio)
    if drawn >= bound:
        raise TicketMissed(drawn, bound)


def check_states(spec: TaskSpec, seal: Seal) -> None:
    """Rule B2. K states, pairwise distinct; a session that stands still is void."""
    if len(seal.states) != spec.segments:
        raise WrongStateCount(len(seal.states), spec.segments)
    if len(set(seal.states)) != len(seal.states):
        raise RepeatedState


def check_ticket(params: Params, spec: TaskSpec, task: TaskState, header: Header, seal: Seal) -> None:
    """Rule G3. The session won: its ticket is below the block's limit, given its gate and its cost."""
    drawn = ticket(header, seal)
    bound = limit(header.difficulty, gate(spec, task, seal.score.loss), cost(params, spec))
    if drawn >= bound:
        raise TicketMissed(drawn, bound)
