"""Zones: the time zones a site may live in, by their names in the IANA time zone database."""

import zoneinfo
from functools import lru_cache


def check_zone(name: str) -> str:
    """Return the name of a time zone such as ``Europe/Berlin``. Raises ValueError for others."""
    if name not in _names():
        raise ValueError(
            f"{name[:64]!r} is not a time zone of the IANA database, such as UTC or Europe/Berlin"
        )
    return name


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - {"localtime", "posixrules", "Factory"})
