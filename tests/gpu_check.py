"""`make gpu-check`: does a GPU here compute the published sessions to the last bit?

It says so plainly where there is none. Exit code 0: all equal; 1: a difference; 2: no device, so nothing was checked.
"""

import json
import sys
import time

import torch

from deepblock.blockstore import Files
from deepblock.training.graph import Action, Recorder
from deepblock.training.state import Work
from deepblock.training.step import Trainer
from tests import session_vectors
from tests.gpu_speed import speed
from tests.vectors.exact import session


class Eager:
    """Records nothing, so that every step is done operation by operation."""

    def record(self, function: Action) -> Action:
        raise RuntimeError("not wanted here")


class Trainers:
    """Makes trainers, and knows how they did their steps."""

    def __init__(self, recorder: Recorder | None) -> None:
        """`recorder`: as that of `Trainer`."""
        self._recorder = recorder
        self._made: list[Trainer] = []

    def __call__(self, work: Work, files: Files, device: torch.device) -> Trainer:
        self._made.append(Trainer(work, files, device, self._recorder))
        return self._made[-1]

    def how(self) -> str:
        """In words, of all their steps."""
        recorded = [trainer.recorded for trainer in self._made if trainer.recorded is not None]
        refused = next((steps.refused for steps in recorded if steps.refused is not None), None)
        replayed = sum(steps.replayed for steps in recorded)
        return f"{replayed} steps replayed" if refused is None else f"eager: {refused}"


RECORDERS = (Eager(), None)
"""Each session is run with each."""


def check(device: str) -> bool:
    """Runs every session of sessions.json on `device`, eagerly and recorded, and prints a line for each. Whether all
    are equal."""
    files = session_vectors.with_data()
    all_equal = True
    for vector in json.loads(session_vectors.FILE.read_text()):
        for recorder in RECORDERS:
            began, trainers = time.perf_counter(), Trainers(recorder)
            found = session_vectors.run(vector, files, device, trainers)
            wrong = [key for key in found if found[key] != vector[key]]
            all_equal &= _say(f"{vector['spec']['name']} ({trainers.how()})", ", ".join(wrong), began)
    return all_equal


def check_matrix(device: str) -> bool:
    """Those of `make exact-matrix`, with the last state's CID of each."""
    all_equal = True
    for name in session.NAMES:
        for recorder in RECORDERS:
            began, trainers = time.perf_counter(), Trainers(recorder)
            found = session.run(name, device, trainers)
            last = found["sessions"][-1]["states"][-1]
            wrong = session.first_difference(found, session.wanted(name))
            all_equal &= _say(f"{name} ({trainers.how()}), {last}", wrong, began)
    return all_equal


def _say(what: str, wrong: str | None, began: float) -> bool:
    verdict = f"DIFFERENT: {wrong}" if wrong else "equal"
    print(f"{time.perf_counter() - began:7.2f} s  {what}: {verdict}", flush=True)
    return not wrong


def main() -> int:
    if not torch.cuda.is_available():
        build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
        print(
            "Nothing was checked: there is no GPU that torch can use here "
            f"(torch {torch.__version__} is built for {build})."
        )
        return 2
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    results = []
    for device in devices:
        print(f"{device}, {torch.cuda.get_device_name(device)}, torch {torch.__version__}")
        results += [check(device), check_matrix(device)]
    print(
        "Every session is equal to the last bit."
        if all(results)
        else "This GPU must not mine: its bits differ."
    )
    for device in devices:
        for recorder in RECORDERS:
            trainers = Trainers(recorder)
            row = speed(device, trainers)
            print(
                f"{device}, {row.what} ({trainers.how()}): {row.measured:.1f} ms; {row.baseline:.1f} ms where "
                f"{row.how}; ratio {row.ratio:.2f}"
            )
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
