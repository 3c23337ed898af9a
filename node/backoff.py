"""How long to wait before something that failed is tried again."""

import math
import random

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds: doubled after each failure, ±25 % so that nodes do not try in step."""


def backoff(failures: int, longest: float = LONGEST_PAUSE) -> float:
    """Seconds to wait after so many failures in a row."""
    pause: float = min(longest, FIRST_PAUSE * math.exp2(min(failures - 1, 16)))
    return pause * random.uniform(0.75, 1.25)
