"""Message: what an endpoint is sent, and which events it wants. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

import msgspec

from hansa.kernel.structs import Struct

LANES: Final = 4
"""Requests that an endpoint gets at once, at most: objects are spread over so many lanes."""
PATTERNS_MAX: Final = 50
_PATTERN: Final = re.compile(r"[a-z][a-z0-9]{1,30}\.(?:\*|[a-z][a-z0-9_]{0,79})")


class Body(Struct):
    """The body of a webhook (Standard Webhooks, "Webhook payload structure"): `sequence` counts the
    events of one object without gaps, `number` those that a site's endpoints were sent."""

    type: str
    timestamp: datetime
    number: int
    object: str
    sequence: int
    version: int
    data: msgspec.Raw


def body_of(
    type: str, at: datetime, number: int, object: str, sequence: int, version: int, data: bytes
) -> bytes:
    """Return the bytes that are sent, and signed, at every try."""
    value = Body(type, at.astimezone(UTC), number, object, sequence, version, msgspec.Raw(data))
    return msgspec.json.encode(value)


def check_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return which events are wanted: `commerce.order_placed`, `commerce.*`; none means all.
    Raises ValueError."""
    wanted = tuple(dict.fromkeys(patterns))
    if len(wanted) > PATTERNS_MAX:
        raise ValueError(f"at most {PATTERNS_MAX} event types")
    for pattern in wanted:
        if _PATTERN.fullmatch(pattern) is None:
            raise ValueError(f"{pattern[:80]!r} is no event type, such as shop.sold or shop.*")
    return wanted


def wants(patterns: Sequence[str], type: str) -> bool:
    """Tell whether an event is wanted."""
    whole = type.partition(".")[0] + ".*"
    return not patterns or type in patterns or whole in patterns


def lane_of(object: str) -> int:
    """Return the lane of an object."""
    return int.from_bytes(blake2b(object.encode(), digest_size=4).digest()) % LANES
