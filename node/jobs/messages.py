"""What daemon and worker say to each other: canonical DAG-CBOR in frames, over the worker's stdin and stdout.

    frame  = u32 big-endian length ‖ encode(Order or Report)
    daemon → worker   Order(job, Session | Audit | Evaluate | Combine), and Order(job, Cancel) at any time
    worker → daemon   Report(0, Ready) once; then for each job any number of SessionProgress and SegmentDone,
                      and its end: Sealed | Audited | Scored | Combined | Cancelled | DataMissing | Failed

A worker has one job at a time, and the numbers of jobs rise. Tensors never travel here, only their CIDs.
"""

from dataclasses import dataclass
from typing import ClassVar

from deepblock.cid import Cid
from deepblock.codec import MAX_SIZE, U32, U64, Malformed, encode
from deepblock.spec import TaskSpec
from deepblock.types import Result as Model
from deepblock.types import Score, Seal

HEAD = 4
"""Bytes before each message: its length."""


# --- orders ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Session:
    """Run a session, going on after the states of `finished`."""

    kind: ClassVar[str] = "session"
    spec: TaskSpec
    seed: bytes
    model: Cid | None
    finished: tuple[Cid, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """Recompute `segments` (1 … K, ascending), the average and its score."""

    kind: ClassVar[str] = "audit"
    spec: TaskSpec
    seed: bytes
    model: Cid | None
    seal: Seal
    segments: tuple[U32, ...]


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Score a model on the held-out split."""

    kind: ClassVar[str] = "score"
    spec: TaskSpec
    model: Cid


@dataclass(frozen=True, slots=True)
class Combine:
    """Form what follows from several averages and the task's `model`, and score it."""

    kind: ClassVar[str] = "combine"
    spec: TaskSpec
    members: tuple[Cid, ...]
    model: Cid | None


Work = Session | Audit | Evaluate | Combine


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the job at the next step; one that has ended already stays as it is."""

    kind: ClassVar[str] = "cancel"


@dataclass(frozen=True, slots=True)
class Order:
    job: U64
    what: Work | Cancel


# --- reports --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker takes orders. `device`: what it computes on, in words."""

    kind: ClassVar[str] = "ready"
    device: str


@dataclass(frozen=True, slots=True)
class SessionProgress:
    """`segment` of `segments` and `step` of `steps` are done: of a session, or of what an audit replays."""

    kind: ClassVar[str] = "progress"
    segment: U32
    segments: U32
    step: U32
    steps: U32


@dataclass(frozen=True, slots=True)
class SegmentDone:
    """The state after a segment (1 … K) is in the store."""

    kind: ClassVar[str] = "segment"
    segment: U32
    state: Cid


@dataclass(frozen=True, slots=True)
class Sealed:
    kind: ClassVar[str] = "sealed"
    seal: Seal


@dataclass(frozen=True, slots=True)
class Audited:
    """`states`: what each recomputed segment really ends in."""

    kind: ClassVar[str] = "audited"
    states: tuple[SegmentDone, ...]
    average: Cid
    score: Score


@dataclass(frozen=True, slots=True)
class Scored:
    kind: ClassVar[str] = "scored"
    score: Score


@dataclass(frozen=True, slots=True)
class Combined:
    """The ensembles, and the outer step where there was a model before."""

    kind: ClassVar[str] = "combined"
    results: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    kind: ClassVar[str] = "cancelled"


@dataclass(frozen=True, slots=True)
class DataMissing:
    kind: ClassVar[str] = "data missing"
    cid: Cid


@dataclass(frozen=True, slots=True)
class Failed:
    """`error`: class name of what was raised; `reason`: its text."""

    kind: ClassVar[str] = "failed"
    error: str
    reason: str
    traceback: str


Progress = SessionProgress | SegmentDone
Result = Sealed | Audited | Scored | Combined
Failure = Cancelled | DataMissing | Failed


@dataclass(frozen=True, slots=True)
class Report:
    job: U64
    what: Ready | Progress | Result | Failure


# --- frames ---------------------------------------------------------------------------------------------


def frame(message: Order | Report) -> bytes:
    data = encode(message)
    return len(data).to_bytes(HEAD, "big") + data


def length(head: bytes) -> int:
    """Of the message after `head`. Raises Malformed where no message of ours is so long."""
    size = int.from_bytes(head, "big")
    if size > MAX_SIZE:
        raise Malformed(f"a message of {size} bytes; the most is {MAX_SIZE}")
    return size
