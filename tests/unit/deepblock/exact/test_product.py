import pytest
import torch

from deepblock.exact.product import exact_sum, matmul
from deepblock.exact.ways import InexactError


@pytest.mark.parametrize(("terms", "bits"), [(2**23, 16), (2**31, 12)])
def test_refuses_what_float64_might_round(terms, bits):
    a = torch.zeros(1, dtype=torch.float64).expand(1, terms)
    with pytest.raises(InexactError, match=f"{terms} products of {bits}-bit"):
        matmul(a, a.T, bits)


def test_the_longest_product_that_is_exact():
    terms, bits = 2**23 - 1, 16
    largest = torch.full((1, 1), 2.0 ** (bits - 1) - 1, dtype=torch.float64)
    a = largest.expand(1, terms)
    assert int(matmul(a, a.T, bits)) == terms * (2 ** (bits - 1) - 1) ** 2


def test_sum_does_not_lose_small_terms_beside_large_ones():
    x = torch.tensor([[2.0**20], [1.0], [-(2.0**20)]])
    assert exact_sum(x, (0,)).tolist() == [1.0]
