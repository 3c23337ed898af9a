"""What an idle node occupies, and how long it takes to start, against a Python that only imports what it imports."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.table import ROOT, Row, paired
from tests.functional.nodes import Node, running, wait_for

DAEMON = "uvloop, aiohttp, libp2p, plyvel, pydantic"
WORKER = "torch, numba"
"""What they import of others that weighs."""


def measure(count: int = 3) -> Iterator[Row]:
    """`count`: how often a node is started."""
    daemons, workers, starts = [], [], []
    for _ in range(count):
        start, daemon, worker = _node()
        bare_start, bare_daemon = _python(DAEMON)
        _, bare_worker = _python(WORKER)
        starts.append((start, bare_start))
        daemons.append((daemon, bare_daemon))
        workers.append((worker, bare_worker))
    yield paired("memory of the idle daemon", "MiB", daemons, f"a Python that imports {DAEMON}")
    yield paired("memory of its idle worker", "MiB", workers, f"a Python that imports {WORKER}")
    yield paired("start of the daemon, to its first answer", "s", starts, "the same imports; ± 0.1 s")


def _node() -> tuple[float, float, float]:
    """Seconds until a new node answers, and MiB of it and of its worker when both are idle."""
    with tempfile.TemporaryDirectory() as folder:
        node = Node(Path(folder), "--no-mine", "--log-level", "info", network="devnet")
        with running(node):
            began = time.perf_counter()
            node.start()
            start = time.perf_counter() - began
            assert node.height == 0
            started = wait_for(lambda: node.events("worker_started"), 60, "its worker", node)
            assert node.process
            return start, _resident(node.process.pid), _resident(started[0]["pid"])


def _python(imports: str) -> tuple[float, float]:
    """Seconds until another Python has imported that, and its MiB then."""
    words = [sys.executable, "-c", f"import {imports}; print(flush=True); input()"]
    began = time.perf_counter()
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline(), "it could not import them"
            return time.perf_counter() - began, _resident(process.pid)
        finally:
            process.kill()


def _resident(pid: int) -> float:
    """MiB of its memory that are in RAM, shared libraries included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) / 1024
