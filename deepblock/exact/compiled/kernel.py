"""What makes a Python function a kernel, and when kernels are used."""

import os
from collections.abc import Callable
from typing import Any, Final

from numpy.typing import NDArray
from torch import Tensor, channels_last, contiguous_format


def _compiler() -> Any:
    """Numba's; None where it is switched off, or there is no wheel for the machine."""
    if os.environ.get("DEEPBLOCK_COMPILED") == "0":
        return None
    try:
        from numba import njit
    except ImportError:
        return None
    return njit


njit: Final = _compiler()

ON: Final = njit is not None
"""Whether this process uses kernels at all."""

KERNELS: Final[list[tuple[Any, str]]] = []
"""All kernels, each with its one signature, for those who compile them ahead."""

Array = NDArray[Any]

Function = Callable[..., Any]


def kernel(signature: str) -> Callable[[Function], Function]:
    """A function of numpy arrays and numbers that Python calls. `signature`: in Numba's words; Python's numbers come
    as int64 and float64. Compiled when it is first called, unless an earlier process has left it in the cache."""

    def decorate(function: Function) -> Function:
        compiled = _compiled(function)
        KERNELS.append((compiled, signature))
        return compiled

    return decorate


def part(function: Function) -> Function:
    """A function that kernels call; it becomes a part of them (a call of its own would count references to arrays,
    which takes as long as a hundred numbers)."""
    return _compiled(function, forceinline=True)


def _compiled(function: Function, **options: bool) -> Function:
    """Never with `fastmath`: without it LLVM does each operation as it is written, reorders none and fuses none.
    Division is IEEE-754's, by zero too. Like torch's operations, kernels let other Python threads go on (nogil)."""
    if njit is None:
        return function
    options |= {"nogil": True, "fastmath": False}
    try:
        compiled: Function = njit(function, cache=True, error_model="numpy", **options)
    except RuntimeError:  # nowhere to keep it: neither beside the source nor in the user's folder of caches
        compiled = njit(function, error_model="numpy", **options)
    return compiled


def flat(x: Tensor) -> Array | None:
    """The numbers of x, [n], as they lie in memory; shared with it. None where kernels are not to be used on x: they
    are off, it is not on the CPU, or its memory has gaps or repetitions (or is empty)."""
    if not ON or x.device.type != "cpu":
        return None
    numbers = x.numpy().ravel("K")
    return None if numbers.flags.owndata else numbers


def columns(x: Tensor) -> Array | None:
    """`flat`, of a tensor whose features, or channels of planes, lie next to each other; else None."""
    order = channels_last if x.dim() == 4 else contiguous_format
    return flat(x) if x.is_contiguous(memory_format=order) else None


def rows(x: Tensor) -> Array | None:
    """x as [n, features]: its last dimension, and all others as one; shared with it. None as above, or where its memory
    is in another order."""
    numbers = flat(x)
    return numbers.reshape(-1, x.shape[-1]) if numbers is not None and x.is_contiguous() else None
