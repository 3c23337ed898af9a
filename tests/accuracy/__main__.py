"""`make accuracy`, or `python -m tests.accuracy [TASK …]`: what the file of results has is not run again."""

import argparse
from pathlib import Path

import torch
from pydantic import TypeAdapter

from deepblock.data import DataError
from tests.accuracy.runs import ARITHMETICS, Run, train
from tests.accuracy.table import lines
from tests.accuracy.tasks import TASKS
from tests.session_vectors import Memory

RUN = TypeAdapter(Run)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.accuracy", description="Exact training beside float32."
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all by default")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each task and arithmetic (3)")
    parser.add_argument(
        "--only", action="append", choices=ARITHMETICS, help="this arithmetic; all by default"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("accuracy.jsonl"), help="file of runs, one a line"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.tasks) - set(TASKS):
        parser.error(f"no task is called {', '.join(sorted(unknown))}")

    torch.set_num_threads(1)
    for name in arguments.tasks or TASKS:
        try:
            measure(name, arguments.seeds, arguments.only or list(ARITHMETICS), arguments.results)
        except DataError as error:
            parser.exit(1, f"{error}\n")
        print(*lines(name, read(arguments.results)), "", sep="\n", flush=True)


def measure(name: str, seeds: int, arithmetics: list[str], results: Path) -> None:
    """Does the runs that `results` has not, and adds each to it when it is done."""
    done = {(run.task, run.arithmetic, run.seed) for run in read(results)}
    missing = [
        (arithmetic, seed)
        for seed in range(seeds)
        for arithmetic in arithmetics
        if (name, arithmetic, seed) not in done
    ]
    if not missing:
        return
    files = Memory()
    task = TASKS[name](files)
    for arithmetic, seed in missing:
        run = train(name, task, files, arithmetic, seed)
        with results.open("ab") as file:
            file.write(RUN.dump_json(run) + b"\n")


def read(results: Path) -> list[Run]:
    """The runs in a file; none where there is no file."""
    if not results.exists():
        return []
    return [RUN.validate_json(line) for line in results.read_bytes().splitlines()]


if __name__ == "__main__":
    main()
