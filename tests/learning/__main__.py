"""`make learning`, or `python -m tests.learning`: what the file of results has is not run again."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from pydantic import TypeAdapter

from deepblock.data import DataError
from tests.learning.chains import Miners, grow
from tests.learning.curve import Curve, Point
from tests.learning.sequential import sgd, swa
from tests.learning.table import lines
from tests.learning.tasks import Task, testnet
from tests.session_vectors import Memory

CURVE = TypeAdapter(Curve)
SIZES = (1, 4, 8)
"""Sessions a height."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.learning", description="A chain's learning beside that of one process alone."
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind (3)")
    parser.add_argument("--heights", type=int, default=5, help="blocks of a chain (5)")
    parser.add_argument(
        "--results", type=Path, default=Path("learning.jsonl"), help="file of curves, one a line"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        for seed in range(1, arguments.seeds + 1):
            measure(seed, arguments.heights, arguments.results)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    print(*lines(read(arguments.results)), sep="\n")


def measure(seed: int, heights: int, results: Path) -> None:
    """Trains what `results` has not of this seed, and adds each curve to it when it is done."""
    done = {curve.method for curve in read(results) if curve.seed == seed}
    files = Memory()
    task = testnet(files, seed)
    for method, points in methods(task, files, seed, heights):
        if method not in done:
            curve = Curve(method, seed, list(points))
            with results.open("ab") as file:
                file.write(CURVE.dump_json(curve) + b"\n")


def methods(task: Task, files: Memory, seed: int, heights: int) -> Iterator[tuple[str, Iterator[Point]]]:
    """Each way to train, and its curve, which is trained as it is read."""
    steps = heights * task.spec.segments * task.spec.steps
    yield "SGD", sgd(task, files, seed, steps)
    yield "SWA", swa(task, files, seed, steps)
    miners = Miners(task.spec, files)
    for sessions in SIZES:
        yield f"chain of {sessions}", grow(task, files, miners, seed, sessions, heights)


def read(results: Path) -> list[Curve]:
    """The curves in a file; none where there is no file."""
    if not results.exists():
        return []
    return [CURVE.validate_json(line) for line in results.read_bytes().splitlines()]


if __name__ == "__main__":
    main()
