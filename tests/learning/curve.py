"""How well a model does as its training goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Point:
    """After `steps` in sequence and `examples` in all. `accuracy`: percent of the test images.

    Of a chain also held-out losses, as the rules count them: `loss` of the model, `ensembles` of the best two, three
    and four members, `outer` of the outer step, `averages` of all sessions, the block's own first.
    """

    steps: int
    examples: int
    accuracy: float
    loss: int | None = None
    ensembles: Sequence[int] = field(default_factory=list)
    averages: Sequence[int] = field(default_factory=list)
    outer: int | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """`method`: "SGD", "SWA", or how many sessions a height has."""

    method: str
    seed: int
    points: list[Point]
