"""Product and Sum: reductions that are exact in integers, so their order does not matter (exact: Product, Sum)."""

from torch import Tensor

from deepblock.exact.grid import quantise


class InexactError(ArithmeticError):
    """The integers of a reduction could exceed what float64 holds exactly."""


def matmul(a: Tensor, b: Tensor, bits: int) -> Tensor:
    """The integer matrix product of two grids' q (float64, [m, k] and [k, n]), by a float64 GEMM.

    Partial sums stay below k · 2^(2·bits−2). Raises InexactError unless that is < 2^53: then every order of adding,
    with or without fused multiply-add, gives the same integers.
    """
    check_exact(a.shape[-1], bits)
    return a @ b


def check_exact(terms: int, bits: int) -> None:
    """Raises InexactError unless sums of `terms` products of two `bits`-bit integers are exact in float64."""
    if terms << (2 * bits - 2) >= 1 << 53:
        raise InexactError(
            f"sums of {terms} products of {bits}-bit integers exceed 2^53; check_bounds refuses such tasks"
        )


def rescale(integers: Tensor, step_a: Tensor, step_b: Tensor) -> Tensor:
    """f32(integers · step_a · step_b) + 0.0: the product's value. Overwrites `integers`.

    Steps are powers of two no smaller than 2^-54, so the product rounds once and is never subnormal.
    """
    return integers.mul_(step_a * step_b).float().add_(0.0)


def exact_sum(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """f32(Σ x) + 0.0 over `dims`, float32: n terms on one grid of 52 − ⌈log2 n⌉ bits, summed as integers."""
    terms = 1
    for dim in dims:
        terms *= x.shape[dim]
    grid = quantise(x, 52 - max(0, terms - 1).bit_length())
    return grid.q.sum(dims).mul_(grid.step).float().add_(0.0)
