"""Float32 tensors that provoke: any exponent, ties, −0.0, subnormals, huge values; and comparison bit by bit."""

import numpy as np
from hypothesis import strategies as st

BITS = st.integers(6, 16)
TIES = np.float32([0.5, 1.5, 2.5, -0.5, -1.5, 3.5])
CORNERS = np.float32([0.0, -0.0, 1e-45, -1e-40, 2.0**-126, 2.0**-64, 2.0**-41, 1.0, -1.0, 65535.0 / 65536.0])


@st.composite
def tensors(draw, shape, largest=60):
    """A float32 array of this shape; magnitudes up to about 2^largest."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    exponent = draw(st.integers(-60, largest))
    spread = draw(st.sampled_from([0, 3, 30]))
    scales = np.exp2(exponent - random.integers(0, spread + 1, shape).astype(np.float64))
    x = (random.standard_normal(shape) * scales).astype(np.float32)
    for special in draw(st.sampled_from([[], [TIES], [CORNERS], [TIES, CORNERS]])):
        chosen = random.random(shape) < 0.3
        values = random.choice(special, shape)
        x = np.where(chosen, values * np.float32(2.0 ** min(exponent, 120) if special is TIES else 1.0), x)
    return x.astype(np.float32)


def bits_of(x):
    """The bit patterns, so that −0 is not +0."""
    x = np.ascontiguousarray(np.asarray(x))
    return x.view({4: np.uint32, 8: np.uint64}[x.dtype.itemsize])


def assert_same_bits(got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype and got.shape == expected.shape
    np.testing.assert_array_equal(bits_of(got), bits_of(expected))
