"""Health: which of several processes to ask. Pure; the caller tells the time.

One that cannot be reached is left alone for a while that doubles with each failure, then one call
tries it (half open), and its answer decides. One that is about to stop is asked only where there is
no other: what it answers to others may need it. Of the healthy ones the one with the fewest calls
under way is asked, in turn where they are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

FIRST_S: Final = 0.05
LONGEST_S: Final = 1.0
"""Short, since to knock in vain costs little, and a process that is back should not wait long."""
LEAVING_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Target(Generic[T]):
    """A process, and how it has done."""

    what: T
    under_way: int = 0
    failures: int = 0
    shut_until: float = 0.0
    leaving_until: float = 0.0

    def failed(self, now: float) -> None:
        """Note that it could not be reached, or that it takes no calls."""
        self.failures += 1
        self.shut_until = now + min(LONGEST_S, FIRST_S * 2 ** min(self.failures - 1, 20))

    def answered(self) -> None:
        """Note that it answers."""
        self.failures = 0
        self.shut_until = 0.0

    def leaves(self, now: float) -> None:
        """Note that it answers, and is about to stop."""
        self.leaving_until = now + LEAVING_S


def choose(targets: Sequence[Target[T]], now: float, turn: int) -> Target[T] | None:
    """Return whom to ask, None while all are left alone."""
    ready = [
        one for one in targets if not one.failures or (one.shut_until <= now and not one.under_way)
    ]
    if not ready:
        return None
    ready = [one for one in ready if one.leaving_until <= now] or ready
    start = turn % len(ready)
    return min(ready[start:] + ready[:start], key=lambda one: one.under_way)
