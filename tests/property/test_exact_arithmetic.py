"""The engine gives the reference's bits: grids, products, sums, exp, log, cross-entropy, the update."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepblock.exact import elementwise, loss, product, reference
from deepblock.exact.grid import quantise, quantise_in_tensors

from .exact_numbers import BITS, assert_same_bits, tensors

SIDES = st.integers(0, 5)


@given(st.data(), st.tuples(SIDES, SIDES), st.integers(6, 52))
def test_grid(data, shape, bits):
    x = data.draw(tensors(shape, largest=127))
    grid = quantise(torch.from_numpy(x), bits)
    q, scale = reference.quantise(x, bits)
    assert [int(n) for n in grid.q.flatten()] == list(q.flatten())
    if q.any():
        assert float(grid.step) == 1 / scale


@given(st.data(), BITS, st.sampled_from([np.nan, np.inf, -np.inf]))
def test_grid_of_a_diverged_tensor_is_zero(data, bits, worst):
    x = data.draw(tensors((3, 4)))
    x[1, 2] = worst
    assert not quantise(torch.from_numpy(x), bits).q.any()
    assert not reference.quantise(x, bits)[0].any()


@given(st.data(), BITS)
def test_grid_of_each_example_is_that_of_the_example_alone(data, bits):
    x = np.stack([data.draw(tensors((2, 3))) for _ in range(3)])
    together = quantise(torch.from_numpy(x), bits, per_example=True)
    for i, example in enumerate(x):
        alone = quantise(torch.from_numpy(example), bits)
        assert torch.equal(together.q[i], alone.q)
        if alone.q.any():
            assert float(together.step[i]) == alone.step


@given(st.data(), st.tuples(SIDES, SIDES), st.integers(6, 52), st.booleans())
def test_grid_without_the_hosts_help(data, shape, bits, diverged):
    x = torch.from_numpy(data.draw(tensors(shape, largest=127)))
    if diverged and x.numel():
        x.view(-1)[-1] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    there, here = quantise_in_tensors(x, bits, per_example=False), quantise(x, bits)
    assert torch.equal(there.q, here.q)
    if here.q.any():
        assert float(there.step) == here.step


@given(st.data(), SIDES, SIDES, SIDES, BITS)
def test_product(data, m, k, n, bits):
    a, b = data.draw(tensors((m, k))), data.draw(tensors((k, n)))
    qa, qb = quantise(torch.from_numpy(a), bits), quantise(torch.from_numpy(b), bits)
    got = product.rescale(product.matmul(qa.q, qb.q, bits), qa.step, qb.step)
    assert_same_bits(got, reference.product(a, b, bits))


@given(st.data(), st.integers(1, 40), st.integers(1, 3))
def test_sum(data, n, m):
    x = data.draw(tensors((n, m), largest=120))
    assert_same_bits(product.exact_sum(torch.from_numpy(x), (0,)), reference.exact_sum(x))


@given(st.lists(st.floats(-800.0, 0.0), min_size=1, max_size=20))
def test_exp(xs):
    got = elementwise.exp(torch.tensor(xs, dtype=torch.float64))
    assert_same_bits(got, np.array([reference.exp(x) for x in xs]))
    np.testing.assert_allclose(got, np.exp(np.maximum(xs, -64.0)), rtol=4e-16)


@given(st.lists(st.floats(-200.0, 0.0, width=32) | st.just(-np.inf), min_size=1, max_size=20))
def test_exp32(xs):
    got = elementwise.exp32(torch.tensor(xs))
    assert_same_bits(got, np.array([reference.exp32(np.float32(x)) for x in xs]))
    np.testing.assert_allclose(got, np.exp(np.maximum(xs, -20.0)), rtol=2.0**-21)


@given(st.lists(st.floats(2.0**-40, 2.0**60), min_size=1, max_size=20))
def test_log(xs):
    got = elementwise.log(torch.tensor(xs, dtype=torch.float64))
    assert_same_bits(got, np.array([reference.log(x) for x in xs]))
    np.testing.assert_allclose(got, np.log(xs), rtol=1e-15)


@given(st.data(), st.integers(1, 6), st.integers(2, 7), st.booleans())
def test_cross_entropy(data, examples, classes, diverged):
    logits = data.draw(tensors((examples, classes), largest=20))
    if diverged:
        logits[0, data.draw(st.integers(0, classes - 1))] = data.draw(
            st.sampled_from([np.nan, np.inf, -np.inf])
        )
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=examples, max_size=examples)))
    z, y = torch.from_numpy(logits), torch.from_numpy(labels)
    losses, correct = loss.cross_entropy(z, y)
    expected = [reference.cross_entropy(row, label) for row, label in zip(logits, labels, strict=True)]
    assert_same_bits(losses, np.array([value for value, _ in expected]))
    assert correct.tolist() == [right for _, right in expected]
    assert_same_bits(loss.cross_entropy_gradient(z, y), reference.cross_entropy_gradient(logits, labels))


@given(
    st.data(),
    st.integers(1, 20),
    st.integers(2**20, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 2**16, 2**31]),
)
def test_update(data, n, lr, mu, decay):
    lr, mu, decay = (float(np.float32(rate / 2**32)) for rate in (lr, mu, decay))
    w, v = np.array([[reference.settle(x) for x in data.draw(tensors((n,)))] for _ in range(2)])
    g = data.draw(tensors((n,), largest=127))
    weights, momentum = torch.tensor(w), torch.tensor(v)
    elementwise.sgd_(weights, momentum, torch.tensor(g), lr, mu, decay)
    expected = [reference.sgd(*numbers, lr, mu, decay) for numbers in zip(w, v, g, strict=True)]
    assert_same_bits(weights, np.array([x for x, _ in expected], np.float32))
    assert_same_bits(momentum, np.array([x for _, x in expected], np.float32))
