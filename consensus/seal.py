"""The seal: ticket, gate and target (protocol: Score, ticket, difficulty, weight)."""

import hashlib
from typing import Final

from consensus.difficulty import FRACTION_BITS, cost
from consensus.errors import RepeatedState, TicketMissed, WrongStateCount
from consensus.params import Params
from consensus.task import TaskState, bar
from deepblock.spec import TaskSpec
from deepblock.types import Header, Seal

GATE_PASSED: Final = 16
"""Sixteenths: g of a session whose average holds up on unseen data."""
GATE_FAILED: Final = 1


def ticket(header: Header, seal: Seal) -> int:
    """SHA-256 over the seed and every state, so nothing is known before the session's end."""
    return int.from_bytes(
        hashlib.sha256(b"deepblock/ticket/1" + header.seed + b"".join(seal.states)).digest(), "big"
    )


def gate(spec: TaskSpec, task: TaskState, loss: int) -> int:
    """g in sixteenths. `task`: its state after the parent; `loss`: of the session's average."""
    return GATE_PASSED if loss <= bar(spec, task) + task.offset else GATE_FAILED


def limit(difficulty: int, gate: int, cost: int, ratio: int = 1) -> int:
    """The least ticket that does *not* win: t wins iff t·D < ratio·g·c·2^256. `cost`: c, MACs of the session."""
    return -(-(ratio * gate * cost << 256 + FRACTION_BITS) // (difficulty * GATE_PASSED))


def check_states(spec: TaskSpec, seal: Seal) -> None:
    """K states, pairwise distinct; a session that stands still is void."""
    if len(seal.states) != spec.segments:
        raise WrongStateCount(len(seal.states), spec.segments)
    if len(set(seal.states)) != len(seal.states):
        raise RepeatedState


def check_ticket(params: Params, spec: TaskSpec, task: TaskState, header: Header, seal: Seal) -> None:
    """The session won: its ticket is below the block's limit, given its gate and its cost."""
    drawn = ticket(header, seal)
    bound = limit(header.difficulty, gate(spec, task, seal.score.loss), cost(params, spec))
    if drawn >= bound:
        raise TicketMissed(drawn, bound)
