"""The three products of a convolution as integers: directly where that is exact, else on patches (README: Ways).

x: [N, channels, height, width]; W: [out, channels, kernel, kernel]; y and dy: [N, out, height', width']: the
q of their grids.

    y[n,o,i,j] = Σ over c, a, b of x[n, c, stride·i + a − padding, stride·j + b − padding] · W[o,c,a,b]

and the gradients sum the same pairs: dx over o and the places that a pixel goes to, dW over n, i, j. The slow twins are
`reference.layers.conv2d` and `conv2d_backward`. Results are in float32 or float64, whichever held them. `way` overrules
the choice; InexactError says that it could not hold a sum.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from deepblock.exact import direct, patches
from deepblock.exact.ways import InexactError, Way, for_matrices, for_planes
from deepblock.exact.window import Window


def forward(x: Tensor, weight: Tensor, window: Window, bits: int, way: Way | None = None) -> Tensor:
    """y."""
    operands = x, weight, window, bits
    return _formed(partial(direct.forward, *operands), partial(patches.forward, *operands), x, bits, way)


def input_gradient(
    dy: Tensor, weight: Tensor, x: Tensor, window: Window, bits: int, way: Way | None = None
) -> Tensor:
    """dx; x gives its shape."""
    operands = dy, weight, x, window, bits
    directly, on_patches = direct.input_gradient, patches.input_gradient
    return _formed(partial(directly, *operands), partial(on_patches, *operands), x, bits, way)


def weight_gradient(
    dy: Tensor, x: Tensor, weight: Tensor, window: Window, bits: int, way: Way | None = None
) -> Tensor:
    """dW; W gives its shape."""
    operands = dy, x, weight, window, bits
    directly, on_patches = direct.weight_gradient, patches.weight_gradient
    return _formed(partial(directly, *operands), partial(on_patches, *operands), x, bits, way)


def _formed(
    directly: Callable[[], Tensor],
    on_patches: Callable[[Way], Tensor],
    x: Tensor,
    bits: int,
    way: Way | None,
) -> Tensor:
    if (way or for_planes(bits, x)) is Way.DIRECT:
        try:
            return directly()
        except InexactError:  # these integers are too large for float32
            if way is not None:
                raise
    return on_patches(way or for_matrices(bits, x.device))
