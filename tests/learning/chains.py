"""A chain as the rules of blocks make it, without its lottery: every session of a height is in its block."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from consensus import ensemble
from consensus.ensemble import required_result
from consensus.task import TaskState
from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.training.ensemble import combine
from deepblock.training.state import Work
from deepblock.types import Block, Body, Result, Seal, Share
from tests.learning.curve import Point
from tests.learning.tasks import Task
from tests.session_vectors import Memory, whole_session
from tests.unit.consensus.parts import ancestry, header_on


class Passing(Memory):
    """What a session makes, above what it needs; its states (42 MB) go when it goes."""

    def __init__(self, below: Files) -> None:
        super().__init__()
        self._below = below

    def get_file(self, cid: Cid, max_size: int) -> bytes:
        here = cid in self._files
        return super().get_file(cid, max_size) if here else self._below.get_file(cid, max_size)


class Miners:
    """Runs sessions, each once: chains of one seed have those of their first height in common."""

    def __init__(self, spec: TaskSpec, files: Files) -> None:
        self._spec = spec
        self._files = files
        self._seals: dict[tuple[bytes, Cid | None], Seal] = {}

    def seal(self, seed: bytes, model: Cid | None) -> Seal:
        """Of the session with this seed on a parent whose model is `model`. Its average is in the files then."""
        if (seed, model) not in self._seals:
            self._seals[seed, model] = self._run(Work(self._spec, seed, model))
        return self._seals[seed, model]

    def _run(self, work: Work) -> Seal:
        passing = Passing(self._files)
        done = whole_session(work, passing)
        self._files.put_file(passing.get_file(done.average, 1 << 30))
        return Seal(done.states, done.average, done.score)


def grow(task: Task, files: Files, miners: Miners, seed: int, sessions: int, heights: int) -> Iterator[Point]:
    """The model after each height. All of a height's sessions start from its parent's model; the first is the block's
    own, and the others are shares that it carries."""
    spec, state = task.spec, TaskState()
    for height in range(1, heights + 1):
        seals = [miners.seal(_seed(seed, height, index), state.model) for index in range(sessions)]
        members = _members(seals)
        derived = combine(spec, files, members, state.model)
        chosen = required_result(seals[0], state, derived)
        state = replace(state, model=chosen.model, score=chosen.score, blocks=height)
        steps = height * spec.segments * spec.steps
        yield Point(
            steps=steps,
            examples=steps * spec.batch * sessions,
            accuracy=task.accuracy(files, chosen.model),
            loss=chosen.score.loss,
            ensembles=[result.score.loss for result in derived[: len(members) - 1]],
            averages=[seal.score.loss for seal in seals],
            outer=derived[-1].score.loss if len(derived) == len(members) else None,
        )


def _members(seals: list[Seal]) -> list[Cid]:
    """Of a height's sessions, the averages of those that rule E1 takes. Their headers do not matter to it."""
    header = header_on(ancestry())
    block = Block(header, seals[0], Result(seals[0].average, seals[0].score))
    body = Body((), tuple(Share(header, seal) for seal in seals[1:]))
    return [session.seal.average for session in ensemble.members(block, body)]


def _seed(*words: int) -> bytes:
    return hashlib.sha256(f"learning {words}".encode()).digest()
