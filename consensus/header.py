"""The header against its parent (protocol: Header; Difficulty; Time; Tasks)."""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.difficulty import next_difficulty
from consensus.errors import (
    FromTheFuture,
    ParentUnknown,
    TaskNotScheduled,
    TooEarly,
    WrongDifficulty,
    WrongHeight,
    WrongNetwork,
    WrongStateRoot,
    WrongVersion,
)
from consensus.params import VERSION, Params
from consensus.task import may_fall_back
from deepblock.cid import Cid
from deepblock.codec import cid_of
from deepblock.primitives import Hash32
from deepblock.types import Header


@dataclass(frozen=True, slots=True)
class Ancestry:
    """What the rules want to know of the chain below a new block.

    `state_root`: after the parent. `timestamps`: of the parent and those before it, newest first, as many as the
    median needs (fewer near the genesis). `difficulty`: the parent's.
    """

    parent: Cid
    height: int
    state_root: Hash32
    difficulty: int
    timestamps: Sequence[int]


def required_difficulty(params: Params, below: Ancestry) -> int:
    """Rule H2. D of a child. On the genesis, which has no parent to measure from, the schedule is met."""
    if len(below.timestamps) < 2:
        return next_difficulty(params, below.difficulty, params.block_time)
    return next_difficulty(params, below.difficulty, below.timestamps[0] - below.timestamps[1])


def median_time(params: Params, below: Ancestry) -> int:
    """Rule H3. Unix seconds that a child must exceed: the median of the last blocks (of an even number the upper)."""
    window = sorted(below.timestamps[: params.median_window])
    return window[len(window) // 2]


def check_header(
    params: Params, network: Cid, header: Header, below: Ancestry, scheduled: Cid, now: int
) -> None:
    """Rule H1. All that a header owes to its parent. `scheduled`: the task whose turn it is after the parent; `now`:
    this node's clock, Unix seconds."""
    if header.version != VERSION:
        raise WrongVersion(header.version, VERSION)
    if header.network != network:
        raise WrongNetwork(header.network, network)
    if header.parent != below.parent:
        raise ParentUnknown(header.parent)
    if header.height != below.height + 1:
        raise WrongHeight(header.height, below.height + 1)
    if header.state_root != below.state_root:
        raise WrongStateRoot(header.state_root, below.state_root)
    check_time(params, header, below, now)
    required = required_difficulty(params, below)
    if header.difficulty != required:
        raise WrongDifficulty(header.difficulty, required)
    check_scheduled(params, header, below, scheduled)


def check_time(params: Params, header: Header, below: Ancestry, now: int) -> None:
    """Rule H4. Later than the median of the last blocks, and not far ahead of this clock."""
    median = median_time(params, below)
    if header.timestamp <= median:
        raise TooEarly(header.timestamp, median)
    if header.timestamp > now + params.max_future:
        raise FromTheFuture(header.timestamp, now, params.max_future)


def check_scheduled(params: Params, header: Header, below: Ancestry, scheduled: Cid) -> None:
    """Rule T18. A block trains the task of its epoch, or after a long pause base task 0: vanished data stops nobody."""
    if header.task == scheduled:
        return
    fallback = cid_of(params.base_tasks[0])
    if header.task == fallback and may_fall_back(params, header.timestamp, below.timestamps[0]):
        return
    raise TaskNotScheduled(header.task, scheduled)
