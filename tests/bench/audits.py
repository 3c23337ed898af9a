"""Checking a block against making it: what a worker does for an audit over what it does for a session.

A block that carries shares is that many sessions more, each audited like its own; and the ensembles and the outer step
are derived and scored.

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
from consensus.ensemble import MOST_MEMBERS
from deepblock.blockstore import Blockstore
from deepblock.cid import Cid
from deepblock.spec import TaskSpec, forward_macs, segment_macs, session_macs
from deepblock.types import Seal
from node.config import load_params
from node.jobs.messages import Audit, Audited, Combine, Combined, Progress, Sealed, SegmentDone, Session
from node.jobs.perform import Performer
from tests.bench.table import Row, paired
from tests.bench.tasks import TITLES, with_data

CASES = (("digits", 20, 5, 0), ("testnet", 8, 5, 0), ("testnet", 8, 3, 3))
"""Network, segments that are run of a session, blocks, and shares that each carries."""


def measure() -> Iterator[Row]:
    for case in CASES:
        yield compare(*case)


def compare(network: str, segments: int, count: int, shares: int) -> Row:
    """Seconds of checking a block and of making it, `count` times. `segments`: of the sessions that are run."""
    with tempfile.TemporaryDirectory() as folder:
        files = Blockstore(Path(folder))
        whole = with_data(network, files)
        drawn = 1 + load_params("testnet").audit_segments
        # Spread evenly: neighbours would be replayed in one go, and in a long session they are seldom drawn.
        plan = Plan(tuple(range(segments // drawn, segments + 1, segments // drawn)))
        trainer = Trainer(replace(whole, segments=segments), Path(folder), files)
        trainer.produce(b"first", None)
        trainer.verify(plan)
        pairs = []
        for turn in range(count):
            model, members = trainer.average, []
            verify = produce = 0.0
            for member in range(1 + shares):
                took, segment = trainer.produce(f"bench {turn} {member}".encode(), model)
                produce += took + (whole.segments - segments) * segment
                verify += trainer.verify(plan)
                members.append(trainer.average)
            if shares:
                verify += trainer.combine(members, model)
            pairs.append((verify, produce))
    ran = f" ({segments} of them run)" if segments < whole.segments else ""
    carried = f"block with {shares} shares" if shares else "block without shares"
    how = f"{carried}, sessions of {whole.segments} segments{ran}; by MACs {_predicted(whole, drawn, shares):.3f}×"
    return paired(f"verify / produce, {TITLES[network]}", "s", pairs, how)


class Trainer:
    """A worker of a node, and the session that it ran last."""

    def __init__(self, spec: TaskSpec, folder: Path, files: Blockstore) -> None:
        self._spec = spec
        self._files = files
        self._worker = Performer(folder, "cpu", threads=1)
        self._work = Session(spec, b"", None, ())
        self._seal: Seal | None = None

    @property
    def average(self) -> Cid:
        assert self._seal
        return self._seal.average

    def produce(self, name: bytes, model: Cid | None) -> tuple[float, float]:
        """Runs a session from `model`: seconds of it, and of one of its segments."""
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

    def combine(self, members: list[Cid], model: Cid) -> float:
        """Derives and scores what several sessions give a task that had `model`: seconds."""
        began = time.perf_counter()
        done = self._worker.perform(
            Combine(self._spec, tuple(members), model), lambda news: None, lambda: False
        )
        took = time.perf_counter() - began
        assert isinstance(done, Combined), done
        return took


def _predicted(spec: TaskSpec, segments: int, shares: int) -> float:
    """What multiply-accumulates say. Both score the averages; with shares there are ensembles, and an outer step."""
    scoring, sessions = spec.n_heldout * forward_macs(spec), 1 + shares
    derived = min(sessions, MOST_MEMBERS) if shares else 0
    verify = sessions * (segments * segment_macs(spec) + scoring) + derived * scoring
    return verify / (sessions * (session_macs(spec) + scoring))
