import math

import numpy as np
import torch

from deepblock.exact.constants import LIMIT, LN2_HIGH, LN2_LOW, TINY
from deepblock.exact.elementwise import exp, log, settle_, sgd_


def test_settle():
    x = torch.tensor([-0.0, TINY, -TINY, TINY * 0.999, -TINY * 0.999, 1e-45, 40_000.0, -torch.inf, 1.5])
    settled = settle_(x).numpy()
    expected = np.float32([0.0, TINY, -TINY, 0.0, 0.0, 0.0, LIMIT, -LIMIT, 1.5])
    np.testing.assert_array_equal(settled.view(np.uint32), expected.view(np.uint32))


def test_an_overflowing_gradient_leaves_finite_numbers():
    w, v = torch.tensor([1.0, -1.0]), torch.tensor([0.0, LIMIT])
    for _ in range(3):
        sgd_(w, v, torch.tensor([torch.inf, -torch.inf]), lr=0.5, mu=0.75, decay=0.25)
    assert w.tolist() == [-LIMIT, LIMIT]
    assert v.tolist() == [LIMIT, -LIMIT]


def test_the_two_parts_of_ln_2():
    assert math.log(2.0) == LN2_HIGH + LN2_LOW
    assert (LN2_HIGH * 2**33).is_integer()


def test_exp_and_log_at_their_fixed_points():
    assert exp(torch.zeros(1, dtype=torch.float64)).item() == 1.0
    assert log(torch.ones(1, dtype=torch.float64)).item() == 0.0
