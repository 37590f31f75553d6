"""Patience: how often and when a message is tried, and when an endpoint is given up. Pure.

The waits are those that Standard Webhooks recommends, with jitter; together they take 76 hours.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Final

MINUTE, HOUR = 60, 3600
WAITS_S: Final = (
    5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR,
)  # fmt: skip
"""Before each further try; after the last one a message has failed."""
JITTER: Final = 0.2
"""By how much of itself a wait may be longer, so that many do not come back at once."""
AFTER_MAX_S: Final = 24 * HOUR
"""As long as a receiver may ask to be left alone."""
GIVEN_UP_AFTER: Final = timedelta(days=5)
"""An endpoint that took nothing for so long is disabled."""


def taken(status: int) -> bool:
    """Tell whether a receiver took a message: any status from 200 to 299, and nothing else."""
    return 200 <= status < 300


def next_try(
    message: str, tries: int, now: datetime, waits_s: Sequence[int], after_s: int | None
) -> datetime | None:
    """Return when a message that failed `tries` times is tried again, None for never.

    The jitter is drawn from the message and the try, so that a replayed clock draws it again.
    `after_s` is what the receiver asked for (`Retry-After`); it makes the wait longer only.
    """
    if tries > len(waits_s):
        return None
    digest = blake2b(f"{message}\0{tries}".encode(), digest_size=4).digest()
    wait_s = waits_s[tries - 1] * (1 + JITTER * int.from_bytes(digest) / 2**32)
    return now + timedelta(seconds=max(wait_s, min(after_s or 0, AFTER_MAX_S)))


def asked_wait_s(retry_after: str, now: datetime) -> int | None:
    """Return the seconds that a `Retry-After` asks for (RFC 9110 section 10.2.3), None where it
    says nothing that can be understood."""
    text = retry_after.strip()
    if text.isdecimal() and text.isascii() and len(text) <= 9:
        return int(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0, int((at - now).total_seconds())) if at.tzinfo is not None else None


def is_hopeless(status: int, failing_since: datetime | None, now: datetime) -> bool:
    """Tell whether an endpoint is to be disabled: it says that it is gone (410), or has taken
    nothing for five days."""
    return status == 410 or (failing_since is not None and now - failing_since >= GIVEN_UP_AFTER)
