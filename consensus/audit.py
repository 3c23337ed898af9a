"""What a node recomputes of a block, and what follows from it (protocol: Audit and fraud).

Consensus plans and judges; a worker computes in between. State i is what segment i ends in, 1 … K; state 0 is
derived from the header, so every segment has something to start from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consensus.ensemble import required_result
from consensus.errors import Fraud
from consensus.task import TaskState
from deepblock.cid import Cid
from deepblock.transactions import FraudProof
from deepblock.types import Block, Body, Result, Score, Seal

AVERAGE: Final = "average"
SCORE: Final = "score"
RESULT: Final = "result"


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
    """Rule A1. The last of `count` segments always, and `others` more by the node's own `draws`, random integers.

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
    """Rule A2. A seal is true if its states, its average and its score are those that a replay gives. Raises Fraud with
    the first step that it claims falsely."""
    for segment in sorted({*plan.segments, *findings.states}):
        claimed, found = seal.states[segment - 1], findings.states[segment]
        if claimed != found:
            raise Fraud(f"segment {segment}", str(claimed), str(found))
    if seal.average != findings.average:
        raise Fraud(AVERAGE, str(seal.average), str(findings.average))
    if seal.score != findings.score:
        raise Fraud(SCORE, str(seal.score), str(findings.score))


def judge_result(block: Block, task: TaskState, derived: Sequence[Result]) -> None:
    """Rule A3. A block with several members names the model that rule E2 gives. `task`: its state after the parent;
    `derived`: the models that follow from the members, with their scores. Raises Fraud."""
    required = required_result(block.seal, task, derived)
    if block.result != required:
        raise Fraud(RESULT, _shown(block.result), _shown(required))


# --- accusations ------------------------------------------------------------------------------------------------


def step_name(count: int, step: int) -> str | None:
    """What an accusation's `step` of a session of `count` segments is; None: there is no such step."""
    if 1 <= step <= count:
        return f"segment {step}"
    return {count + 1: AVERAGE, count + 2: SCORE, count + 3: RESULT}.get(step)


def step_number(count: int, name: str) -> int | None:
    """The step of a session of `count` segments with this name; None where nobody can be accused of it alone."""
    return next((step for step in range(1, count + 4) if step_name(count, step) == name), None)


def accusations(body: Body) -> tuple[FraudProof, ...]:
    """Rule A4. The fraud proofs of a body: each is a claim of the block, judged with the block's own training."""
    payloads = (transaction.payload for transaction in body.transactions)
    return tuple(payload for payload in payloads if isinstance(payload, FraudProof))


def plan_accusation(count: int, step: int) -> Plan:
    """What refutes an accusation: every segment up to its step. One mismatch on the way confirms it, so whoever has the
    state before the step begins with that one."""
    return Plan(tuple(range(1, min(step, count) + 1)))


def is_false(seal: Seal, findings: Findings, step: int) -> bool:
    """Rule A5. An accusation is true if the seal claims its step falsely, or one before it: so the verdict does not
    depend on which states a node could get hold of. `step`: 1 … K a segment, K + 1 the average, K + 2 the score."""
    if step_name(len(seal.states), step) in (None, RESULT):
        return False
    for segment, found in findings.states.items():
        if segment <= step and seal.states[segment - 1] != found:
            return True
    beyond = step - len(seal.states)
    return (beyond >= 1 and seal.average != findings.average) or (
        beyond == 2 and seal.score != findings.score
    )


def judge_accusation(proof: FraudProof, seal: Seal, findings: Findings) -> None:
    """Rule A6. A block whose fraud proof accuses a true share is false itself. `seal`: the share's; `findings`: of
    `plan_accusation`, or of less where that is false already. Raises Fraud."""
    if not is_false(seal, findings, proof.step):
        name = step_name(len(seal.states), proof.step) or f"step {proof.step}"
        raise Fraud(f"accusation of share {proof.share}", f"a false {name}", "none up to there")


def _shown(result: Result) -> str:
    return f"{result.model} with a loss of {result.score.loss} and {result.score.correct} correct"
