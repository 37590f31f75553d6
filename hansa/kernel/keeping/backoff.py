"""Backoff: how long is waited between two tries of what fails."""

from typing import Final

from hansa.kernel.clock import Clock

_US: Final = 1_000_000


class Backoff:
    """A wait that doubles with each failure, up to a bound, until something succeeds."""

    def __init__(self, clock: Clock, first_s: int, longest_s: int) -> None:
        self._clock = clock
        self._first_s = first_s
        self._longest_s = longest_s
        self._wait_s = 0
        self._failed_us = 0

    def fail(self) -> int:
        """Wait from now on, longer than the last time; return how many seconds."""
        self._wait_s = min(self._longest_s, max(self._first_s, 2 * self._wait_s))
        self._failed_us = self._clock.now_us()
        return self._wait_s

    def succeed(self) -> None:
        """Wait no more; the next wait is the first one again."""
        self._wait_s = 0

    def is_over(self) -> bool:
        """Tell whether it is time for another try."""
        # Before that instant: the machine's clock was set back.
        passed_us = self._clock.now_us() - self._failed_us
        return not 0 <= passed_us < self._wait_s * _US
