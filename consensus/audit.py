"""What a node recomputes of a block, and what follows from it (protocol: Audit and fraud).

Consensus plans and judges; a worker computes in between. State i is what segment i ends in, 1 … K; state 0 is
derived from the header, so every segment has something to start from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.errors import Fraud
from deepblock.cid import Cid
from deepblock.types import Score, Seal


@dataclass(frozen=True, slots=True)
class Plan:
    """`segments`: to be replayed, ascending, each from the state before it. The average and the score, always."""

    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """What the worker found. `states`: segment → CID of the state it really ends in; of the planned segments, and
    of those that had to be replayed on the way to them."""

    states: dict[int, Cid]
    average: Cid
    score: Score


def plan_sample(count: int, others: int, draws: Sequence[int]) -> Plan:
    """The last of `count` segments always, and `others` more by the node's own `draws` (one random integer each).

    The draws must be the node's own: a forger who could foresee them would fake the other segments.
    """
    rest = list(range(1, count))
    chosen = {count}
    for draw in draws[: min(others, len(rest))]:
        chosen.add(rest.pop(draw % len(rest)))
    return Plan(tuple(sorted(chosen)))


def plan_all(count: int) -> Plan:
    """Every segment."""
    return Plan(tuple(range(1, count + 1)))


def judge(plan: Plan, seal: Seal, findings: Findings) -> None:
    """Raises Fraud with the first step that the seal claims falsely."""
    for segment in sorted({*plan.segments, *findings.states}):
        claimed, found = seal.states[segment - 1], findings.states[segment]
        if claimed != found:
            raise Fraud(f"segment {segment}", str(claimed), str(found))
    if seal.average != findings.average:
        raise Fraud("average", str(seal.average), str(findings.average))
    if seal.score != findings.score:
        raise Fraud("score", str(seal.score), str(findings.score))
