"""What kernels do with numbers that share a grid (exact: Grid, Sum): as in ../grid.py, and `reference.arithmetic`."""

import numpy as np

from deepblock.exact.compiled.kernel import part

_SMALLEST, _LARGEST = 127 - 40, 254
"""Exponent fields (e + 127) of 2^-40, below which a tensor is all zeros, and of the largest numbers."""

INFINITE = np.int32(255 << 23)
"""Magnitudes, as bits, from here on are Inf and NaN."""

_MAGIC = np.float64(1.5 * 2.0**52)
_MAGIC_BITS = int(_MAGIC.view(np.int64))


@part
def nearest(x: np.float64) -> np.float64:
    """round_half_even(x) of |x| < 2^51: next to this number the last bit of a float64 is worth 1."""
    return (x + _MAGIC) - _MAGIC


@part
def larger(bits: np.int32, x: np.float32) -> np.int32:
    """The bits of max(|.|, |x|): without their sign those of floats are in the order of their magnitudes, Inf, NaN."""
    own = np.float32(x).view(np.int32) & np.int32(0x7FFFFFFF)
    return own if own > bits else bits


@part
def power(exponent: int) -> np.float64:
    """2^exponent, for −1022 … 1023."""
    return np.int64((exponent + 1023) << 52).view(np.float64)


@part
def scale_of(magnitude: np.int32, bits: int) -> float:
    """s on the grid of `bits` of numbers whose largest has this magnitude, as bits; 0 where all of them become 0."""
    field = np.int64(magnitude) >> 23
    scale: float = power(bits - 1 - (field - 126)) if _SMALLEST <= field <= _LARGEST else 0.0
    return scale


@part
def step_of(scale: float) -> float:
    """1/s; where q are zeros, 1."""
    return 1.0 / scale if scale > 0.0 else 1.0


@part
def on_grid(x: np.float32, scale: np.float32, limit: np.float32) -> np.float32:
    """clamp(round_half_even(x · s), ±limit), of x that is finite; where s is 0, x is as good as 0."""
    q = np.rint(x * scale)
    q = limit if q > limit else q
    return -limit if q < -limit else q


@part
def whole(x: np.float64) -> np.int64:
    """`nearest` as an integer: those add up in any order, and so in vectors."""
    return np.float64(x + _MAGIC).view(np.int64) - _MAGIC_BITS
