"""Vitals: how often something ran, how it ended and how long it took. Pure.

Times fall into buckets of four an octave, so a quantile is right within a fifth, and one more time
costs the increment of a list's element.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

BUCKETS: Final = 144
"""The last begins at 16 hours."""
SLOW_AFTER: Final = 200
"""Below so many runs nothing is known of what is slow for an operation."""
SLOW_UNKNOWN_US: Final = 1_000_000
SLOW_LEAST_US: Final = 5_000
"""What takes less is never called slow."""


def begins_us(number: int) -> int:
    """Return the least time in microseconds that falls into a bucket."""
    return number if number < 4 else (4 + (number & 3)) << ((number >> 2) - 1)


_BEGINS_US: Final = [begins_us(number) for number in range(1, BUCKETS)]
"""Of all buckets but the first."""


def bucket(took_us: int) -> int:
    """Return the number of the bucket that a time in microseconds falls into."""
    return bisect_right(_BEGINS_US, took_us)


def quantile_us(counts: Sequence[int], quantile: float) -> int:
    """Return a time that a share of runs stays below: the end of the bucket of the quantile; 0
    for no runs."""
    return quantiles_us({number: count for number, count in enumerate(counts) if count}, quantile)[
        0
    ]


def quantiles_us(runs: Mapping[int, int], *quantiles: float) -> list[int]:
    """Return likewise several, of the buckets that are not empty."""
    if not runs:
        return [0] * len(quantiles)
    numbers = sorted(runs)
    seen = list(accumulate(runs[number] for number in numbers))
    return [begins_us(numbers[bisect_left(seen, one * seen[-1])] + 1) for one in quantiles]


class Vital:
    """The counts of one operation, subscriber or due work in a process."""

    __slots__ = ("count", "counts", "failed", "refused", "slow_us", "statements", "total_us")

    def __init__(self) -> None:
        self.count = 0
        self.failed = 0
        self.refused = 0
        self.statements = 0
        self.total_us = 0
        self.counts = [0] * BUCKETS
        self.slow_us = SLOW_UNKNOWN_US
        """From where on a run is slow: the 99th percentile of those before it."""

    def add(self, took_us: int, statements: int) -> None:
        """Count one run."""
        self.count += 1
        self.total_us += took_us
        self.statements += statements
        self.counts[bucket(took_us)] += 1
        if not self.count & 255:
            self.slow_us = max(SLOW_LEAST_US, quantile_us(self.counts, 0.99))

    @property
    def mean_us(self) -> float:
        """The mean time of a run."""
        return self.total_us / self.count if self.count else 0.0


class StatementVital:
    """The counts of one statement's text."""

    __slots__ = ("count", "failed", "longest_s", "rows", "total_s")

    def __init__(self) -> None:
        self.count = 0
        self.failed = 0
        self.rows = 0
        self.total_s = 0.0
        self.longest_s = 0.0
