"""Doing parts of somebody's session again (protocol: Audit and fraud)."""

import torch

from deepblock.blockstore import Files
from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.training.state import Work, load_state, store_average
from deepblock.training.step import OnStep, ShouldStop, Trainer, run_segments


def replay(
    work: Work,
    files: Files,
    *,
    start: int,
    state: Cid | None,
    upto: int,
    on_step: OnStep,
    should_stop: ShouldStop,
    device: str = "cpu",
    trainer: Trainer | None = None,
) -> tuple[Cid, ...]:
    """Runs segments start + 1 … upto from `state`, the one after segment `start`; the CIDs of their states.

    `state` is None for state 0, which is derived. The states computed are kept in `files`. `trainer`: one of this
    session that has read the task's data already. Raises as `run_session` does, and Malformed where `state` is not a
    state of this task.
    """
    trainer = trainer or Trainer(work, files, torch.device(device))
    return run_segments(trainer, files, start, state, upto, lambda index, cid: None, on_step, should_stop)


def derive_average(spec: TaskSpec, files: Files, state: Cid) -> Cid:
    """The average that follows from the last state, kept in `files`; its CID. Raises Malformed."""
    return store_average(spec, files, load_state(spec, files, state))
