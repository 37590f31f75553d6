"""Rates: how many requests a second, and how many at once after a quiet time. Pure.

The generic cell rate algorithm: a token bucket that needs one number for each name, the instant at
which its bucket is full again (its theoretical arrival time). Source: ITU-T I.371, annex A. What
must never happen here: a name that gets more than `burst + per_s * t` in any `t` seconds while its
number is remembered, or memory that grows with the names that strangers think of.
"""

from typing import Annotated, Final

from msgspec import Meta

from hansa.kernel.structs import Struct

NAMES_MAX: Final = 65_536
"""Names that a meter remembers at most; about 200 bytes each."""


class Rate(Struct):
    """So many requests a second in the long run, and `burst` at once from a full bucket."""

    per_s: Annotated[float, Meta(ge=0.01, le=1_000_000)]
    burst: Annotated[int, Meta(ge=1, le=10_000_000)]

    @property
    def window_s(self) -> float:
        """The seconds in which an empty bucket is full again."""
        return self.burst / self.per_s


class Meter:
    """The buckets of many names. All begin full, and one that is forgotten is full.

    It remembers the half of `names_max` that were counted last, and up to as many before those:
    two tables, of which the older one is dropped when the younger one is full. So nothing is ever
    searched for what to forget.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        self._half = max(1, names_max // 2)
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def __len__(self) -> int:
        """How many names are remembered, those in both tables twice."""
        return len(self._young) + len(self._old)

    def take(self, name: str, rate: Rate, now: float, count: int = 1) -> float:
        """Count a request at `now` if there is room for it, or one that is worth `count` of them,
        of which no more than a full bucket holds are counted. Return what is left afterwards, in
        seconds' worth of the rate: times `per_s` it is how many more may come at once. Below 0
        there was no room and nothing is counted; so many seconds from now there will be."""
        full_at = self._young.get(name)
        is_old = full_at is None
        if full_at is None:
            full_at = self._old.get(name, 0.0)
        if full_at < now:
            full_at = now
        per_s = rate.per_s
        if count > rate.burst:
            count = rate.burst
        room = (rate.burst - count) / per_s - full_at + now
        if room >= 0.0:
            self._young[name] = full_at + count / per_s
            if is_old and len(self._young) >= self._half:
                self._old = self._young
                self._young = {}
        return room

    def give_back(self, name: str, rate: Rate, count: int = 1) -> None:
        """Undo the last `take` of a name that counted."""
        names = self._young if name in self._young else self._old
        if name in names:
            names[name] -= min(count, rate.burst) / rate.per_s
