"""`make exact-matrix`: the published sessions under every CPU configuration that this machine can imitate.

Prints a table of CIDs. Exit code 0: all are the published ones; 1: a bit differs somewhere. Another torch joins the
table by its interpreter: `python -m tests.exact_matrix --python other/bin/python`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from tests.vectors.exact.session import NAMES, published

CONFIGURATIONS = {
    "as it is": {},
    "one thread": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "MKL_DYNAMIC": "FALSE"},
    "no vector units": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "AVX-512": {"ATEN_CPU_CAPABILITY": "avx512"},
    "oneDNN with SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "MKL with SSE4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "MKL with AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL compatible": {"MKL_CBWR": "COMPATIBLE"},
    "MKL in strict AVX2 mode": {"MKL_CBWR": "AVX2,STRICT"},
    "no kernels": {"DEEPBLOCK_COMPILED": "0"},
    "kernels of a generic CPU": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "the oldest machine": {
        "DEEPBLOCK_COMPILED": "0",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OMP_NUM_THREADS": "1",
    },
}
"""Environment variables of a process that runs the sessions."""

SHOWN = 10
"""How many characters of a CID stand in the table: its last, as the first are the same in all."""


def results(settings: Mapping[str, str], python: str = sys.executable) -> dict[str, Any]:
    """What the sessions give under these settings, by name. Raises CalledProcessError where they do not run."""
    passive = {"OMP_WAIT_POLICY": "PASSIVE"}  # spinning threads would starve a busy machine
    done = subprocess.run(
        [python, "-m", "tests.vectors.exact.session"],
        env=os.environ | passive | settings,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    return json.loads(done.stdout)


def expected() -> dict[str, Any]:
    return {name: published(name)["result"] for name in NAMES}


def row(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """For each specification the end of the last state's CID, or where the first difference is."""
    cells = []
    for name in NAMES:
        cell = found[name]["sessions"][-1]["states"][-1][-SHOWN:]
        for number, (one, other) in enumerate(
            zip(found[name]["sessions"], wanted[name]["sessions"], strict=True), 1
        ):
            states = zip(one["states"], other["states"], strict=True)
            segment = next((i for i, (a, b) in enumerate(states, 1) if a != b), None)
            if one != other:
                where = f"{segment}" if segment else "score"
                cell = f"{number}/{where} DIFFERS"
                break
        cells.append(cell)
    return cells


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--python", action="append", default=[], help="of another environment, with another torch"
    )
    options = parser.parse_args()
    wanted, equal = expected(), True
    print(
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} processors."
    )
    print("The last state of the second session, which starts from the first's average:\n")
    print(_line("", [*NAMES, "seconds"]))
    print(_line("published", row(wanted, wanted)))
    configurations = [(name, settings, sys.executable) for name, settings in CONFIGURATIONS.items()]
    for name, settings, python in [*configurations, *((path, {}, path) for path in options.python)]:
        began = time.perf_counter()
        found = results(settings, python)
        print(_line(name, [*row(found, wanted), f"{time.perf_counter() - began:.1f}"]), flush=True)
        equal &= found == wanted
    print(
        "\nEvery session is equal to the last bit."
        if equal
        else "\nThere is a difference: this is not exact."
    )
    return 0 if equal else 1


def _line(name: str, cells: list[str]) -> str:
    return "  ".join([f"{name[-26:]:26}", *(f"{cell:{SHOWN + 5}}" for cell in cells)]).rstrip()


if __name__ == "__main__":
    sys.exit(main())
