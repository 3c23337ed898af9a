"""replay: the whole session of a block once more, on this machine, against what its seal claims."""

import os
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from deepblock import api
from deepblock.blockstore import Blockstore, Missing
from deepblock.cid import Cid
from deepblock.client import BadAnswer, Client, FileCorrupt, FileMissing
from deepblock.codec import cid_of
from deepblock.commands.context import CommandError, Context, progress
from deepblock.spec import heldout_labels
from deepblock.types import Score, Seal

MAX_THREADS: Final = 256
"""As for a node; torch crashes on many thousands."""

Stored = Literal["intact", "missing", "corrupt"]


@dataclass(frozen=True, slots=True)
class Segment:
    """`sealed`: the state that the seal names; `replayed`: the one this machine came to; `stored`: what is
    with the node's file of the sealed one."""

    segment: int
    sealed: Cid
    replayed: Cid
    equal: bool
    stored: Stored


@dataclass(frozen=True, slots=True)
class Replay:
    """`equal`: everything that the seal claims is what this machine found, and no stored state is damaged."""

    height: int
    block: Cid
    task_name: str
    segments: tuple[Segment, ...]
    sealed_average: Cid
    average: Cid
    sealed_score: Score
    score: Score
    equal: bool
    seconds: float


class NodesFiles:
    """Files of a local store; what is not there yet comes from the node."""

    def __init__(self, client: Client, store: Blockstore) -> None:
        self._client, self._store = client, store

    def get_file(self, cid: Cid, max_size: int) -> bytes:
        try:
            return self._store.get_file(cid, max_size)
        except Missing:
            data = self._client.fetch_file(cid, max_size)
            self._store.put_file(data)
            return data

    def put_file(self, data: bytes) -> Cid:
        return self._store.put_file(data)


@dataclass(slots=True)
class Comparison:
    """The segments so far, said as they come."""

    client: Client
    seal: Seal
    quiet: bool
    segments: list[Segment] = field(default_factory=list)

    def add(self, index: int, replayed: Cid) -> None:
        """State `index`, 1 …, came out as `replayed`."""
        sealed = self.seal.states[index - 1]
        found = Segment(index, sealed, replayed, sealed == replayed, _stored(self.client, sealed))
        self.segments.append(found)
        self.say(f"segment {index}", sealed, replayed, f"the node's file is {found.stored}")

    def say(self, what: str, sealed: object, replayed: object, more: str = "") -> None:
        if self.quiet:
            return
        progress("")
        verdict = "equal" if sealed == replayed else f"DIFFERENT: replayed {replayed}"
        print(f"{what:<11} {sealed}  {verdict}" + (f"; {more}" if more else ""), flush=True)


def replay(context: Context, options: Namespace) -> int:
    client = context.client
    block = client.chain_get_block(options.height)
    if block.header.height == 0:
        raise CommandError(
            "block 0 is the genesis, which nobody trained; the first session is that of block 1"
        )
    if block.block.id != block.id:
        raise BadAnswer(f"the node calls a block {block.id} whose id is {block.block.id}")
    task = client.task_get(block.header.task)
    if cid_of(task.spec) != block.header.task:
        raise BadAnswer(f"the node calls a task {block.header.task} whose CID is {cid_of(task.spec)}")
    if len(block.seal.states) != task.spec.segments:
        raise BadAnswer(
            f"the seal has {len(block.seal.states)} states, the task {task.spec.segments} segments"
        )
    comparison = Comparison(client, block.seal, quiet=context.as_json)
    if not context.as_json:
        print(f"block {options.height:,}, {block.id}, task {task.name}")
    found = _replay(comparison, block, task, options.threads)
    damaged = ", ".join(str(segment.segment) for segment in found.segments if segment.stored == "corrupt")
    context.show(found, _verdict(found, damaged))
    return 0 if found.equal else 1


def _replay(comparison: Comparison, block: api.BlockInfo, task: api.TaskInfo, threads: int) -> Replay:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the node's workers: idle threads must not spin
    import torch  # 1.5 s that no other command should wait for

    from deepblock.training.session import run_session
    from deepblock.training.state import Work

    torch.set_num_threads(threads)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="deepblock-replay-") as folder:
        result = run_session(
            Work(task.spec, block.header.seed, block.starts_from),
            NodesFiles(comparison.client, Blockstore(Path(folder))),
            on_segment=comparison.add,
            on_step=lambda done, total: progress(f"step {done} of {total}"),
            should_stop=lambda: False,
        )
    seal, examples = block.seal, heldout_labels(task.spec)
    comparison.say("average", seal.average, result.average)
    comparison.say("score", _score(seal.score, examples), _score(result.score, examples))
    segments = tuple(comparison.segments)
    same = result.average == seal.average and result.score == seal.score and all(s.equal for s in segments)
    return Replay(
        height=block.header.height,
        block=block.id,
        task_name=task.name,
        segments=segments,
        sealed_average=seal.average,
        average=result.average,
        sealed_score=seal.score,
        score=result.score,
        equal=same and not any(segment.stored == "corrupt" for segment in segments),
        seconds=round(time.monotonic() - began, 3),
    )


def _stored(client: Client, state: Cid) -> Stored:
    """What is with the node's file: fetched, and hashed here."""
    try:
        client.fetch_file(state)
    except FileMissing:
        return "missing"
    except (FileCorrupt, BadAnswer):
        return "corrupt"
    return "intact"


def _score(score: Score, examples: int) -> str:
    return f"loss {score.loss / (10**6 * examples):.6f}, {score.correct} of {examples} correct"


def _verdict(found: Replay, damaged: str) -> str:
    if found.equal:
        return f"all {len(found.segments)} segments, average and score are equal ({found.seconds:.1f} s)"
    wrong = [f"segment {segment.segment}" for segment in found.segments if not segment.equal][:1]
    wrong += ["the average"] if found.average != found.sealed_average else []
    wrong += ["the score"] if found.score != found.sealed_score else []
    parts = [f"the seal differs from the replay, first in {wrong[0]}"] if wrong else []
    parts += [f"the node's stored state differs in segment {damaged}"] if damaged else []
    return "; ".join(parts)
