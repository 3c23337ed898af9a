"""The worker process, `python -m node.jobs.worker`: takes orders from its stdin, reports on its stdout.

It lives and dies with its daemon: a thread reads the orders, so the end of their pipe is noticed in the
middle of a matrix product, and so is a Cancel. What goes wrong in a job is reported, and ends only that job.
"""

import argparse
import ctypes
import os
import signal
import sys
import threading
import traceback
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, Final

from deepblock.codec import decode
from node.jobs.messages import (
    HEAD,
    Cancel,
    Failure,
    Order,
    Progress,
    Ready,
    Report,
    Result,
    Work,
    frame,
    length,
)

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m node.jobs.worker", description=__doc__.splitlines()[0])
    parser.add_argument("blobs", type=Path, help="folder of the Blockstore, shared with the daemon")
    parser.add_argument("--device", default="cpu", help="torch device to compute on")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--nice", type=int, default=0, help="how far to stand back for other processes")
    arguments = parser.parse_args()

    orders, reports = claim_pipes()
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which ends this process in order
    os.nice(arguments.nice)  # before any thread is made: on Linux each thread has its own, inherited
    inbox = Inbox(orders)

    # Only now torch, which takes seconds and may print: the pipes are safe, and the daemon's end is noticed.
    from node.jobs.perform import Performer

    def report(job: int, news: Ready | Progress | Result | Failure) -> None:
        reports.write(frame(Report(job, news)))
        reports.flush()

    performer = Performer(arguments.blobs, arguments.device, arguments.threads)
    report(0, Ready(performer.device_name))
    while True:
        job, work = inbox.next()
        report(job, performer.perform(work, partial(report, job), partial(inbox.cancelled, job)))


def claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes from and to the daemon, moved away from fd 0 and 1.

    Whatever a library prints goes to stderr from now on, and cannot get between two frames.
    """
    orders, reports = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return orders, reports


def _die_with_parent() -> None:
    """The end of the orders says the same; this holds even where the interpreter hangs."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Inbox:
    """The orders, read by a thread of its own. Ends the process when their pipe ends."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._work: SimpleQueue[tuple[int, Work]] = SimpleQueue()
        self._cancelled = 0
        threading.Thread(target=self._read, args=(pipe,), name="orders", daemon=True).start()

    def next(self) -> tuple[int, Work]:
        """Waits for a job: its number and what it is."""
        return self._work.get()

    def cancelled(self, job: int) -> bool:
        """Whether this job is not wanted any more."""
        return job <= self._cancelled

    def _read(self, pipe: BinaryIO) -> None:
        try:
            while head := pipe.read(HEAD):
                order = decode(Order, pipe.read(length(head)))
                if isinstance(order.what, Cancel):
                    self._cancelled = order.job
                else:
                    self._work.put((order.job, order.what))
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)


if __name__ == "__main__":
    main()
