"""The runs of a task as a table, in Markdown."""

from collections.abc import Iterator, Mapping
from math import sqrt
from statistics import mean, stdev

from deepblock.types import Score
from tests.accuracy.runs import ARITHMETICS, FLOAT, Run

HEAD = (
    "average: % correct by seed",
    "last iterate",
    "average − float32's",
    "least average − last",
    "loss of the average",
)


def lines(task: str, runs: list[Run]) -> Iterator[str]:
    """A row for each arithmetic, of its runs in the order of their seeds."""
    yield f"| {' | '.join((task, *HEAD))} |"
    yield "|---" * (1 + len(HEAD)) + "|"
    own = sorted((run for run in runs if run.task == task), key=lambda run: run.seed)
    plain = {run.seed: run for run in own if run.arithmetic == FLOAT}
    for arithmetic in ARITHMETICS:
        if alike := [run for run in own if run.arithmetic == arithmetic]:
            yield f"| {' | '.join((arithmetic, *_cells(alike, plain)))} |"


def _cells(runs: list[Run], plain: Mapping[int, Run]) -> Iterator[str]:
    """`plain`: the float32 run of each seed, which began with the same weights and drew the same batches."""
    averages = [_percent(run, run.average) for run in runs]
    last = [_percent(run, run.last) for run in runs]
    yield _each(averages)
    yield _each(last)
    others = [(run, plain[run.seed]) for run in runs if run.arithmetic != FLOAT and run.seed in plain]
    yield _difference([_percent(run, run.average) - _percent(other, other.average) for run, other in others])
    yield f"{min(ours - theirs for ours, theirs in zip(averages, last, strict=True)):+.2f}"
    yield f"{mean(run.average.loss / run.labels for run in runs) / 10**6:.4f}"


def _each(values: list[float]) -> str:
    return f"{' '.join(f'{value:.2f}' for value in values)}; mean {mean(values):.2f}"


def _difference(values: list[float]) -> str:
    """Their mean, and the standard error of that where there are several."""
    if not values:
        return ""
    error = f" ± {stdev(values) / sqrt(len(values)):.2f}" if len(values) > 1 else ""
    return f"{mean(values):+.2f}{error}"


def _percent(run: Run, score: Score) -> float:
    return 100 * score.correct / run.labels
