"""How much of something each neighbour may ask of us: so much a second, and a burst (a token bucket)."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

REMEMBERED: Final = 4_096
"""Neighbours whose use is counted; who was forgotten begins anew."""


class Allowance:
    """`rate`: units a second. `burst`: units at once, after a time without any."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = (
            OrderedDict()
        )  # when it was, and how many then

    def take(self, peer: Hashable, count: int = 1) -> bool:
        """Whether `count` more are within it; what is not leaves the rest as it is."""
        now = self._clock()
        since, left = self._left.pop(peer, (now, self._burst))
        left = min(self._burst, left + (now - since) * self._rate)
        enough = count <= left
        self._left[peer] = (now, left - count if enough else left)
        if len(self._left) > REMEMBERED:
            self._left.popitem(last=False)
        return enough
