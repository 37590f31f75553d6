"""Choosing: which recordings are kept, decided when they have ended. Pure.

Errors and what was unusually slow are kept always, of the rest the sampled ones, all within a
budget: a storm of errors is no reason to fill the disk.
"""

from typing import Final, Literal

Reason = Literal["error", "slow", "sample", "related"]

KEPT_PER_S: Final = 200.0
BURST: Final = 1_000.0
RESERVE: Final = 0.5
"""The share of the budget that samples leave to errors and to what was slow."""


def reason(failed: bool, took_us: int, slow_us: int, sampled: bool) -> Reason | None:
    """Return why a recording is kept; None when it is not."""
    if failed:
        return "error"
    if took_us >= slow_us:
        return "slow"
    return "sample" if sampled else None


class Budget:
    """A token bucket: so many recordings a second, and a burst."""

    __slots__ = ("_at_s", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float = KEPT_PER_S, burst: float = BURST) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at_s = 0.0

    def take(self, why: Reason, now_s: float) -> bool:
        """Take one token at an instant of a monotonic clock; False when there is none."""
        if now_s > self._at_s:
            self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
            self._at_s = now_s
        floor = self._burst * RESERVE if why == "sample" else 0.0
        if self._left - 1.0 < floor:
            return False
        self._left -= 1.0
        return True
