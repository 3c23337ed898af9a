"""How long to wait before something that failed is tried again."""

import random
from typing import Final

FIRST: Final = 1.0
LONGEST: Final = 60.0
"""Seconds: the first pause, doubled with each failure up to the longest, ±25 %."""


class Pause:
    """Counts the failures of one thing."""

    def __init__(self) -> None:
        self._failures = 0

    def longer(self) -> float:
        """It has failed once more: seconds to wait."""
        self._failures += 1
        seconds: float = min(LONGEST, FIRST * 2.0 ** min(self._failures - 1, 16))
        return seconds * random.uniform(0.75, 1.25)

    def reset(self) -> None:
        self._failures = 0
