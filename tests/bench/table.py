"""The rows of the table, and how they are shown."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
"""Of the repository: where processes of a benchmark are started."""


@dataclass(frozen=True, slots=True)
class Row:
    """`measured` and `baseline`, both in `unit`; `ratio`: the first over the second; `how` both were measured."""

    what: str
    measured: float
    baseline: float
    ratio: float
    unit: str
    how: str


def paired(what: str, unit: str, pairs: Sequence[tuple[float, float]], how: str) -> Row:
    """Of (measured, baseline) pairs that were taken one right after the other: the medians, and the median of the
    pairs' ratios. What slows the machine down for a while slows down both of a pair."""
    measured, baseline = (median(values) for values in zip(*pairs, strict=True))
    ratio = median(ours / theirs for ours, theirs in pairs)
    return Row(what, measured, baseline, ratio, unit, f"{how}; median of {len(pairs)}")


def seconds(action: Callable[..., object], *arguments: object) -> float:
    """How long it takes, wall clock."""
    began = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - began


def alternating(
    ours: Callable[[int], object], theirs: Callable[[int], object], count: int
) -> list[tuple[float, float]]:
    """Seconds of both, `count` times, each first as often as second; they are told which turn it is. Turn 0, which
    warms up, does not count."""
    pairs = []
    for turn in range(count + 1):
        if turn % 2:
            first = seconds(ours, turn)
            pairs.append((first, seconds(theirs, turn)))
        else:
            first = seconds(theirs, turn)
            pairs.append((seconds(ours, turn), first))
    return pairs[1:]


def machine() -> dict[str, str]:
    """What the numbers were taken on."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "hardware": f"{_processor()}, {os.cpu_count()} CPUs, {memory:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "threads": "1 each, unless a row says more",
        "commit": commit + (" and changes" if _git("status", "--porcelain") else ""),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def lines(facts: dict[str, str], rows: Iterator[Row]) -> Iterator[str]:
    """The table, as it comes about."""
    for name, value in facts.items():
        yield f"{name + ':':<13}{value}"
    yield ""
    yield f"{'what':<44}{'measured':>16}{'baseline':>16}{'ratio':>9}  how"
    for row in rows:
        ours, theirs = (f"{_digits(value)} {row.unit}" for value in (row.measured, row.baseline))
        yield f"{row.what:<44}{ours:>16}{theirs:>16}{_digits(row.ratio):>8}×  {row.how}"


def _digits(value: float) -> str:
    """Three that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _processor() -> str:
    """Its name as Linux tells it."""
    with Path("/proc/cpuinfo").open() as facts:
        names = (line.partition(":")[2].strip() for line in facts if line.startswith("model name"))
        return next(names, platform.machine())


def _git(*words: str) -> str:
    """Its answer; nothing where this is no repository."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
