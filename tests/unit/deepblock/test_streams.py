import hashlib
import struct

import numpy as np

from deepblock import streams

SEED = bytes(range(32))


def test_batch():
    stream = hashlib.shake_256(b"deepblock/batch/1" + SEED + (7).to_bytes(4, "big")).digest(40)
    expected = [int.from_bytes(stream[8 * k : 8 * k + 8], "big") % 1000 for k in range(5)]
    assert streams.batch(SEED, 7, 5, 1000).tolist() == expected


def test_batches_of_every_step_differ():
    assert streams.batch(SEED, 0, 32, 2**32 - 1).tolist() != streams.batch(SEED, 1, 32, 2**32 - 1).tolist()


def test_uniform():
    stream = hashlib.shake_256(b"deepblock/noise/1" + SEED + b"0.weight").digest(24)
    words = struct.unpack(">6I", stream)
    expected = [((word >> 8) - 2**23) * 2.0**-23 for word in words]
    got = streams.uniform("noise", SEED, "0.weight", (2, 3))
    assert got.dtype == np.float32
    assert got.flatten().tolist() == expected


def test_initial():
    weight = streams.initial(SEED, "0.weight", (8, 4, 3, 3))
    bound = np.float32((6 / 36) ** 0.5)
    np.testing.assert_array_equal(weight, bound * streams.uniform("init", SEED, "0.weight", (8, 4, 3, 3)))
    assert not np.signbit(streams.initial(SEED, "0.bias", (1000,))).any()


def test_noise_is_small_beside_the_largest_weight():
    weights = np.float32([0.0, 0.5, -3.0])
    noise = streams.noise(SEED, "0.weight", weights)
    assert noise.dtype == np.float32
    assert 0 < np.abs(noise).max() <= 3.0 * 2**-12
    assert not streams.noise(SEED, "0.bias", np.zeros(3, np.float32)).any()
