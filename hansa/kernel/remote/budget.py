"""Budget: how many calls may be sent a second time. Pure.

When a service is slow, every caller that tries again makes it slower; so second tries are a share
of the first ones, whatever happens. Source: the retry budgets of Finagle and of Linkerd.
"""

from typing import Final

SHARE: Final = 0.1
FLOOR: Final = 10.0
"""Tries that a quiet caller may make all the same, and the most that can be saved."""


class Budget:
    """The second tries that are left for one target."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = FLOOR

    def sent(self) -> None:
        """Note a call that was sent for the first time."""
        self._left = min(FLOOR, self._left + SHARE)

    def take(self) -> bool:
        """Take a second try, if there is one left."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
