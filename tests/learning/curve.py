"""How well a model does as its training goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Point:
    """After `steps` in sequence and `examples` in all. `accuracy`: percent of the test images.

    Of a chain also held-out losses, as the rules count them: `loss` of the model, `derived` of what follows from
    several members (the ensemble first), `averages` of the members themselves.
    """

    steps: int
    examples: int
    accuracy: float
    loss: int | None = None
    derived: Sequence[int] = field(default_factory=list)
    averages: Sequence[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Curve:
    """`method`: "SGD", "SWA", or how many sessions a height has."""

    method: str
    seed: int
    points: list[Point]
