"""Instant: the one number that a date stands for, the same in a document and in a filter. Pure."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_FORM: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)"
    r"(?:[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d)))?",
    re.ASCII,
)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - both sides are UTC; the zone is taken off by hand
_MICROSECOND: Final = timedelta(microseconds=1)


def micros(text: str) -> int:
    """Return the microseconds since 1970 of a date-time (RFC 3339) or a date, which is its first
    moment in UTC. What is finer than a microsecond is dropped. Raises ValueError for another form,
    a day that there is not, and a leap second, which no clock here counts."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("it is no date such as 2026-01-31 or 2026-01-31T12:00:00Z")
    day, time, fraction, sign, hours, minutes = match.groups()
    if hours is not None and (int(hours) > 23 or int(minutes) > 59):
        raise ValueError("there is no such offset from UTC")
    try:
        moment = datetime.fromisoformat(f"{day}T{time or '00:00:00'}")
    except ValueError:
        raise ValueError("there is no such day or time") from None
    # By numbers, not by zones: 0001-01-01 in Tokyo is before the first datetime there is.
    whole = (moment - _EPOCH) // _MICROSECOND + int((fraction or "0").ljust(6, "0")[:6])
    if sign is None or hours is None:
        return whole
    offset = (int(hours) * 60 + int(minutes)) * 60_000_000
    return whole - offset if sign == "+" else whole + offset


def text_of(instant: int) -> str:
    """Return an instant as RFC 3339 in UTC, without a fraction where there is none."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + instant * _MICROSECOND
    return moment.isoformat().replace("+00:00", "Z")
