"""Forward and backward against float64 autograd: the relative error is that of a 16-bit grid."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from deepblock.exact import layers
from deepblock.exact.loss import cross_entropy as exact_cross_entropy
from deepblock.exact.loss import cross_entropy_gradient

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
