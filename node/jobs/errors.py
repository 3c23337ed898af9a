"""Why a job gave no result.

    JobError
    ├── JobDataMissing   a file is needed that is not here and cannot be derived: fetch it, try again
    ├── JobFailed        the job itself raised an error, and would raise it again
    ├── WorkerDied       twice in this job the process ended, killed or by its own fault
    ├── DeviceUnusable   torch cannot compute on the device that was named
    └── JobsStopped      the node is shutting down

A job that is cancelled by whoever awaits it raises asyncio.CancelledError there, as everything does.
"""

from deepblock.cid import Cid


class JobError(Exception):
    """No result."""


class JobDataMissing(JobError):
    """`cid`: the file (or the block of one) that is not in the store."""

    def __init__(self, cid: Cid) -> None:
        super().__init__(f"{cid} is not in the store")
        self.cid = cid


class JobFailed(JobError):
    """`error`: class name of what was raised in the worker; `reason`: its text. The log has the traceback."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(f"{error}: {reason}")
        self.error = error
        self.reason = reason


class WorkerDied(JobError):
    """`status`: how the process ended; `stderr`: the last that it said, a traceback perhaps."""

    def __init__(self, lane: str, status: str, stderr: str) -> None:
        last_line = stderr.rpartition("\n")[2]
        super().__init__(f"the {lane} worker ended ({status}){': ' if last_line else ''}{last_line}")
        self.lane = lane
        self.status = status
        self.stderr = stderr


class DeviceUnusable(JobError):
    """`device`: torch's name of it. `reason`: what torch says."""

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(
            f"--device {device}: torch cannot compute there ({reason}); name another device, or install the torch "
            'that fits it: make install TORCH_FLAGS="--index-url …", see the README'
        )


class JobsStopped(JobError):
    def __init__(self) -> None:
        super().__init__("the node is shutting down")
