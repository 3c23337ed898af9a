"""Convolutions as oneDNN computes them directly, on integers in float32: a way (README: Ways).

Gives the integers of `reference.layers.conv2d`. Exact because the magnitudes of a sum's terms add up to less than 2^24,
if need be in runs: then no partial sum rounds, whatever the order. A transform (Winograd, FFT) would round; oneDNN
applies one only if asked to, and torch asks for `convolution_direct`. It is called by its name where it can be: torch's
own choice might be NNPACK, which has Winograd for forward passes.

Shapes as in `convolution.py`. Results are integers in float32; in float64 where they are put together from several runs
or digits. Each raises InexactError where float32 could not hold a sum.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import torch
from torch import Tensor

from deepblock.exact.compiled import sums
from deepblock.exact.compiled.kernel import columns
from deepblock.exact.compiled.team import members
from deepblock.exact.ways import EXACT_IN_FLOAT32, Digit, add_up, check_exact, karatsuba, runs
from deepblock.exact.window import Window

ALL: Final = [slice(None)]

_SHORT: Final = 1 << 15
"""Positions over which magnitudes of at most 256 add up to less than 2^24."""


def forward(x: Tensor, weight: Tensor, window: Window, bits: int) -> Tensor:
    def product(x: Tensor, weight: Tensor, channels: slice) -> Tensor:
        x, weight = channels_last(x[:, channels]), weight[:, channels]
        return torch.mkldnn_convolution(x, weight, None, [window.padding] * 2, [window.stride] * 2, [1, 1], 1)

    def magnitudes(weight: Tensor) -> Tensor:
        return weight.abs().sum((2, 3)).T

    return _product(x, weight, bits, weight[0].numel(), magnitudes, product)


def input_gradient(dy: Tensor, weight: Tensor, x: Tensor, window: Window, bits: int) -> Tensor:
    def product(dy: Tensor, weight: Tensor, outputs: slice) -> Tensor:
        return _backward(dy[:, outputs], x, weight[outputs], window, 0)

    def magnitudes(weight: Tensor) -> Tensor:
        return weight.abs().sum((2, 3))

    return _product(dy, weight, bits, weight[:, 0].numel(), magnitudes, product)


def weight_gradient(dy: Tensor, x: Tensor, weight: Tensor, window: Window, bits: int) -> Tensor:
    def product(x: Tensor, dy: Tensor, examples: slice) -> Tensor:
        return _backward(dy[examples], channels_last(x[examples]), weight, window, 1)

    return _product(x, dy, bits, dy[:, 0].numel(), _by_example, product)


def _product(
    a: Tensor,
    b: Tensor,
    bits: int,
    terms: int,
    magnitudes: Callable[[Tensor], Tensor],
    product: Callable[[Tensor, Tensor, slice], Tensor],
) -> Tensor:
    """Adds up `product` over the digits of a and b and over runs of what it sums. `terms`: how many a sum has."""
    check_exact(terms, bits)

    def products() -> Iterator[tuple[Tensor, int]]:
        for left, right in zip(karatsuba(a, bits), karatsuba(b, bits), strict=True):
            for run in _runs(right, left.peak, terms, magnitudes):
                yield product(left.values, right.values, run), left.weight

    return add_up(products())


def _runs(digit: Digit, peak: int, terms: int, magnitudes: Callable[[Tensor], Tensor]) -> Iterable[slice]:
    """`runs` of the `magnitudes` of a digit that meets numbers up to `peak`; one, if the number of terms settles it."""
    if terms * digit.peak * peak < EXACT_IN_FLOAT32:
        return ALL
    return runs(magnitudes(digit.values), peak)


def _by_example(dy: Tensor) -> Tensor:
    """Σ |dy| of each example's channels: [N, out]."""
    numbers = columns(dy)
    if numbers is None or dy[0, 0].numel() > _SHORT:
        return dy.abs().sum((2, 3))
    found = torch.empty(dy.shape[:2], dtype=torch.float64)
    sums.magnitudes(members(len(numbers)), numbers, found.numpy())
    return found


def _backward(dy: Tensor, x: Tensor, weight: Tensor, window: Window, which: int) -> Tensor:
    """torch's gradient of the input (0) or the weight (1) of a convolution."""
    gradients: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        dy,
        x,
        weight,
        None,
        stride=[window.stride] * 2,
        padding=[window.padding] * 2,
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=1,
        output_mask=[which == place for place in range(3)],
    )
    return gradients[which]


def channels_last(x: Tensor) -> Tensor:
    """x with strides that say so, even where it has only one channel: what oneDNN makes of it is in this
    order then."""
    _, channels, height, width = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    return x.as_strided(x.shape, (height * width * channels, 1, width * channels, channels))
