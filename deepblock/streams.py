"""All the randomness there is: SHAKE-256 streams (protocol: Session). hashlib and numpy, no torch.

A stream is the output of SHAKE-256 (FIPS 202) for a purpose, a 32-byte seed and a label; its word k is the
k-th group of 4 or 8 bytes, big-endian. Arithmetic is IEEE-754, one rounding for each operation that is written.
"""

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def batch(seed: bytes, step: int, size: int, examples: int) -> NDArray[np.int64]:
    """Indices of the examples of step g: word k (u64) of 'deepblock/batch/1' ‖ seed ‖ u32(g), mod `examples`."""
    words = _words("batch", seed, step.to_bytes(4, "big"), ">u8", size)
    return (words % np.uint64(examples)).astype(np.int64)


def uniform(purpose: str, seed: bytes, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Numbers in [-1, 1) for the tensor `name`: word k (u32) gives r = ((word >> 8) − 2^23) · 2^-23, exactly.

    The stream is that of 'deepblock/<purpose>/1' ‖ seed ‖ name; the tensor is filled in row-major order.
    """
    words = _words(purpose, seed, name.encode(), ">u4", math.prod(shape))
    integers = (words >> np.uint32(8)).astype(np.int32) - np.int32(2**23)
    return (integers.astype(np.float32) * np.float32(2.0**-23)).reshape(shape)


def initial(seed: bytes, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Initial values of a parameter: f32(bound · r), with purpose 'init' and bound = f32(sqrt(6 / fan-in)) in float64.

    Fan-in is the product of all dimensions but the first (He et al. 2015, uniform). A bias is
    zero, and a weight of one dimension, which is a norm's scale, is one.
    """
    if len(shape) == 1:
        return np.full(shape, 1.0 if name.endswith("weight") else 0.0, np.float32)
    bound = np.float32(math.sqrt(6.0 / math.prod(shape[1:])))
    return bound * uniform("init", seed, name, shape) + np.float32(0.0)


def noise(seed: bytes, name: str, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """What state 0 adds to a tensor: f32((max|w| · 2^-12) · r), so that every nonce is another run."""
    reach = np.float32(np.abs(weights).max() * np.float32(2.0**-12))
    return reach * uniform("noise", seed, name, weights.shape)


def order(seed: bytes, count: int) -> NDArray[np.int64]:
    """0 … count − 1 in an order that the seed decides: by their words (u64) of 'deepblock/order/1' ‖ seed."""
    return np.argsort(_words("order", seed, b"", ">u8", count), kind="stable")


def _words(purpose: str, seed: bytes, label: bytes, dtype: str, count: int) -> NDArray[Any]:
    stream = hashlib.shake_256(f"deepblock/{purpose}/1".encode() + seed + label)
    itemsize = np.dtype(dtype).itemsize
    return np.frombuffer(stream.digest(count * itemsize), dtype).astype(f"u{itemsize}")
