"""Jobs on real worker processes: right results, audits that find what is false, and processes that die."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from consensus.audit import Findings
from deepblock.blockstore import Blockstore
from deepblock.cid import cid_of_block
from node.jobs.dispatcher import Jobs
from node.jobs.errors import JobDataMissing, JobFailed, JobsStopped, WorkerDied
from tests.functional.jobs_parts import LONG, SEED, SMALL, new_blobs, true_seal

pytestmark = pytest.mark.functional

ABSENT = cid_of_block(b"nobody has it", codec=0x55)


class Heard:
    """Collects what a session calls back."""

    def __init__(self):
        self.segments = []
        self.progress = []
        self.began = asyncio.Event()

    def callbacks(self):
        return {"on_segment": self.on_segment, "on_progress": self.progress.append}

    def on_segment(self, index, state):
        self.segments.append((index, state))
        self.began.set()


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """The folder of a finished session of SMALL, and its seal."""
    folder = tmp_path_factory.mktemp("truth")
    return folder, true_seal(SMALL, new_blobs(folder))


@pytest.fixture(scope="module")
def long_seal(tmp_path_factory):
    return true_seal(LONG, new_blobs(tmp_path_factory.mktemp("long")))


@pytest.fixture
def jobs(runner, shared, truth):
    """With a Blockstore as the finished session of SMALL left it, once nobody who was cancelled writes any more."""
    jobs, folder = shared
    runner.run(until(lambda: all(lane.job is None for lane in jobs.status())))
    shutil.rmtree(folder)
    shutil.copytree(truth[0], folder)
    return jobs


@pytest.fixture
def blobs(jobs, shared):
    return Blockstore(shared[1])


@pytest.fixture
def seal(truth):
    return truth[1]


def lane(jobs, name):
    return next(status for status in jobs.status() if status.lane == name)


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # ended, and only waits for its parent to notice


async def until(fact, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.02)


# --- sessions -------------------------------------------------------------------------------------------


def test_a_session_gives_what_training_gives(runner, jobs, blobs, seal):
    for cid in (*seal.states, seal.average):
        blobs.remove(cid)
    heard = Heard()
    assert runner.run(jobs.session(SMALL, SEED, None, **heard.callbacks())) == seal
    assert heard.segments == list(enumerate(seal.states, 1))
    assert [p.step for p in heard.progress if p.step % SMALL.steps == 0] == [4, 8, 12, 16]
    assert (heard.progress[-1].segment, heard.progress[-1].segments, heard.progress[-1].steps) == (4, 4, 16)
    assert [blobs.missing(cid) for cid in (*seal.states, seal.average)] == [[]] * 5


def test_a_session_goes_on_after_finished_segments(runner, jobs, seal):
    heard = Heard()
    session = jobs.session(SMALL, SEED, None, finished=seal.states[:3], **heard.callbacks())
    assert runner.run(session) == seal
    assert [index for index, _ in heard.segments] == [4]


def test_missing_data_is_named(runner, jobs, blobs):
    blobs.remove(SMALL.train)
    with pytest.raises(JobDataMissing) as missing:
        runner.run(jobs.session(SMALL, SEED, None, **Heard().callbacks()))
    assert missing.value.cid == SMALL.train


def test_a_listener_that_raises_ends_its_own_job_only(runner, jobs, seal):
    def bad_listener(index, state):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        runner.run(jobs.session(SMALL, SEED, None, on_segment=bad_listener, on_progress=lambda _: None))
    assert runner.run(jobs.session(SMALL, SEED, None, **Heard().callbacks())) == seal


# --- audits and scores ----------------------------------------------------------------------------------


def test_an_honest_seal_is_confirmed(runner, jobs, seal):
    findings = runner.run(jobs.audit(SMALL, SEED, None, seal, (2, 4)))
    assert findings == Findings({2: seal.states[1], 4: seal.states[3]}, seal.average, seal.score)


def test_a_wrong_state_is_found(runner, jobs, seal):
    false = replace(seal, states=(*seal.states[:3], seal.states[0]))
    assert runner.run(jobs.audit(SMALL, SEED, None, false, (4,))).states[4] == seal.states[3]


def test_a_wrong_average_and_score_are_found(runner, jobs, seal):
    false = replace(seal, average=ABSENT, score=replace(seal.score, correct=360))
    findings = runner.run(jobs.audit(SMALL, SEED, None, false, (4,)))
    assert (findings.average, findings.score) == (seal.average, seal.score)


PICKLE = b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR."


@pytest.mark.parametrize("garbage", [PICKLE, bytes(600_000)], ids=["a pickle", "too large"])
def test_before_a_file_that_is_no_state_the_replay_begins_at_an_earlier_one(
    runner, jobs, blobs, seal, garbage
):
    false = replace(seal, states=(*seal.states[:2], blobs.put_file(garbage), seal.states[3]))
    findings = runner.run(jobs.audit(SMALL, SEED, None, false, (4,)))
    assert findings == Findings({3: seal.states[2], 4: seal.states[3]}, seal.average, seal.score)


def test_without_a_state_the_replay_begins_at_an_earlier_one(runner, jobs, blobs, seal):
    blobs.remove(seal.states[1])
    blobs.remove(seal.states[2])
    progress = []
    findings = runner.run(jobs.audit(SMALL, SEED, None, seal, (4,), on_progress=progress.append))
    assert findings == Findings(dict(enumerate(seal.states[1:], 2)), seal.average, seal.score)
    assert (progress[-1].step, progress[-1].steps) == (12, 12)


def test_a_damaged_state_counts_as_missing(runner, jobs, shared, seal):
    text = str(seal.states[2])
    file = next(shared[1].rglob(text))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    findings = runner.run(jobs.audit(SMALL, SEED, None, seal, (4,)))
    assert findings.states == {3: seal.states[2], 4: seal.states[3]}


def test_without_any_state_the_replay_begins_at_the_derived_one(runner, jobs, blobs, seal):
    for cid in (*seal.states, seal.average):
        blobs.remove(cid)
    findings = runner.run(jobs.audit(SMALL, SEED, None, seal, (1,)))
    assert findings == Findings(dict(enumerate(seal.states, 1)), seal.average, seal.score)


def test_without_states_and_model_an_audit_names_the_model(runner, jobs, seal):
    with pytest.raises(JobDataMissing) as missing:
        runner.run(jobs.audit(SMALL, SEED, ABSENT, seal, (1,)))
    assert missing.value.cid == ABSENT


def test_a_model_is_scored(runner, jobs, blobs, seal):
    assert runner.run(jobs.score(SMALL, seal.average)) == seal.score
    with pytest.raises(JobFailed) as failed:
        runner.run(jobs.score(SMALL, blobs.put_file(b"not a model")))
    assert failed.value.error == "Malformed"
    assert runner.run(jobs.score(SMALL, seal.average)) == seal.score


# --- lanes ----------------------------------------------------------------------------------------------


def test_an_audit_does_not_wait_for_a_session(runner, jobs, seal):
    async def both():
        heard = Heard()
        session = asyncio.create_task(jobs.session(LONG, SEED, None, **heard.callbacks()))
        await heard.began.wait()
        findings = await jobs.audit(SMALL, SEED, None, seal, (4,))
        assert lane(jobs, "mine").job == "session"
        assert not session.done()
        mine, audit = (os.getpriority(os.PRIO_PROCESS, lane(jobs, name).pid) for name in ("mine", "audit"))
        assert mine > audit > os.getpriority(os.PRIO_PROCESS, 0)
        session.cancel()
        return findings

    assert runner.run(both()).average == seal.average


def test_a_lane_takes_jobs_in_turn(runner, jobs, seal):
    async def three():
        ended = []

        async def audit(number):
            await jobs.audit(SMALL, SEED, None, seal, (1, 2, 3, 4))
            ended.append(number)

        tasks = [asyncio.create_task(audit(number)) for number in range(3)]
        await asyncio.sleep(0)
        assert lane(jobs, "audit").waiting == 3
        await asyncio.gather(*tasks)
        assert (lane(jobs, "audit").waiting, lane(jobs, "audit").job) == (0, None)
        return ended

    assert runner.run(three()) == [0, 1, 2]


def test_cancelling_stops_the_job_and_keeps_the_worker(runner, jobs, seal):
    async def cancelled():
        heard, waiting = Heard(), Heard()
        session = asyncio.create_task(jobs.session(LONG, SEED, None, **heard.callbacks()))
        queued = asyncio.create_task(jobs.session(LONG, SEED, None, **waiting.callbacks()))
        await heard.began.wait()
        before = lane(jobs, "mine")
        began = time.monotonic()
        session.cancel()
        queued.cancel()
        for task in (session, queued):
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: lane(jobs, "mine").job is None)
        assert time.monotonic() - began < 3.0  # a step takes a millisecond; machines are busy
        assert await jobs.session(SMALL, SEED, None, **Heard().callbacks()) == seal
        after = lane(jobs, "mine")
        assert (before.pid, before.restarts) == (after.pid, after.restarts)
        assert len(heard.segments) < LONG.segments
        assert waiting.segments == []

    runner.run(cancelled())


# --- processes that die ---------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_its_session_goes_on(runner, jobs, long_seal):
    async def killed():
        heard = Heard()
        session = asyncio.create_task(jobs.session(LONG, SEED, None, **heard.callbacks()))
        await heard.began.wait()
        before = lane(jobs, "mine")
        os.kill(before.pid, signal.SIGKILL)
        seal = await session
        after = lane(jobs, "mine")
        assert after.pid != before.pid
        assert after.restarts == before.restarts + 1
        return seal, heard.segments

    seal, segments = runner.run(killed())
    assert seal == long_seal
    assert segments == list(enumerate(long_seal.states, 1))  # none is trained twice


def test_a_job_that_kills_two_workers_is_given_up(runner, jobs, seal):
    async def killed_twice():
        heard = Heard()
        session = asyncio.create_task(jobs.session(LONG, SEED, None, **heard.callbacks()))
        for _ in range(2):
            await until(lambda: lane(jobs, "mine").job and lane(jobs, "mine").pid)
            heard.began.clear()
            await heard.began.wait()
            pid = lane(jobs, "mine").pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: gone(pid))
        with pytest.raises(WorkerDied, match="killed by SIGKILL"):
            await session

    runner.run(killed_twice())


def test_a_worker_that_does_not_answer_a_cancel_is_replaced(runner, jobs, seal, monkeypatch):
    monkeypatch.setattr("node.jobs.lane.CANCEL_TIME", 0.5)

    async def stopped():
        heard = Heard()
        session = asyncio.create_task(jobs.session(LONG, SEED, None, **heard.callbacks()))
        await heard.began.wait()
        pid = lane(jobs, "mine").pid
        os.kill(pid, signal.SIGSTOP)
        session.cancel()
        await until(lambda: gone(pid))
        return await jobs.session(SMALL, SEED, None, **Heard().callbacks())

    assert runner.run(stopped()) == seal


@pytest.mark.parametrize(
    ("module", "code", "status", "stderr"),
    [
        ("torch", "raise ImportError('libtorch.so: not found')", "exit status 1", "libtorch.so: not found"),
        ("sitecustomize", "print('welcome to this machine', flush=True)", "what it said is no report", ""),
    ],
)
def test_a_worker_that_cannot_start_says_why(tmp_path, monkeypatch, module, code, status, stderr):
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def hopeless():
        jobs = Jobs(tmp_path)
        await jobs.start()
        try:
            with pytest.raises(WorkerDied) as died:
                await jobs.score(SMALL, ABSENT)
        finally:
            await jobs.stop()
        return died.value

    died = uvloop.run(hopeless())
    assert status in died.status
    assert stderr in str(died)


def test_stopping_ends_workers_and_jobs(tmp_path):
    async def stopped():
        new_blobs(tmp_path)
        jobs = Jobs(tmp_path)
        await jobs.start()
        heard = Heard()
        session = asyncio.create_task(jobs.session(LONG, SEED, None, **heard.callbacks()))
        queued = asyncio.create_task(jobs.session(LONG, SEED, None, **heard.callbacks()))
        await heard.began.wait()
        await until(lambda: lane(jobs, "audit").device)
        pids = [status.pid for status in jobs.status()]
        await jobs.stop()
        assert all(gone(pid) for pid in pids)
        for task in (session, queued):
            with pytest.raises(JobsStopped):
                await task
        with pytest.raises(JobsStopped):
            await jobs.score(SMALL, ABSENT)

    uvloop.run(stopped())


DAEMON = """
import asyncio, sys, uvloop
from pathlib import Path
from node.jobs.dispatcher import Jobs
from tests.functional.jobs_parts import LONG, SEED, new_blobs

async def main():
    new_blobs(Path(sys.argv[1]))
    jobs = Jobs(Path(sys.argv[1]))
    await jobs.start()
    while jobs.status()[1].device is None:
        await asyncio.sleep(0.05)
    def began(index, state):
        if index == 1:
            print("PIDS", *(status.pid for status in jobs.status()), flush=True)
    await jobs.session(LONG, SEED, None, on_segment=began, on_progress=lambda _: None)

uvloop.run(main())
"""


def test_workers_end_with_their_daemon(tmp_path):
    command = (sys.executable, "-c", DAEMON, str(tmp_path))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as daemon:
        try:
            line = next(line for line in daemon.stdout if line.startswith("PIDS"))
        finally:
            daemon.kill()
    pids = [int(word) for word in line.split()[1:]]
    assert len(pids) == 2
    deadline = time.monotonic() + 2.0
    while not all(gone(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        assert all(gone(pid) for pid in pids)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
