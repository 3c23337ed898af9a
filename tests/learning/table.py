"""Curves as tables, in Markdown."""

from collections.abc import Callable, Iterator
from statistics import mean

from tests.learning.curve import Curve, Point

ACCURACIES = (88, 89, 90)
"""Percent of the test images."""


def lines(curves: list[Curve]) -> Iterator[str]:
    """A row for each method, its seeds in their order."""
    methods = {
        method: sorted((curve for curve in curves if curve.method == method), key=lambda curve: curve.seed)
        for method in dict.fromkeys(curve.method for curve in curves)
    }
    yield from _costs("steps in sequence to", methods, lambda point: point.steps)
    yield from _costs("examples in all to", methods, lambda point: point.examples)
    yield from _accuracies(methods)
    yield from _candidates(methods)


def _costs(title: str, methods: dict[str, list[Curve]], cost: Callable[[Point], int]) -> Iterator[str]:
    """What it took to reach each accuracy, and the mean of that over SGD's of the same seeds."""
    yield from _head(title, *(f"{percent} %" for percent in ACCURACIES))
    for method, own in methods.items():
        seeds = {curve.seed for curve in own}
        sgd = [curve for curve in methods.get("SGD", []) if curve.seed in seeds]
        cells = []
        for percent in ACCURACIES:
            taken, alone = ([_cost(curve, percent, cost) for curve in some] for some in (own, sgd))
            cells.append(
                " ".join(f"{value:,}" if value else "never" for value in taken) + _ratio(taken, alone)
            )
        yield _row(method, *cells)
    yield ""


def _accuracies(methods: dict[str, list[Curve]]) -> Iterator[str]:
    yield from _head("% of the test images", "after the last step", "best of all looks")
    for method, own in methods.items():
        last = [curve.points[-1].accuracy for curve in own]
        best = [max(point.accuracy for point in curve.points) for curve in own]
        yield _row(method, _each(last), _each(best))
    yield ""


def _candidates(methods: dict[str, list[Curve]]) -> Iterator[str]:
    """How the held-out losses of a block's candidates compare, where there was an outer step. The best average is
    often a share's, which is no candidate."""
    yield from _head(
        "heights with",
        "an ensemble < own average",
        "an ensemble < best average",
        "outer step < best average",
        "outer step chosen",
    )
    for method, own in methods.items():
        points = [point for curve in own for point in curve.points if point.outer is not None]
        if points:
            counts = (
                sum(min(point.ensembles) < point.averages[0] for point in points),
                sum(min(point.ensembles) < min(point.averages) for point in points),
                sum(point.outer < min(point.averages) for point in points if point.outer is not None),
                sum(point.outer == point.loss for point in points),
            )
            yield _row(method, *(f"{count} of {len(points)}" for count in counts))


def _cost(curve: Curve, percent: int, cost: Callable[[Point], int]) -> int | None:
    """At the first look that shows the accuracy; None if none does."""
    reached = (point for point in curve.points if point.accuracy >= percent)
    return next((cost(point) for point in reached), None)


def _ratio(taken: list[int | None], alone: list[int | None]) -> str:
    if not alone or None in taken or None in alone:
        return ""
    return f"; {mean(filter(None, taken)) / mean(filter(None, alone)):.2f}×"


def _each(values: list[float]) -> str:
    return f"{' '.join(f'{value:.2f}' for value in values)}; mean {mean(values):.2f}"


def _head(*cells: str) -> Iterator[str]:
    yield _row(*cells)
    yield "|---" * len(cells) + "|"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
