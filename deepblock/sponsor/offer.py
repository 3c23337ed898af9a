"""What a sponsor is asked to agree to: the task, its price, and when what can be expected."""

import math
from dataclasses import dataclass
from typing import Final

from deepblock import api
from deepblock.primitives import Motes
from deepblock.spec import (
    TaskSpec,
    forward_macs,
    heldout_labels,
    parameter_count,
    segment_macs,
    session_macs,
    step_bytes,
)
from deepblock.sponsor.plan import Plan
from deepblock.tensors import file_size, model_manifest

MICRO: Final = 10**6
"""Units of a score in a nat."""


@dataclass(frozen=True, slots=True)
class Offer:
    """`escrow` pays for at least `blocks`, by whole epochs. `target`: a loss sum, None without one; `target_loss` an
    example.

    `training_bytes`: what a step needs in memory, with the data set. `checking`: what a checker computes, as a part of
    a session. `passes`: over the training examples in a session. `starts_at`: the height of the first block that can
    train it, if the next `signals_needed` + 1 blocks are on time and all signal; `blocks_to_wait` until then.
    `lasts`: blocks of the chain in which the escrow is used up, at its share of the epochs.
    """

    spec: TaskSpec
    quote: api.Quote
    pay: Motes
    escrow: Motes
    blocks: int
    target: int | None
    target_loss: float | None
    parameters: int
    model_bytes: int
    data_bytes: int
    training_bytes: int
    forward_macs: int
    checking: float
    passes: float
    starts_at: int
    blocks_to_wait: int
    lasts: int
    notes: tuple[str, ...]


def offer(plan: Plan, quote: api.Quote, head: int, escrow: int, target_loss: float | None) -> Offer:
    """`head`: the height of the head; `escrow`: motes; `target_loss`: nats an example."""
    spec = plan.spec
    starts_at = first_height(quote, head)
    blocks = escrow // quote.min_escrow * quote.epoch
    data = sum(map(len, plan.files))
    checking = 3 * spec.n_heldout * forward_macs(spec) + segment_macs(spec)
    return Offer(
        spec=spec,
        quote=quote,
        pay=quote.pay,
        escrow=escrow,
        blocks=blocks,
        target=None if target_loss is None else round(target_loss * MICRO * heldout_labels(spec)),
        target_loss=target_loss,
        parameters=parameter_count(spec),
        model_bytes=file_size(model_manifest(spec)),
        data_bytes=data,
        training_bytes=step_bytes(spec) + data,
        forward_macs=forward_macs(spec),
        checking=checking / session_macs(spec),
        passes=spec.segments * spec.steps * spec.batch / spec.n_train,
        starts_at=starts_at,
        blocks_to_wait=starts_at - head,
        lasts=math.ceil(blocks * 2 / quote.share),
        notes=plan.notes,
    )


def first_height(quote: api.Quote, head: int) -> int:
    """Of the first block that can train the task: opened in the next block, active after as many signals as are needed,
    chosen by the last block of an epoch for the odd epoch after the next one."""
    active = head + 1 + quote.signals_needed
    decided = active // quote.epoch  # the epoch whose last block decides
    epoch = decided + 2
    return (epoch if epoch % 2 else epoch + 1) * quote.epoch


def calibrated_loss(accuracy: float, classes: int) -> float:
    """The loss, nats an example, of a model that is right with probability `accuracy`, says so, and spreads the rest
    over the other classes: what an accuracy stands for where only losses are compared."""
    wrong = 1 - accuracy
    return -accuracy * math.log(accuracy) - (wrong * math.log(wrong / (classes - 1)) if wrong else 0)
