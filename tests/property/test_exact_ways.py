"""All ways of forming an integer product give the same integers, those of Python; or refuse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepblock.exact import convolution, int8, ways
from deepblock.exact.patches import BLOCK
from deepblock.exact.product import matmul, rescale
from deepblock.exact.ways import InexactError, Way
from deepblock.exact.window import Window

from .exact_numbers import BITS

FEW = st.integers(1, 3)


def formed(product, *operands, bits, way):
    """The product by that way; None where it refuses, which float64 may not do here, nor float32 with 9 bits."""
    try:
        return product(*operands, bits, way).double()
    except InexactError as refusal:
        if way is Way.FLOAT32:
            assert bits > ways.WHOLE_BITS and f"integers of {bits} bits" in str(refusal)
        else:
            assert way is Way.DIRECT and "2^24" in str(refusal)
        return None


@st.composite
def integers(draw, shape, bits):
    """The q of a grid: float32; dense, sparse, or as large as can be."""
    limit = 2 ** (bits - 1) - 1
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["dense", "sparse", "largest"]))
    if kind == "largest":
        return np.full(shape, draw(st.sampled_from([limit, -limit])), np.float32)
    q = random.integers(-limit, limit + 1, shape)
    if kind == "sparse":
        q = np.where(random.random(shape) < 0.9, 0, q)
    return q.astype(np.float32)


def in_int32(a, b):
    """What `torch._int_mm` gives on a GPU, with its demands."""
    assert a.dtype == b.dtype == torch.int8
    assert a.shape[0] > 16 and a.shape[1] % 8 == 0 and b.shape[1] % 8 == 0
    return a.int() @ b.int()


@given(st.data(), st.integers(1, 4), st.integers(0, 3000), st.integers(1, 40), BITS)
@settings(max_examples=50)
def test_matrices(data, m, k, n, bits):
    a, b = data.draw(integers((m, k), bits)), data.draw(integers((k, n), bits))
    expected = a.astype(np.int64) @ b.astype(np.int64)
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    expected = torch.from_numpy(expected).double()
    for way in (Way.FLOAT64, Way.FLOAT32, None):
        for left, right, product in ((a, b, expected), (b.T, a.T, expected.T)):
            got = formed(matmul, left, right, bits=bits, way=way)
            refuses = way is Way.FLOAT32 and bits > ways.WHOLE_BITS
            assert got is None if refuses else got.equal(product)
    assert int8.matmul(a, b, bits, in_int32).double().equal(expected)


@given(st.data(), BITS)
def test_digits_put_together(data, bits):
    q = torch.from_numpy(data.draw(integers((50,), bits)))
    other = torch.from_numpy(data.draw(integers((50,), bits)))
    pairs = list(zip(ways.karatsuba(q, bits), ways.karatsuba(other, bits), strict=True))
    product = sum(a.values.double() * b.values.double() * a.weight for a, b in pairs)
    assert product.equal(q.double() * other.double())
    assert all(a.values.abs().max() <= a.peak <= 256 for a, _ in pairs)
    assert sum(digit.values * digit.weight for digit in ways.digits(q, bits)).equal(q)
    digits = int8.digits(q, bits)
    assert sum(digit.double() * 256.0**i for i, digit in enumerate(digits)).equal(q.double())


@st.composite
def convolutions(draw):
    """Shapes of x, W, and how it moves."""
    kernel, stride = draw(FEW), draw(FEW)
    padding = draw(st.integers(0, kernel - 1))
    sides = [draw(st.integers(max(1, kernel - 2 * padding), 12)) for _ in range(2)]
    channels, out = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    return (
        (draw(st.integers(1, 20)), channels, *sides),
        (out, channels, kernel, kernel),
        (kernel, stride, padding),
    )


@given(st.data(), convolutions(), BITS)
@settings(max_examples=60, deadline=None)
def test_planes(data, shapes, bits):
    x_shape, w_shape, moves = shapes
    window = Window(*moves)
    x = torch.from_numpy(data.draw(integers(x_shape, bits)))
    w = torch.from_numpy(data.draw(integers(w_shape, bits)))
    dy_shape = (x_shape[0], w_shape[0], *window.output_sides(x.shape))
    dy = torch.from_numpy(data.draw(integers(dy_shape, bits)))
    for product, operands in (
        (convolution.forward, (x, w)),
        (convolution.input_gradient, (dy, w, x)),
        (convolution.weight_gradient, (dy, x, w)),
    ):
        expected = product(*operands, window, bits, Way.FLOAT64)
        for way in (Way.FLOAT32, Way.DIRECT, None):
            got = formed(product, *operands, window, bits=bits, way=way)
            assert got.equal(expected) if got is not None else way is not None


def test_many_blocks_of_patches(monkeypatch):
    monkeypatch.setitem(BLOCK, "cpu", 100)
    torch.manual_seed(3)
    x, w, dy = (
        torch.randint(-127, 128, shape).float() for shape in ((7, 3, 6, 5), (4, 3, 3, 3), (7, 4, 6, 5))
    )
    window = Window(3, 1, 1)
    for product, operands in (
        (convolution.forward, (x, w)),
        (convolution.input_gradient, (dy, w, x)),
        (convolution.weight_gradient, (dy, x, w)),
    ):
        whole = product(*operands, window, 8, Way.DIRECT)
        assert product(*operands, window, 8, Way.FLOAT64).equal(whole.double())


def test_no_way_is_taken_that_could_round():
    large = torch.full((1, 1, 40, 40), 127.0)
    dy = torch.full((1, 1, 40, 40), 127.0)
    weight = torch.ones(1, 1, 1, 1)
    window = Window(1, 1, 0)
    with pytest.raises(InexactError, match="exceed 2\\^24 in a single example"):
        convolution.weight_gradient(dy, large, weight, window, 8, Way.DIRECT)
    assert convolution.weight_gradient(dy, large, weight, window, 8).item() == 1600 * 127**2
    with pytest.raises(InexactError):
        ways.digits(large, 17)


@given(st.data(), st.integers(1, 400), st.integers(1, 10), st.integers(1, 255))
def test_runs_are_as_exact_as_they_say(data, k, columns, peak):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    largest = data.draw(st.integers(1, 2**24 // peak - 1))
    magnitudes = random.integers(0, largest + 1, (k, columns))
    found = list(ways.runs(torch.from_numpy(magnitudes.astype(np.float32)), peak))
    assert [place for run in found for place in range(k)[run]] == list(range(k))
    assert all(int(magnitudes[run].sum(0).max()) * peak < 2**24 for run in found)


@given(
    st.integers(-(2**24), 2**24), st.integers(-54, 123), st.integers(-54, 123), st.floats(-4.0, 4.0, width=32)
)
def test_rescaling_in_either_type_and_with_either_step(integer, a, b, bias):
    bias = torch.tensor([bias + 0.0])
    step_a, step_b = 2.0**a, 2.0**b
    expected = torch.tensor([float(integer)], dtype=torch.float64).mul(step_a).mul(step_b).float() + bias
    for dtype in (torch.float32, torch.float64):
        for steps in (
            (step_a, step_b),
            [torch.tensor(step, dtype=torch.float64) for step in (step_a, step_b)],
        ):
            got = rescale(torch.tensor([float(integer)], dtype=dtype), *steps, bias)
            assert got.view(torch.int32).equal(expected.view(torch.int32))
