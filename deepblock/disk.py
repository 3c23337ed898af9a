"""Files that are there as a whole or not at all, whatever happens meanwhile."""

import os
import tempfile
from pathlib import Path


def write_whole(
    path: Path, data: bytes, *, mode: int = 0o644, over: bool = True, aside: Path | None = None
) -> None:
    """Makes `data` the file `path`. On return it is on the disk, even if the power fails now.

    `over`: in place of what is there; otherwise that raises FileExistsError. `aside`: where it is written
    first, a folder of the same file system; the one of `path` unless said. Every OSError names `path`.
    """
    try:
        handle, unfinished = tempfile.mkstemp(dir=aside or path.parent, prefix=".unfinished-")
        try:
            with open(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(handle, mode)
                os.fsync(handle)
            (os.replace if over else os.link)(unfinished, path)
        finally:
            Path(unfinished).unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
