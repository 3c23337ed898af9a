"""Ticket, gate and target, to the last integer."""

import hashlib
from dataclasses import replace
from fractions import Fraction

import pytest

from consensus.errors import RepeatedState, TicketMissed, WrongStateCount
from consensus.seal import GATE_FAILED, GATE_PASSED, check_states, check_ticket, gate, limit, ticket
from consensus.task import TaskState
from deepblock.types import Score
from tests.unit.consensus.parts import (
    FLOOR,
    GUESSING,
    OTHER,
    PARAMS,
    SPEC,
    ancestry,
    header_on,
    named,
    seal_of,
)

HEADER = header_on(ancestry())
SEAL = seal_of(HEADER)


def test_the_ticket_is_the_hash_that_the_protocol_names():
    data = b"deepblock/ticket/1" + HEADER.seed + b"".join(SEAL.states)
    assert ticket(HEADER, SEAL) == int.from_bytes(hashlib.sha256(data).digest(), "big")


def test_the_ticket_depends_on_the_seed_and_on_every_state_and_on_nothing_else():
    """In particular not on what could be chosen after the last state is known."""
    drawn = ticket(HEADER, SEAL)
    assert ticket(replace(HEADER, nonce=1), SEAL) != drawn
    for place in range(4):
        states = (*SEAL.states[:place], named("another"), *SEAL.states[place + 1 :])
        assert ticket(HEADER, replace(SEAL, states=states)) != drawn
    assert ticket(HEADER, replace(SEAL, states=SEAL.states[::-1])) != drawn
    assert ticket(HEADER, replace(SEAL, average=named("another"), score=Score(1, 1))) == drawn


CASES = [
    (difficulty, g, cost, ratio)
    for difficulty in (FLOOR, FLOOR + 1, 3 * FLOOR + 7, 10**20 + 3, 2**128 - 1)
    for g in (GATE_FAILED, GATE_PASSED)
    for cost in (384, 7)
    for ratio in (1, 4)
]


def wins(t: int, difficulty: int, g: int, cost: int, ratio: int) -> bool:
    """The protocol's inequality in rational numbers: t · D < r · g · c · 2^256."""
    return t * Fraction(difficulty, 2**16) < ratio * Fraction(g, 16) * cost * 2**256


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_limit_is_the_least_ticket_that_does_not_win(case):
    bound = limit(*case)
    assert wins(bound - 1, *case)
    assert not wins(bound, *case)


def test_an_exact_bound_does_not_win():
    """Where the two sides are equal: at the floor a passed session has t · 4c < c · 2^256."""
    assert limit(FLOOR, GATE_PASSED, 384) == 2**254
    assert limit(FLOOR, GATE_FAILED, 384) == 2**250
    assert limit(FLOOR, GATE_PASSED, 384, ratio=4) == 2**256


@pytest.mark.parametrize(("loss", "g"), [(GUESSING, GATE_PASSED), (GUESSING + 1, GATE_FAILED)])
def test_the_ticket_just_below_the_limit_wins_and_the_limit_does_not(monkeypatch, loss, g):
    seal = replace(SEAL, score=Score(loss, 5))
    bound = limit(FLOOR, g, 384)
    monkeypatch.setattr("consensus.seal.ticket", lambda header, seal: bound - 1)
    check_ticket(PARAMS, SPEC, TaskState(), HEADER, seal)
    monkeypatch.setattr("consensus.seal.ticket", lambda header, seal: bound)
    with pytest.raises(TicketMissed) as caught:
        check_ticket(PARAMS, SPEC, TaskState(), HEADER, seal)
    assert (caught.value.ticket, caught.value.limit) == (bound, bound)


def test_real_tickets_are_judged_by_the_difficulty_of_their_header():
    losing = seal_of(HEADER, wins=False)
    with pytest.raises(TicketMissed):
        check_ticket(PARAMS, SPEC, TaskState(), HEADER, losing)
    check_ticket(PARAMS, SPEC, TaskState(), HEADER, SEAL)
    harder = replace(HEADER, difficulty=FLOOR << 20)
    with pytest.raises(TicketMissed):
        check_ticket(PARAMS, SPEC, TaskState(), harder, SEAL)


@pytest.mark.parametrize(
    ("task", "bar"),
    [
        (TaskState(), GUESSING),
        (TaskState(offset=-5), GUESSING - 5),
        (TaskState(named("m"), Score(1000, 5), 0, 1), 1000),
        (TaskState(named("m"), Score(1000, 5), 30, 1), 1030),
        (TaskState(named("m"), Score(1000, 5), -30, 1), 970),
        (TaskState(named("m"), Score(0, 10), 0, 1), 0),
    ],
)
def test_the_gate_is_passed_up_to_the_bar(task, bar):
    assert gate(SPEC, task, bar) == GATE_PASSED
    assert gate(SPEC, task, bar + 1) == GATE_FAILED


def test_who_passes_has_16_times_the_chance():
    assert GATE_PASSED == 16 * GATE_FAILED
    assert limit(FLOOR, GATE_PASSED, 384) == 16 * limit(FLOOR, GATE_FAILED, 384)


@pytest.mark.parametrize(("spec", "count"), [(SPEC, 4), (OTHER, 3)])
def test_a_seal_has_k_states(spec, count):
    names = [named(str(number)) for number in range(6)]
    check_states(spec, replace(SEAL, states=tuple(names[:count])))
    for wrong in (0, count - 1, count + 1):
        with pytest.raises(WrongStateCount) as caught:
            check_states(spec, replace(SEAL, states=tuple(names[:wrong])))
        assert (caught.value.found, caught.value.required) == (wrong, count)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 3), (2, 3)])
def test_a_session_that_returns_to_a_state_is_void(first, second):
    states = list(SEAL.states)
    states[second] = states[first]
    with pytest.raises(RepeatedState):
        check_states(SPEC, replace(SEAL, states=tuple(states)))
