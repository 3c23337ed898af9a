import pytest
import torch

from deepblock.exact.attention import Attention
from deepblock.exact.grouped import GroupedConv2d
from deepblock.exact.layers import Parameter
from deepblock.exact.product import exact_sum, matmul
from deepblock.exact.ways import InexactError, Way


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


def test_float32_refuses_integers_that_a_bfloat16_unit_would_round():
    def largest(bits):
        return torch.full((1, 1), 2.0 ** (bits - 1) - 1)

    assert int(matmul(largest(9), largest(9), 9, Way.FLOAT32)) == 255**2
    with pytest.raises(InexactError, match="integers of 10 bits.*take Way.FLOAT64"):
        matmul(largest(10), largest(10), 10, Way.FLOAT32)


def test_sum_does_not_lose_small_terms_beside_large_ones():
    x = torch.tensor([[2.0**20], [1.0], [-(2.0**20)]])
    assert exact_sum(x, (0,)).tolist() == [1.0]


def test_attention_and_groups_refuse_what_float64_might_round():
    """Only shapes are looked at, so they have no data."""

    def shaped(*shape):
        return torch.empty(shape, device="meta")

    nothing = Parameter(shaped(1, 1, 1, 1), shaped(1, 1, 1, 1))
    attention = Attention(nothing, nothing, nothing, nothing, heads=1, bits=16)
    with pytest.raises(InexactError, match=f"{2**23} products of 16-bit"):
        attention._product(shaped(1, 2**23), shaped(2**23, 1))
    grouped = GroupedConv2d(nothing, nothing, stride=1, padding=0, groups=1, bits=16)
    saved = (shaped(1, 1, 1, 2**23), 1.0, shaped(1, 1, 1), 1.0, (1, 1, 1, 2**23))
    with pytest.raises(InexactError, match=f"{2**23} products of 16-bit"):
        grouped.backward(shaped(1, 1, 1, 2**23), saved, needs_input=True)
