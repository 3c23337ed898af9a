"""Failures in a row of one thing, and the pause after each."""

from node.backoff import LONGEST_PAUSE, backoff


class Pause:
    """Counts the failures of one thing."""

    def __init__(self) -> None:
        self._failures = 0

    def longer(self) -> float:
        """It has failed once more: seconds to wait."""
        self._failures += 1
        return backoff(self._failures, LONGEST_PAUSE)

    def reset(self) -> None:
        self._failures = 0
