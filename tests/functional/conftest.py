"""What several modules of these tests use: worker processes, which take seconds to start."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from node.jobs.dispatcher import Jobs


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="module")
def shared(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Jobs, Path]]:
    """Jobs that the tests of a module use one after the other, and their folder."""
    folder = tmp_path_factory.mktemp("blobs")
    jobs = Jobs(folder)
    runner.run(jobs.start())
    yield jobs, folder
    runner.run(jobs.stop())
