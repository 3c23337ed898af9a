"""How far catching up is, for people: the name of what goes on, percent, and the time that is left."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

WINDOW: Final = 30.0
"""Seconds over which the rate of blocks is measured."""


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """`state`: starting (no peer has answered yet), headers (a heavier chain is being looked at), blocks (it is being
    taken), synced, or alone (no peer: a chain of one's own, until another comes). `target`: the height of the chain
    that is being taken, as its peer tells; `percent`: of it, that is here; `eta`: seconds until it is, None where
    that is not known."""

    state: str
    height: int
    target: int
    percent: float
    eta: float | None


class Rate:
    """Of blocks, over the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()

    def begin(self, height: int) -> None:
        self._points.clear()
        self.at(height)

    def at(self, height: int) -> None:
        now = self._clock()
        while self._points and self._points[0][0] < now - WINDOW:
            self._points.popleft()
        self._points.append((now, height))

    def eta(self, height: int, target: int) -> float | None:
        """Seconds from `height` to `target`, None before there is a rate."""
        if not self._points or height <= self._points[0][1]:
            return None
        since, first = self._points[0]
        return (target - height) * (self._clock() - since) / (height - first)
