"""`make exact-matrix`: the published sessions under every CPU configuration that this machine can imitate.

Prints a table of CIDs. Exit code 0: all are the published ones; 1: a bit differs somewhere. Another torch joins the
table by its interpreter: `python -m tests.exact_matrix --python other/bin/python` (tests/vectors/README.md).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vectors.exact.session import NAMES, first_difference, wanted

ROOT = Path(__file__).parents[1]
"""Of the repository: where the processes are started."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
NO_KERNELS = {"DEEPBLOCK_COMPILED": "0"}

CONFIGURATIONS: dict[str, dict[str, str]] = {
    "as it is": {},
    "one thread": ONE_THREAD,
    "two threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "MKL_DYNAMIC": "FALSE"},
    "three threads": {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "MKL_DYNAMIC": "FALSE"},
    "no kernels": NO_KERNELS,
    "no kernels, one thread": NO_KERNELS | ONE_THREAD,
    "no kernels, torch with AVX2": NO_KERNELS | {"ATEN_CPU_CAPABILITY": "avx2"},
    "no kernels, torch without vectors": NO_KERNELS | {"ATEN_CPU_CAPABILITY": "default"},
    "kernels for any processor": {"NUMBA_CPU_NAME": "generic"},
    "oneDNN with SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "oneDNN with AVX": {"ONEDNN_MAX_CPU_ISA": "AVX"},
    "oneDNN with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "MKL, compatible": {"MKL_CBWR": "COMPATIBLE"},
    "MKL, strict AVX2": {"MKL_CBWR": "AVX2,STRICT"},
    "memory full of junk": NO_KERNELS | {"MALLOC_PERTURB_": "165"},
    "a machine with AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "AVX2",
        "NUMBA_CPU_NAME": "haswell",
    },
    "the oldest machine": ONE_THREAD
    | {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "NUMBA_CPU_NAME": "generic",
    },
}
"""Environment variables of a process that runs the sessions. (MKL has more, which only Intel's processors heed.)"""

ELSEWHERE = ("as it is", "one thread", "no kernels, torch without vectors", "the oldest machine")
"""Those for another interpreter."""

SHOWN = 8
"""How many characters of a CID stand in the table: its last, as the first are the same in all."""


class RowError(Exception):
    """An interpreter could not run the sessions at all. The message says which, and its last words."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the sessions give in one process, and what it was like.

    `found`: by name, as `session.run` gives it. `ordinary`: a hash of what float32 training without our arithmetic
    gives. `libraries`: torch's version and threads, and which instructions are used, by their own account.
    """

    found: dict[str, Any]
    ordinary: str
    libraries: str

    @property
    def differences(self) -> dict[str, str]:
        """The first of each network that has one, in words."""
        first = {name: first_difference(self.found[name], wanted(name)) for name in NAMES}
        return {name: difference for name, difference in first.items() if difference}


def run(settings: Mapping[str, str], python: str = sys.executable) -> Row:
    """The sessions under these settings, in a process of `python`. Raises RowError."""
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}  # spinning threads would starve a busy machine
    try:
        done = subprocess.run(
            [python, "-m", "tests.exact_row"],
            cwd=ROOT,
            env=os.environ | passive | settings,
            capture_output=True,
            text=True,
            check=True,
        )
    except OSError as error:
        raise RowError(f"{python} cannot be started: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().rpartition("\n")[2] or f"exit code {error.returncode}"
        raise RowError(f"{python} cannot run the sessions: {last}") from error
    said, _, row = done.stdout.rstrip().rpartition("\n")
    facts = json.loads(row)
    used = [
        f"torch {facts['torch']}",
        f"{facts['threads']} {facts['vectors']}",
        f"oneDNN {_match(',convolution,[a-z_]*:([^,]*),', said)}",
        f"MKL {_match('CNR:([^ ]*)', said)}",
        "kernels" if facts["kernels"] else "no kernels",
    ]
    return Row(facts["found"], facts["ordinary"], ", ".join(used))


def _match(pattern: str, said: str) -> str:
    found = re.search(pattern, said)
    return found[1] if found else "silent"


def rows(pythons: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """One after the other, with what to call it. Other interpreters first: what is wrong with one is known at once."""
    for python in pythons:
        for name in ELSEWHERE:
            yield name, run(CONFIGURATIONS[name], python)
    for name, settings in CONFIGURATIONS.items():
        yield name, run(settings)


def table(pythons: Sequence[str]) -> bool:
    """Prints it as it comes about. Whether all is equal. Raises RowError."""
    ordinary: list[str] = []
    differences: list[str] = []
    print("The end of the last state's CID; of the second session, which starts from the first's average.\n")
    print(_line("", NAMES, "float32", "seconds", "in use"))
    print(_line("published", [_end(wanted(name)) for name in NAMES]))
    began = time.perf_counter()
    for name, row in rows(pythons):
        wrong = row.differences
        cells = ["DIFFERS" if network in wrong else _end(row.found[network]) for network in NAMES]
        took, began = time.perf_counter() - began, time.perf_counter()
        print(_line(name, cells, row.ordinary[: SHOWN - 1], f"{took:.1f}", row.libraries), flush=True)
        ordinary.append(row.ordinary)
        differences += [f"{name}, {network}, {what}." for network, what in wrong.items()]
    equal = "A bit differs: this is not exact." if differences else "Every session is equal to the last bit."
    others = (
        f"Ordinary float32 training has {len(set(ordinary))} different results in these {len(ordinary)} rows."
    )
    print("", *differences, equal, others, sep="\n")
    return not differences


def _end(found: Mapping[str, Any]) -> str:
    return found["sessions"][-1]["states"][-1][-SHOWN:]


def _line(name: str, cells: Sequence[str], *facts: str) -> str:
    shown = [f"{cell:{max(len(network), SHOWN)}}" for network, cell in zip(NAMES, cells, strict=True)]
    return "  ".join([f"{name:33}", *shown, *(f"{fact:7}" for fact in facts)]).rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.exact_matrix", description=(__doc__ or "").split("\n")[0]
    )
    about = "an interpreter with another torch; may be given again"
    parser.add_argument("--python", action="append", default=[], metavar="PATH", help=about)
    try:
        return 0 if table(parser.parse_args().python) else 1
    except RowError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
