"""How good a model is."""

from dataclasses import dataclass

from deepblock.types import Score


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How a model does on its task's held-out split. `loss`: mean cross-entropy, nats; `examples`: how many
    were predicted, where each token of a text counts as one;
    `loss_sum`: what the rules compare, Σ round_half_even(10^6 · loss)."""

    loss: float
    accuracy: float
    loss_sum: int
    correct: int
    examples: int

    @classmethod
    def of(cls, score: Score, examples: int) -> "HeldOut":
        return cls(
            loss=score.loss / (10**6 * examples),
            accuracy=score.correct / examples,
            loss_sum=score.loss,
            correct=score.correct,
            examples=examples,
        )
