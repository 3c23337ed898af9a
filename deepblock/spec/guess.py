"""The loss of guessing: the bar before a task's first block (protocol: Score)."""

import functools
from fractions import Fraction


@functools.lru_cache(64)
def ln_micro(n: int) -> int:
    """round_half_even(10^6 · ln n), in integers: the loss of guessing among n classes, an example.

    n = 2^k · x with 1 ≤ x < 2, and ln n = k·ln 2 + ln x, both as 2·artanh(y) = 2·(y + y³/3 + y⁵/5 + …) with
    y ≤ 1/3, with an error below 10^-30. (ln n is irrational for n > 1, so there are no ties.)
    """
    k = n.bit_length() - 1
    return round(10**6 * (k * _ln(Fraction(2)) + _ln(Fraction(n, 1 << k))))


def _ln(x: Fraction) -> Fraction:
    scale = 10**40
    y = (x - 1) / (x + 1)
    return Fraction(2 * sum(int(scale * y**power) // power for power in range(1, 90, 2)), scale)
