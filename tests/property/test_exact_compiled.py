"""Kernels give the bits of the torch operations beside them, on any number of threads."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepblock.exact import elementwise, grid, layers, product, ways
from deepblock.exact.compiled import kernel, team
from deepblock.exact.ways import InexactError
from deepblock.training.examples import Examples

from .exact_numbers import assert_same_bits, tensors

pytestmark = pytest.mark.skipif(not kernel.ON, reason="kernels are off")

PLANES = st.tuples(*[st.integers(1, 4)] * 4)
STEPS = st.tuples(st.integers(-54, 60), st.integers(-54, 60))
ORDERS = st.sampled_from([torch.contiguous_format, torch.channels_last, "gaps"])
WORST = st.sampled_from([None, np.nan, -np.nan, np.inf, -np.inf])


@pytest.fixture(params=[1, 2, 3], scope="module", autouse=True)
def many_threads(request):
    """Threads share even the smallest pass."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(team, "ALONE", 2)
        yield
    torch.set_num_threads(before)


def both(function):
    """What the kernels give, and what torch's operations do."""
    ours = function()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "ON", False)
        return ours, function()


def arranged(x, order):
    """The same numbers, in another order in memory, with gaps for "gaps"."""
    if order == "gaps":
        wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1])
        wide[..., ::2] = x
        return wide[..., ::2]
    return x.contiguous(memory_format=order)


def order_of(x):
    """In memory: strides, but of dimensions of one number, where they say nothing."""
    return [stride for size, stride in zip(x.shape, x.stride(), strict=True) if size > 1]


@st.composite
def planes(draw):
    shape = draw(st.tuples(*[st.integers(0, 4)] * 4))
    x = draw(tensors(shape, largest=127))
    worst = draw(WORST)
    if worst is not None and x.size:
        x.reshape(-1)[draw(st.integers(0, x.size - 1))] = worst
    return arranged(torch.from_numpy(x), draw(ORDERS))


@given(x=planes(), bits=st.integers(6, 52))
def test_grids(x, bits):
    ours, theirs = both(lambda: grid.quantise(x, bits))
    assert ours.step == theirs.step
    assert order_of(ours.q) == order_of(theirs.q)
    assert_same_bits(ours.q, theirs.q)
    wide = grid.quantise(x, bits, wide=True)
    assert wide.step == theirs.step
    assert_same_bits(wide.q.float(), theirs.q)


@given(x=planes(), dimensions=st.integers(2, 4))
def test_sums(x, dimensions):
    x = x.flatten(dimensions - 1) if dimensions < 4 else x
    dims = (0, 2, 3) if dimensions == 4 else tuple(range(dimensions - 1))
    assert_same_bits(*both(lambda: product.exact_sum(x, dims)))


@given(data=st.data(), shape=PLANES, order=ORDERS, wide=st.booleans(), flat=st.booleans(), step=STEPS)
def test_rescaling(data, shape, order, wide, flat, step):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    integers = arranged(torch.from_numpy(random.integers(-(2**24), 2**24, shape).astype(np.float32)), order)
    integers = integers.double() * 2.0**28 + integers if wide else integers
    integers = integers.flatten(1) if flat else integers
    bias = torch.from_numpy(data.draw(tensors((integers.shape[1],))) + np.float32(0.0))
    added = data.draw(st.sampled_from([None, bias]))
    assert_same_bits(*both(lambda: product.rescale(integers.clone(), 2.0 ** step[0], 2.0 ** step[1], added)))


@given(data=st.data(), shape=PLANES, order=ORDERS, wide=st.booleans(), step=STEPS)
def test_rescaling_into_a_gradient(data, shape, order, wide, step):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    integers = arranged(torch.from_numpy(random.integers(-(2**24), 2**24, shape).astype(np.float32)), order)
    integers = integers.double() if wide else integers

    def written():
        gradient = torch.full(shape, torch.nan)
        product.rescale_into(gradient, integers.clone(), 2.0 ** step[0], 2.0 ** step[1])
        return gradient

    assert_same_bits(*both(written))


@given(data=st.data(), shape=PLANES, size=st.integers(1, 3), order=ORDERS, many_ties=st.booleans())
def test_relu_and_pooling(data, shape, size, order, many_ties):
    *outer, rows, columns = shape
    x = data.draw(tensors((*outer, rows * size, columns * size), largest=127))
    dy = torch.from_numpy(data.draw(tensors(shape)) + np.float32(0.0))
    if many_ties:  # among them −0 and ±Inf
        x = np.where(
            np.abs(x) > np.median(np.abs(x)),
            np.copysign(np.float32(np.inf), x),
            np.copysign(np.float32(0.0), x),
        )
    x, dy = arranged(torch.from_numpy(x.astype(np.float32)), order), arranged(dy, data.draw(ORDERS))
    layer = layers.ReLUMaxPool(size)

    def there_and_back():
        y, saved = layer.forward(x, per_example=False)
        return y, layer.backward(dy, saved, needs_input=True)

    for ours, theirs in zip(*both(there_and_back), strict=True):
        assert_same_bits(ours, theirs)


def rates(least=0):
    return st.integers(least, 2**32 - 1).map(lambda rate: float(np.float32(rate / 2**32)))


@given(data=st.data(), n=st.integers(1, 40), lr=rates(2**20), mu=rates(), decay=st.just(0.0) | rates())
def test_update(data, n, lr, mu, decay):
    w, v = (elementwise.settle_(torch.from_numpy(data.draw(tensors((n,))))) for _ in range(2))
    g = torch.from_numpy(data.draw(tensors((n,), largest=127)))

    def updated():
        weights, momentum = w.clone(), v.clone()
        elementwise.sgd_(weights, momentum, g, lr, mu, decay)
        return torch.stack([weights, momentum])

    assert_same_bits(*both(updated))


@given(data=st.data(), shape=PLANES, bits=st.integers(10, 16), order=ORDERS)
def test_digits_put_together(data, shape, bits, order):
    """And on the way, each digit alone."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    limit = 2 ** (bits - 1) - 1
    q = arranged(torch.from_numpy(random.integers(-limit, limit + 1, shape).astype(np.float32)), order)

    def taken_apart():
        digits = ways.karatsuba(q, bits)
        return ways.add_up((digit.values, digit.weight) for digit in digits), *(
            digit.values for digit in digits
        )

    for ours, theirs in zip(*both(taken_apart), strict=True):
        assert_same_bits(ours, theirs)


@given(
    data=st.data(),
    k=st.integers(0, 60),
    columns=st.integers(1, 5),
    peak=st.integers(1, 255),
    by=st.booleans(),
)
def test_runs(data, k, columns, peak, by):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    largest = data.draw(st.integers(1, 2**25 // peak))
    magnitudes = torch.from_numpy(random.integers(0, largest + 1, (k, columns)).astype(np.float32))
    magnitudes = arranged(magnitudes, "gaps") if by else magnitudes

    def found():
        ranges = []
        try:
            for run in ways.runs(magnitudes, peak):
                ranges.append(run)
        except InexactError as refusal:
            return ranges, str(refusal)
        return ranges, None

    ours, theirs = both(found)
    assert ours == theirs


@given(data=st.data(), count=st.integers(1, 6), shape=st.sampled_from([(3,), (1, 2, 3)]), n=st.integers(0, 5))
def test_batches(data, count, shape, n):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    inputs = torch.from_numpy(random.integers(0, 256, (count, *shape), np.uint8))
    split = Examples(inputs, torch.arange(count).byte(), torch.from_numpy(data.draw(tensors((256,)))))
    indices = torch.from_numpy(random.integers(0, count, n))
    for ours, theirs in zip(*both(lambda: split.take(indices)), strict=True):
        assert_same_bits(ours, theirs)


@pytest.fixture(scope="module", autouse=True)
def one_signature():
    """In all these tests no kernel has been called with other types than those of its signature."""
    yield
    from numba.core.sigutils import normalize_signature

    for compiled, signature in kernel.KERNELS:
        own, _ = normalize_signature(signature)
        assert set(compiled.signatures) <= {own}, compiled.__name__
