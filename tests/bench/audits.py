"""Checking a block against making it: what a worker does for an audit over what it does for a session.

A session of testnet is long, so fewer segments of it are run; the others, which are just like them, are added by
the median time of a segment.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from statistics import median

from consensus.audit import Findings, Plan, judge
from deepblock.blockstore import Blockstore
from deepblock.spec import TaskSpec, forward_macs, segment_macs, session_macs
from deepblock.types import Seal
from node.config import load_params
from node.jobs.messages import Audit, Audited, Progress, Sealed, SegmentDone, Session
from node.jobs.perform import Performer
from tests.bench.table import Row, paired
from tests.bench.tasks import TITLES, with_data

SIZES = {"devnet": (20, 5), "testnet": (8, 2)}
"""Segments that are run, and sessions."""


def measure() -> Iterator[Row]:
    for network, (segments, count) in SIZES.items():
        yield compare(network, segments, count)


def compare(network: str, segments: int, count: int) -> Row:
    """Seconds of an audit and of a session, `count` times. `segments`: of the sessions that are run."""
    with tempfile.TemporaryDirectory() as folder:
        files = Blockstore(Path(folder))
        whole = with_data(network, files)
        drawn = 1 + load_params(network).audit_segments
        # Spread evenly: neighbours would be replayed in one go, and in a long session they are seldom drawn.
        plan = Plan(tuple(range(segments // drawn, segments + 1, segments // drawn)))
        trainer = Trainer(replace(whole, segments=segments), Path(folder), files)
        trainer.produce(b"first")
        pairs = []
        for turn in range(count):
            took, segment = trainer.produce(f"bench {turn}".encode())
            pairs.append((trainer.verify(plan), took + (whole.segments - segments) * segment))
    ran = f" ({segments} of them run)" if segments < whole.segments else ""
    how = f"audit, session of {whole.segments} segments{ran}; by MACs {_predicted(whole, drawn):.3f}×"
    return paired(f"verify / produce, {TITLES[network]}", "s", pairs, how)


class Trainer:
    """A worker of a node, and the session that it ran last."""

    def __init__(self, spec: TaskSpec, folder: Path, files: Blockstore) -> None:
        self._spec = spec
        self._files = files
        self._worker = Performer(folder, "cpu", threads=1)
        self._work = Session(spec, b"", None, ())
        self._seal: Seal | None = None

    def produce(self, name: bytes) -> tuple[float, float]:
        """Runs a session from the average of the last one: seconds of it, and of one of its segments."""
        model = self._seal.average if self._seal else None
        self._work = Session(self._spec, sha256(name).digest(), model, ())
        ends: list[float] = []

        def listen(news: Progress) -> None:
            if isinstance(news, SegmentDone):
                ends.append(time.perf_counter())

        began = time.perf_counter()
        done = self._worker.perform(self._work, listen, lambda: False)
        took = time.perf_counter() - began
        assert isinstance(done, Sealed), done
        self._seal = done.seal
        return took, median(end - start for start, end in pairwise(ends))

    def verify(self, plan: Plan) -> float:
        """Audits that session, with no more of its files than an auditor fetches: seconds."""
        seal = self._seal
        assert seal
        fetched = {segment - 1 for segment in plan.segments} | {self._spec.segments}
        for segment, state in enumerate(seal.states, 1):
            if segment not in fetched:
                self._files.remove(state)
        self._files.remove(seal.average)
        order = Audit(self._spec, self._work.seed, self._work.model, seal, plan.segments)
        began = time.perf_counter()
        done = self._worker.perform(order, lambda news: None, lambda: False)
        took = time.perf_counter() - began
        assert isinstance(done, Audited), done
        states = {one.segment: one.state for one in done.states}
        judge(plan, seal, Findings(states, done.average, done.score))
        return took


def _predicted(spec: TaskSpec, segments: int) -> float:
    """What multiply-accumulates say. Both score the average."""
    scoring = spec.n_heldout * forward_macs(spec)
    return (segments * segment_macs(spec) + scoring) / (session_macs(spec) + scoring)
