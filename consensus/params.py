"""What differs between networks. Values live in `configs/`, a preset a file (protocol: Network presets).

Everything here is committed by the genesis, so two nodes with different parameters are on different networks.
"""

from dataclasses import dataclass
from typing import Final

from deepblock.codec import U16, U32, U64
from deepblock.primitives import Motes
from deepblock.spec import TaskSpec, check_bounds, session_macs

VERSION = 1
"""Of the header; version 1 of the protocol."""


SIGNAL_BITS: Final = 16
"""Of the bitmap of blocks that signalled a task."""

MAX_SHARES: Final = 64
"""Each may cost a node an audit, and all are members of one mean."""


@dataclass(frozen=True)
class Params:
    """The parameters of one network."""

    name: str
    genesis_time: U64
    """Unix seconds; the timestamp of block 0."""
    base_tasks: tuple[TaskSpec, ...]
    """What is trained when nobody pays. The first keeps the chain alive, so its data should be
    everywhere: the devnet's comes with the package, the testnet's lies with every node that has joined it."""
    block_time: U32
    """T, seconds: what the difficulty steers to."""
    difficulty_half_life: U32
    """τ, seconds: a lag of τ behind the schedule halves the difficulty."""
    share_ratio: U32
    """r: a share's target is r times a block's, and no task may be so large that r sessions exceed a block's work."""
    epoch: U32
    """Blocks during which one task is scheduled."""
    fallback_after: U32
    """In block times: after such a pause a block may train base task 0 in place of the scheduled one."""
    subsidy: Motes
    """Motes a block may mint before the first halving."""
    halving: U64
    """Blocks between halvings of the subsidy."""
    maturity: U32
    """Blocks until a reward can be spent."""
    fee_per_byte: Motes
    """Motes; the least fee of a transaction for each of its bytes."""
    max_transactions: U32
    max_shares: U32
    """Shares that a block may carry, and slots for their rewards."""
    share_age: U32
    """Below its carrier, a share's parent is one of the last so many blocks."""
    max_signals: U32
    max_body: U32
    """Bytes."""
    max_future: U32
    """Seconds that a block's timestamp may be ahead of the local clock."""
    median_window: U32
    """Blocks whose median timestamp a new block must exceed."""
    audit_segments: U16
    """q: segments of a block, besides the last one, that each node draws and replays."""
    finality: U32
    """Blocks; no reorganisation is deeper. States of sessions are served for as long."""
    min_train: U32
    """The fewest training examples a task may have."""
    max_task_cost: U32
    """How many sessions of base task 0 a session of a sponsored task may cost; it counts as one all the same."""
    max_open_tasks: U32
    pending_blocks: U32
    """Blocks that a task may wait for signals."""
    signal_window: U16
    """Of the last so many blocks …"""
    signals_needed: U16
    """… so many must signal a task's data before it is trained."""
    plateau: U32
    """Blocks of a sponsored task without a gain of 0.1 %, after which it closes."""


def check_params(params: Params) -> None:
    """Rule N3. Raises ValueError (SpecError for a task) unless a chain can live by these numbers."""
    positive = (
        "base_tasks", "block_time", "difficulty_half_life", "share_ratio", "epoch", "fallback_after", "halving",
        "maturity", "max_transactions", "share_age", "max_body", "median_window", "finality", "max_task_cost",
        "pending_blocks", "signals_needed", "plateau",
    )  # fmt: skip
    for name in positive:
        if not getattr(params, name):
            raise ValueError(f"{name} is {getattr(params, name)!r}; it must not be zero or empty")
    if params.max_shares > MAX_SHARES:
        raise ValueError(f"max_shares is {params.max_shares}, more than {MAX_SHARES}")
    if params.share_age > params.finality:
        raise ValueError(
            f"share_age is {params.share_age}, more than the {params.finality} blocks (finality) for which the "
            "states of a session are served"
        )
    if not params.signals_needed <= params.signal_window <= SIGNAL_BITS:
        raise ValueError(
            f"signals_needed is {params.signals_needed} and signal_window {params.signal_window}; "
            f"the one must not exceed the other, nor that {SIGNAL_BITS}"
        )
    for spec in params.base_tasks:
        check_bounds(spec, params.min_train)
        if session_macs(spec) > session_macs(params.base_tasks[0]):
            raise ValueError(
                f"task {spec.name!r} costs more than the first base task, which the least difficulty fits"
            )
