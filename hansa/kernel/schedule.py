"""Schedules: the instants at which a cron expression fires in a time zone. Pure.

Daylight saving follows Debian's cron, as `cronsim` implements it: an instant that the clocks skip
fires right after the gap; one that they show twice fires once; expressions with `*` hours or
minutes follow real time. Source: cron(8) of Debian; the tests hold vectors of both kinds.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(instant: datetime) -> int:
    """Return an aware instant as microseconds since 1970. Raises ValueError for a naive one."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_us(at_us: int) -> datetime:
    """Return microseconds since 1970 as an aware instant in UTC."""
    return EPOCH + timedelta(microseconds=at_us)


class Cron:
    """A cron expression of five fields (minute, hour, day, month, weekday)."""

    __slots__ = ("expression",)

    def __init__(self, expression: str) -> None:
        """Raises ValueError for an expression that cron would refuse, or one with seconds."""
        if len(expression.split()) != 5:
            raise ValueError(f"cron {expression!r}: five fields are needed")
        try:
            CronSim(expression, EPOCH)
        except CronSimError as error:
            raise ValueError(f"cron {expression!r}: {error}") from None
        self.expression = expression

    def __repr__(self) -> str:
        return f"Cron({self.expression!r})"

    def next_us(self, after_us: int, zone: str) -> int | None:
        """Return the first instant after `after_us` at which it fires, None if never again."""
        return _next_us(self.expression, after_us, zone)

    def newest_us(self, after_us: int, until_us: int, zone: str) -> int | None:
        """Return the last instant in (after, until] at which it fires, None if there is none.

        It looks back from the end in growing steps, so that a long stop costs little.
        """
        step_us = 3_600_000_000
        start_us = until_us
        while start_us > after_us:
            start_us = max(after_us, start_us - step_us)
            found: int | None = None
            for at_us in self.between(start_us, until_us, zone):
                found = at_us
            if found is not None:
                return found
            step_us *= 8
        return None

    def between(self, after_us: int, until_us: int, zone: str) -> Iterator[int]:
        """Yield the instants in (after, until] at which it fires, in order."""
        at_us = self.next_us(after_us, zone)
        while at_us is not None and at_us <= until_us:
            yield at_us
            at_us = self.next_us(at_us, zone)


@lru_cache(maxsize=4096)
def _next_us(expression: str, after_us: int, zone: str) -> int | None:
    local = from_us(after_us).astimezone(ZoneInfo(zone))
    simulation = CronSim(expression, local)
    while True:
        try:
            at_us = to_us(next(simulation).astimezone(UTC))
        except (StopIteration, CronSimError):
            return None
        # A local time that the clocks show twice may map behind the start; time only moves on.
        if at_us > after_us:
            return at_us


def spread_us(site: str, name: str, spread_s: int) -> int:
    """Return a site's own delay within a schedule's spread, the same at each instant."""
    if spread_s <= 0:
        return 0
    digest = blake2b(f"{name}\0{site}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % (spread_s * 1_000_000)
