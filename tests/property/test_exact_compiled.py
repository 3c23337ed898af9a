"""Kernels give the bits of the torch operations beside them, on any number of threads."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepblock.exact import grid
from deepblock.exact.compiled import kernel, team

from .exact_numbers import assert_same_bits, tensors

pytestmark = pytest.mark.skipif(not kernel.ON, reason="kernels are off")

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


@st.composite
def planes(draw):
    shape = draw(st.tuples(*[st.integers(0, 4)] * 4))
    x = draw(tensors(shape, largest=127))
    worst = draw(WORST)
    if worst is not None and x.size:
        x.reshape(-1)[draw(st.integers(0, x.size - 1))] = worst
    orders = [torch.contiguous_format, torch.channels_last, "gaps"]
    return arranged(torch.from_numpy(x), draw(st.sampled_from(orders)))


@given(x=planes(), bits=st.integers(6, 52))
def test_grids(x, bits):
    ours, theirs = both(lambda: grid.quantise(x, bits))
    assert ours.step == theirs.step
    assert ours.q.stride() == theirs.q.stride()
    assert_same_bits(ours.q, theirs.q)


@pytest.fixture(scope="module", autouse=True)
def one_signature():
    """After all these tests, each kernel has been compiled for its own types and no others."""
    yield
    for compiled, signature in kernel.KERNELS:
        compiled.compile(signature)
        assert len(compiled.signatures) == 1, f"{compiled.__name__} was called with {compiled.signatures}"
