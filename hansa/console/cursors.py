"""Cursors: where a list goes on, as it stands in an address. Pure.

They are no secret and no right: a made-up one leads to another place of the same list.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from hansa.kernel.problems import Invalid

T = TypeVar("T")

PAGE: Final = 50
"""Rows of a list on a page."""
LENGTH_MAX: Final = 1_000


def cursor_of(*values: int | str) -> str:
    """Return a place in a list as one word."""
    return urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def read_cursor(text: str, *kinds: type) -> tuple[Any, ...]:
    """Return the values of a cursor. Raises Invalid for what is none of these kinds."""
    try:
        found = msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, msgspec.MsgspecError):
        found = None
    fits = isinstance(found, list) and [type(one) for one in found] == list(kinds)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if not fits:
        raise Invalid("The address leads nowhere: begin at the first page of the list.")
    return tuple(found)  # type: ignore[arg-type]  # pyright: ignore[reportUnknownArgumentType]


def part(rows: Sequence[T], cursor: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """Return the rows of a page and the cursor of the next, "" at the end; `rows` has one more
    than a page has, if there are more."""
    if len(rows) <= PAGE:
        return rows, ""
    return rows[:PAGE], cursor(rows[PAGE - 1])
