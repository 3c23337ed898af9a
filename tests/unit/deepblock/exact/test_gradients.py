"""Forward and backward against float64 autograd: the relative error is that of a 16-bit grid."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from deepblock.exact import layers
from deepblock.exact.attention import Attention
from deepblock.exact.gelu import GELU
from deepblock.exact.grouped import GroupedConv2d
from deepblock.exact.loss import cross_entropy as exact_cross_entropy
from deepblock.exact.loss import cross_entropy_gradient
from deepblock.exact.norms import GroupNorm, LayerNorm
from deepblock.exact.pools import AvgPool, GlobalAvgPool
from deepblock.exact.tokens import Embedding

BITS = 16


def parameter(tensor):
    value = tensor.detach().float()
    return layers.Parameter(value, torch.zeros_like(value))


def relative_error(got, expected):
    return float((got.double() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize(
    ("plain", "shape"),
    [
        (nn.Linear(20, 30), (16, 20)),
        (nn.Conv2d(3, 8, 3, padding=1), (4, 3, 9, 9)),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (4, 3, 9, 10)),
        (nn.Conv2d(2, 5, 4, stride=3), (4, 2, 13, 13)),
        (nn.Conv2d(4, 6, 1), (4, 4, 5, 5)),
        (nn.ReLU(), (4, 3, 6, 6)),
        (nn.MaxPool2d(3), (4, 3, 6, 6)),
        (nn.Flatten(), (4, 3, 6, 6)),
    ],
    ids=str,
)
def test_layer(plain, shape):
    torch.manual_seed(1)
    x = torch.randn(shape)
    match plain:
        case nn.Linear():
            exact = layers.Linear(parameter(plain.weight), parameter(plain.bias), BITS)
        case nn.Conv2d():
            exact = layers.Conv2d(
                parameter(plain.weight), parameter(plain.bias), plain.stride[0], plain.padding[0], BITS
            )
        case nn.ReLU():
            exact = layers.ReLU()
        case nn.MaxPool2d():
            exact = layers.MaxPool(plain.kernel_size)
        case nn.Flatten():
            exact = layers.Flatten()
    plain = plain.double()
    input64 = x.double().requires_grad_()
    expected = plain(input64)
    dy = torch.randn(expected.shape)
    expected.backward(dy.double())

    y, saved = exact.forward(x, per_example=False)
    dx = exact.backward(dy, saved, needs_input=True)
    assert relative_error(y, expected) < 1e-4
    assert relative_error(dx, input64.grad) < 1e-4
    for name, tensor in plain.named_parameters():
        assert relative_error(getattr(exact, name).gradient, tensor.grad) < 1e-4


def test_cross_entropy():
    torch.manual_seed(2)
    logits, labels = 10 * torch.randn(50, 10), torch.randint(10, (50,))
    logits64 = logits.double().requires_grad_()
    expected = cross_entropy(logits64, labels, reduction="none")
    expected.mean().backward()
    losses, correct = exact_cross_entropy(logits, labels)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(
        cross_entropy_gradient(logits, labels).double(), logits64.grad, rtol=1e-6, atol=1e-12
    )
    assert correct.tolist() == (logits.argmax(1) == labels).tolist()


def test_certainty_costs_nothing_and_a_lost_cause_is_capped():
    logits = torch.tensor([[200.0, 0.0], [0.0, 3e38], [torch.nan, 0.0], [0.0, torch.inf]])
    losses, correct = exact_cross_entropy(logits, torch.tensor([0, 0, 1, 1]))
    assert losses.tolist() == [0.0, 2.0**20, 2.0**20, 2.0**20]
    assert correct.tolist() == [True, False, False, False]


def exact_of(plain):
    own = {name.replace(".", "_"): parameter(value) for name, value in plain.named_parameters()}
    match plain:
        case nn.Linear():
            return layers.Linear(**own, bits=BITS)
        case nn.Conv2d(groups=1):
            return layers.Conv2d(**own, stride=plain.stride[0], padding=plain.padding[0], bits=BITS)
        case nn.Conv2d():
            return GroupedConv2d(
                **own, stride=plain.stride[0], padding=plain.padding[0], groups=plain.groups, bits=BITS
            )
        case nn.GroupNorm():
            return GroupNorm(**own, groups=plain.num_groups)
        case nn.LayerNorm():
            return LayerNorm(**own)
        case nn.AvgPool2d():
            return AvgPool(plain.kernel_size)
        case nn.GELU():
            return GELU()
        case nn.Embedding():
            return Embedding(**own)
        case nn.MultiheadAttention():
            return Attention(**own, heads=plain.num_heads, bits=BITS)
        case nn.Sequential():
            return GlobalAvgPool()


def apply(plain, x):
    if not isinstance(plain, nn.MultiheadAttention):
        return plain(x)
    tokens = x.shape[1]
    later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    return plain(x, x, x, attn_mask=later, need_weights=False)[0]


@pytest.mark.parametrize(
    ("plain", "shape", "tolerance"),
    [
        (nn.Linear(20, 30), (4, 5, 20), 1e-4),
        (nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4), (4, 8, 7, 6), 1e-4),
        (nn.Conv2d(6, 6, 3, padding=1, groups=6), (4, 6, 5, 5), 1e-4),
        (nn.GroupNorm(4, 8), (4, 8, 5, 5), 3e-5),
        (nn.GroupNorm(1, 3), (2, 3, 4, 4), 3e-5),
        (nn.LayerNorm(32), (3, 7, 32), 3e-5),
        (nn.AvgPool2d(3), (4, 3, 6, 6), 1e-6),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), (4, 3, 6, 7), 1e-6),
        (nn.GELU(), (4, 3, 6, 6), 2e-3),
        (nn.MultiheadAttention(32, 4, batch_first=True), (3, 16, 32), 1e-3),
    ],
    ids=str,
)
def test_block(plain, shape, tolerance):
    torch.manual_seed(3)
    with torch.no_grad():
        for value in plain.parameters():
            value.add_(torch.randn(value.shape) * 0.1)
    x = 2.0 * torch.randn(shape) + 0.5
    exact, plain = exact_of(plain), plain.double()
    input64 = x.double().requires_grad_()
    expected = apply(plain, input64)
    dy = torch.randn(expected.shape)
    expected.backward(dy.double())

    y, saved = exact.forward(x, per_example=False)
    assert relative_error(y, expected) < tolerance
    assert relative_error(exact.backward(dy, saved, needs_input=True), input64.grad) < tolerance
    for name, tensor in plain.named_parameters():
        assert relative_error(getattr(exact, name.replace(".", "_")).gradient, tensor.grad) < tolerance


def test_embedding():
    torch.manual_seed(4)
    plain = nn.Embedding(11, 5)
    exact = exact_of(plain)
    tokens, dy = torch.randint(11, (3, 8)), torch.randn(3, 8, 5)
    plain.double()(tokens).backward(dy.double())
    y, saved = exact.forward(tokens.float(), per_example=False)
    assert torch.equal(y, plain(tokens).float())
    assert exact.backward(dy, saved, needs_input=False) is None
    assert relative_error(exact.weight.gradient, plain.weight.grad) < 1e-6


def test_gelu_is_within_its_stated_distance():
    x = torch.linspace(-6.0, 6.0, 20_001)
    y, _ = GELU().forward(x, per_example=False)
    assert float((y.double() - nn.functional.gelu(x.double())).abs().max()) < 2.6e-4
    assert torch.equal(y[x >= 4.0], x[x >= 4.0]) and not y[x <= -4.0].any()


def test_cross_entropy_of_tokens_is_that_of_as_many_examples():
    torch.manual_seed(5)
    logits, labels = torch.randn(3, 4, 7), torch.randint(7, (3, 4))
    gradient = cross_entropy_gradient(logits.flatten(0, 1), labels.flatten())
    assert torch.equal(cross_entropy_gradient(logits, labels), gradient.view(logits.shape))
    for many, flat in zip(
        exact_cross_entropy(logits, labels),
        exact_cross_entropy(logits.flatten(0, 1), labels.flatten()),
        strict=True,
    ):
        assert torch.equal(many, flat.view(labels.shape))


@pytest.mark.parametrize("bits", [6, 8, 16])
def test_a_token_attends_to_none_that_come_after_it(bits):
    torch.manual_seed(6)
    plain = nn.MultiheadAttention(8, 2)
    own = {name.replace(".", "_"): parameter(value) for name, value in plain.named_parameters()}
    layer = Attention(**own, heads=2, bits=bits)
    x = torch.randn(1, 6, 8)
    y, saved = layer.forward(x, per_example=True)
    assert not saved.weights.triu(1).any()
    swapped, _ = layer.forward(
        x[:, [0, 1, 2, 3, 5, 4]], per_example=True
    )  # the same numbers, so the same grids
    assert torch.equal(y[:, :4], swapped[:, :4])
    assert not torch.equal(y[:, 4:], swapped[:, 4:])
