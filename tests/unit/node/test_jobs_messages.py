"""Frames between daemon and worker, and the pipes they travel through."""

import subprocess
import sys

import pytest

from deepblock.cid import cid_of_block
from deepblock.codec import MAX_SIZE, Malformed, decode
from deepblock.primitives import Hash32
from deepblock.spec import Flatten, Linear, TaskSpec
from deepblock.types import Score, Seal
from node.jobs import messages
from node.jobs.messages import HEAD, Order, Report, frame, length

CID = cid_of_block(b"something")
SEAL = Seal((CID,) * 4, CID, Score(123, 4))
SPEC = TaskSpec(
    name="any",
    input_shape=(1, 2, 2),
    input_zero=0,
    input_span=16,
    classes=2,
    layers=(Flatten(), Linear(2)),
    init_seed=Hash32(bytes(32)),
    train=CID,
    heldout=CID,
    n_train=10,
    n_heldout=10,
    segments=4,
    steps=4,
    batch=2,
    lr_high=2**31,
    lr_low=2**30,
    momentum=0,
    decay=0,
    bits=8,
)

ORDERS = [
    messages.Session(SPEC, bytes(32), None, ()),
    messages.Session(SPEC, bytes(32), CID, (CID, CID)),
    messages.Audit(SPEC, bytes(32), None, SEAL, (1, 4)),
    messages.Evaluate(SPEC, CID),
    messages.Cancel(),
]
REPORTS = [
    messages.Ready("cpu"),
    messages.SessionProgress(1, 4, 5, 16),
    messages.SegmentDone(1, CID),
    messages.Sealed(SEAL),
    messages.Audited((messages.SegmentDone(4, CID),), CID, Score(123, 4)),
    messages.Scored(Score(123, 4)),
    messages.Cancelled(),
    messages.DataMissing(CID),
    messages.Failed("ValueError", "no", "Traceback …"),
]


@pytest.mark.parametrize(
    "message",
    [*(Order(7, what) for what in ORDERS), *(Report(7, what) for what in REPORTS)],
    ids=lambda message: message.what.kind,
)
def test_a_frame_gives_its_message_back(message):
    data = frame(message)
    assert length(data[:HEAD]) == len(data) - HEAD
    assert decode(type(message), data[HEAD:]) == message


def test_noise_is_not_taken_for_a_frame():
    assert length(MAX_SIZE.to_bytes(HEAD, "big")) == MAX_SIZE
    with pytest.raises(Malformed, match="1048577"):
        length((MAX_SIZE + 1).to_bytes(HEAD, "big"))
    with pytest.raises(Malformed):
        length(b"Warn")


NOISY = """
import os
from node.jobs.worker import claim_pipes
orders, reports = claim_pipes()
print("from Python", flush=True)
os.system("echo from C")
reports.write(orders.read(5).upper())
assert os.read(0, 1) == b""
"""


def test_what_libraries_print_does_not_reach_the_reports():
    done = subprocess.run([sys.executable, "-c", NOISY], input=b"frame", capture_output=True, timeout=30)
    assert done.stdout == b"FRAME"
    assert done.stderr.split(b"\n")[:2] == [b"from Python", b"from C"]
