"""Memory between the operations of a step."""

import ctypes
import sys
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
"""Of <malloc.h>."""


def keep_memory() -> None:
    """Lets this process keep the memory that a tensor had, for the next one.

    Otherwise glibc gives every large block back to the kernel at once; to get it anew, page by page and
    zeroed, takes longer than most of what is done with it. A process that trains does so again and again, and
    needs no more at its peak. Elsewhere than in glibc nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_THRESHOLD, 1 << 25)  # older ones take no more
        mallopt(_TRIM_THRESHOLD, 1 << 30)
