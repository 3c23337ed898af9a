"""Training that costs nothing and still obeys one ticket per session.

A state follows from the session's seed, the segment's number and the state before it, as in real training: so a
forged state makes one segment false and those after it can be true again, and an audit finds it exactly when it
replays that segment. What an average loses on unseen data is drawn from its CID around the curve of the task.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from consensus.audit import Findings
from consensus.task import TaskState, bar
from deepblock.cid import RAW, Cid, cid_of_block
from deepblock.spec import TaskSpec
from deepblock.types import Header, Result, Score, Seal

GAIN: Final = 100
"""A session takes one part in so many of the loss away …"""
SPREAD: Final = 50
"""… give or take one part in so many."""
ENSEMBLE_GAIN: Final = 100
"""The mean of many averages loses one part in so many less than they do."""


def state_zero(header: Header, task: TaskState) -> Cid:
    """What a session starts from. `task`: its state after the parent."""
    return named(b"state 0", header.seed, task.model or b"")


def next_state(header: Header, segment: int, before: Cid) -> Cid:
    """What segment 1 … K makes of the state before it."""
    return named(b"state %d" % segment, header.seed, before)


def train(header: Header, spec: TaskSpec, task: TaskState) -> Seal:
    """An honest session."""
    return seal_of(header, spec, task, run(header, task, 1, spec.segments, ()))


def run(header: Header, task: TaskState, first: int, last: int, before: tuple[Cid, ...]) -> tuple[Cid, ...]:
    """The states `before`, and those that segments `first` … `last` add to them."""
    states = list(before)
    state = states[-1] if states else state_zero(header, task)
    for segment in range(first, last + 1):
        state = next_state(header, segment, state)
        states.append(state)
    return tuple(states)


def seal_of(header: Header, spec: TaskSpec, task: TaskState, states: tuple[Cid, ...]) -> Seal:
    """States with the average and the score that follow from the last of them."""
    average = named(b"average", header.seed, states[-1])
    return Seal(states, average, score(spec, task, average))


def findings(header: Header, spec: TaskSpec, task: TaskState, seal: Seal) -> Findings:
    """What a replay of every single segment from its claimed beginning gives."""
    starts = (state_zero(header, task), *seal.states)
    states = {i: next_state(header, i, starts[i - 1]) for i in range(1, spec.segments + 1)}
    true = seal_of(header, spec, task, seal.states)
    return Findings(states, true.average, true.score)


def score(spec: TaskSpec, task: TaskState, average: Cid) -> Score:
    """Of an average that was trained from the task's model."""
    before = bar(spec, task)
    noise = int.from_bytes(average[-8:], "big") * (2 * before // SPREAD) >> 64
    return Score(max(1, before - before // GAIN - before // SPREAD + noise), 0)


def combine(names: Sequence[Cid], losses: Mapping[Cid, int]) -> Result:
    """The mean of averages whose `losses` are known."""
    mean = sum(losses[name] for name in names) // len(names)
    gain = mean * (len(names) - 1) // (len(names) * ENSEMBLE_GAIN)
    return Result(named(b"mean", *names), Score(max(1, mean - gain), 0))


def named(*parts: bytes) -> Cid:
    """The CID of a file that nobody has."""
    return cid_of_block(b"".join(parts), RAW)
