"""Convolutions as products with the patches of a plane: the obvious way, on every device and by any way of multiplying
(README: Ways). Gives the integers of `reference.layers.conv2d`; the bounds are those of `product.matmul`.

A patch is k = kernel² · channels numbers in the order (row, column, channel): where planes have their channels last it
is `kernel` stretches of memory, and what comes out has its channels last again. Patches take kernel² times the memory
of their planes, so they are formed for a block of examples at a time: a block is for memory alone, where a run
(ways.py) is for exactness. Shapes as in `convolution.py`.
"""

from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from deepblock.exact.product import matmul
from deepblock.exact.ways import Way, add_up, check_exact
from deepblock.exact.window import Window

BLOCK: Final = {"cpu": 1 << 21, "cuda": 1 << 28}
"""Numbers in the patches that are formed at a time, by device; at least those of one example."""


def forward(x: Tensor, weight: Tensor, window: Window, bits: int, way: Way) -> Tensor:
    kernels = _kernels(weight).T
    height, width = window.output_sides(x.shape)
    planes = []
    for block in _blocks(x, window):
        integers = matmul(_rows(x[block], window), kernels, bits, way)
        planes.append(integers.view(-1, height, width, len(weight)).permute(0, 3, 1, 2))
    return torch.cat(planes)


def input_gradient(dy: Tensor, weight: Tensor, x: Tensor, window: Window, bits: int, way: Way) -> Tensor:
    check_exact(weight[:, 0].numel(), bits)  # a pixel gets terms from every patch that it is in
    kernels = _kernels(weight)
    planes = []
    for block in _blocks(x, window):
        spread = matmul(_columns(dy[block]), kernels, bits, way)
        planes.append(_gathered(spread.double(), x[block].shape, window))
    return torch.cat(planes)


def weight_gradient(dy: Tensor, x: Tensor, weight: Tensor, window: Window, bits: int, way: Way) -> Tensor:
    check_exact(dy[:, 0].numel(), bits)
    products = (matmul(_columns(dy[at]).T, _rows(x[at], window), bits, way) for at in _blocks(x, window))
    out, channels, side, _ = weight.shape
    return add_up((integers, 1) for integers in products).view(out, side, side, channels).permute(0, 3, 1, 2)


def _blocks(x: Tensor, window: Window) -> Iterator[slice]:
    """Consecutive ranges of examples whose patches are formed at a time."""
    height, width = window.output_sides(x.shape)
    example = height * width * x.shape[1] * window.kernel**2
    size = max(1, BLOCK.get(x.device.type, BLOCK["cpu"]) // max(1, example))
    return (slice(start, start + size) for start in range(0, max(1, len(x)), size))


def _kernels(weight: Tensor) -> Tensor:
    """[out, k]."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _columns(dy: Tensor) -> Tensor:
    """[N · height' · width', out]."""
    return dy.permute(0, 2, 3, 1).reshape(-1, dy.shape[1])


def _rows(x: Tensor, window: Window) -> Tensor:
    """The patches: [N · height' · width', k]."""
    examples, channels, height, width = x.shape
    pad, side, stride = window.padding, window.kernel, window.stride
    padded = x.new_zeros(examples, height + 2 * pad, width + 2 * pad, channels)
    padded[:, pad : pad + height, pad : pad + width] = x.permute(0, 2, 3, 1)
    patches = padded.unfold(1, side, stride).unfold(2, side, stride).permute(0, 1, 2, 4, 5, 3)
    return patches.reshape(-1, side * side * channels)


def _gathered(spread: Tensor, shape: torch.Size, window: Window) -> Tensor:
    """Adds up, for each pixel, its integers from the patches that it is in: [N · height' · width', k] →
    `shape`."""
    examples, channels, height, width = shape
    rows, columns = window.output_sides(shape)
    pad, side, stride = window.padding, window.kernel, window.stride
    spread = spread.view(examples, rows, columns, side, side, channels)
    padded = spread.new_zeros(examples, height + 2 * pad, width + 2 * pad, channels)
    for a in range(side):
        for b in range(side):
            reached = padded[:, a : a + stride * rows : stride, b : b + stride * columns : stride]
            reached.add_(spread[:, :, :, a, b])
    return padded[:, pad : pad + height, pad : pad + width].permute(0, 3, 1, 2)
