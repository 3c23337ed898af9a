"""Verdicts on sessions that claim files which are no states: the same as if nobody had them. All is real but the
network: there is no peer, and what is not in the block store cannot be had."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from consensus.audit import step_number
from consensus.ensemble import members, required_result
from consensus.errors import Fraud
from consensus.task import TaskState
from consensus.transition import apply_block
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.training.state import Work
from deepblock.transactions import FraudProof
from deepblock.types import Block, Body, Header, Seal, Share
from deepblock.unixfs import file_cid
from node.auditor import AuditFailed, Auditor, DataMissing
from node.fetch import Fetcher
from node.jobs.dispatcher import Jobs
from node.tasks import TaskData
from tests.functional.jobs_parts import SMALL, new_blobs
from tests.session_vectors import whole_session
from tests.unit.consensus.line import Line
from tests.unit.consensus.parts import ALICE, named
from tests.unit.consensus.parts import PARAMS as RULES
from tests.unit.node.chain_parts import open_chain

pytestmark = pytest.mark.functional

LARGE = bytes(600_000)
"""More than any file of SMALL has."""
USELESS = replace(SMALL, name="digits that are none", train=file_cid(LARGE))
PARAMS = replace(RULES, base_tasks=(SMALL, USELESS))
ALONE = SimpleNamespace(peers=list)

GARBAGE = [pytest.param(b"trained very hard", id="short"), pytest.param(LARGE, id="large")]
"""The first is found out when it is read, the second when it is fetched."""


class Scene:
    """A chain of the genesis alone, and the block store of whoever audits what stands on it."""

    def __init__(self, folder: Path, runner: asyncio.Runner, jobs: Jobs, blobs: Path) -> None:
        self.run = runner.run
        self.jobs = jobs
        self.blobs = new_blobs(blobs)
        self.chain, self.database = open_chain(folder, PARAMS)
        self.line = Line(PARAMS)
        fetcher = Fetcher(ALONE, None, self.blobs)
        data = TaskData(self.chain, self.blobs, fetcher, 0)
        self.auditor = Auditor(self.chain, jobs, fetcher, self.blobs, data, lambda below: 0, "sample")

    def seal(self, header: Header) -> Seal:
        """The true one; the session's files are in the store."""
        result = whole_session(Work(SMALL, header.seed, None), self.blobs)
        return Seal(result.states, result.average, result.score)

    def forged(self, header: Header, states: dict[int, Cid], **changes: object) -> Share:
        """A session of which these states, by their segments, are claimed falsely."""
        true = self.seal(header)
        claimed = (states.get(segment, state) for segment, state in enumerate(true.states, 1))
        return Share(header, replace(true, states=tuple(claimed), **changes))

    def carry(self, share: Share) -> None:
        """By the next block."""
        block = self.line.grow(Body((), (share,)))
        state = self.chain.state(block.header.parent)
        body = self.line.blocks[block.id][1]
        apply_block(PARAMS, state, block, body, self.chain.past(block.header.parent))
        self.chain.commit(block, body, state.delta())

    def honest(self, body: Body) -> Block:
        """A block that was trained, with the model that follows from its members as they claim to be."""
        header = self.line.header(body=body)
        block = Block(header, seal := self.seal(header), required_result(seal, TaskState()))
        averages = tuple(member.seal.average for member in members(block, body))
        derived = self.run(self.jobs.combine(SMALL, averages, None))
        return replace(block, result=required_result(seal, TaskState(), derived))

    def accuse(self, share: Share, step: int) -> None:
        """As in a block on the head. Raises what the audit of the block would."""
        proof = FraudProof(self.chain.network, ALICE.key, 0, 10_000, share.id, 1, step)
        self.run(self.auditor.audit_accusation(self.chain.head.id, proof))

    def fraud(self, share: Share, segment: int) -> tuple[str, str, str]:
        """What an audit of this segment says is false."""
        with pytest.raises(Fraud) as fraud:
            self.run(self.auditor.audit_share(share, None, (segment,)))
        return fraud.value.step, fraud.value.claimed, fraud.value.found


@pytest.fixture
def scene(tmp_path: Path, runner: asyncio.Runner, shared: tuple[Jobs, Path]) -> Iterator[Scene]:
    scene = Scene(tmp_path, runner, *shared)
    yield scene
    scene.database.close()


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(("bad", "asked"), [(3, 4), (4, 1)])
def test_who_has_a_file_that_is_no_state_finds_what_who_lacks_it_finds(
    scene: Scene, garbage: bytes, bad: int, asked: int
) -> None:
    claimed = scene.blobs.put_file(garbage)
    share = scene.forged(scene.line.header(), {bad: claimed})
    found = scene.seal(share.header).states[bad - 1]
    having = scene.fraud(share, asked)
    scene.blobs.remove(claimed)
    assert having == scene.fraud(share, asked) == (f"segment {bad}", str(claimed), str(found))


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_accusation_is_as_true_where_a_state_before_its_step_is_none(scene: Scene, garbage: bytes) -> None:
    share = scene.forged(scene.line.header(), {3: scene.blobs.put_file(garbage), 4: named("forged")})
    scene.carry(share)
    for step in (3, 4, 5, 6):
        scene.accuse(share, step)
    for step in (1, 2):
        with pytest.raises(Fraud, match=f"false accusation of share {share.id}"):
            scene.accuse(share, step)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_member_with_a_file_that_is_no_state_does_not_make_its_carrier_false(
    scene: Scene, garbage: bytes
) -> None:
    share = scene.forged(scene.line.header(), {3: scene.blobs.put_file(garbage)})
    body = Body((), (share,))
    block = scene.honest(body)
    scene.blobs.remove(share.seal.average)
    scene.run(scene.auditor.audit_result(block, body))


@pytest.mark.parametrize("average", [named("nobody has it"), file_cid(LARGE)], ids=["missing", "large"])
@pytest.mark.parametrize(("segment", "error"), [(None, Fraud), (4, Fraud), (3, DataMissing)])
def test_of_a_member_whose_average_cannot_be_had_no_segment_of_the_block_is_accused(
    scene: Scene, average: Cid, segment: int | None, error: type[Fraud | DataMissing]
) -> None:
    """It has four; of one that is false before the last, nobody who lacks its states can say what its average is."""
    scene.blobs.put_file(LARGE)
    states = {segment: scene.blobs.put_file(b"trained very hard")} if segment else {}
    share = scene.forged(scene.line.header(), states, average=average)
    header = scene.line.header(body=(body := Body((), (share,))))
    block = Block(header, seal := scene.seal(header), required_result(seal, TaskState()))
    with pytest.raises(error, match=str(average)) as raised:
        scene.run(scene.auditor.audit_result(block, body))
    if isinstance(raised.value, Fraud):
        assert raised.value.step == f"average of {share.id}"
        assert step_number(SMALL.segments, raised.value.step) is None


def test_data_that_are_none_say_nothing_of_a_session(scene: Scene) -> None:
    scene.blobs.put_file(LARGE)
    header = scene.line.header(task=cid_of(USELESS))
    with pytest.raises(AuditFailed, match="600000 bytes"):
        scene.run(scene.auditor.audit_share(Share(header, scene.seal(header)), None))
