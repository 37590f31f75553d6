"""Faults: what msgspec says of a value, as JSON Pointers (RFC 6901) that clients can follow.

msgspec names places like ``$.lines[0].sku``, and ``[...]`` for the members of a free-form object,
whose names it does not tell; those are found again by decoding with one member at a time.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from hansa.kernel import choices
from hansa.kernel.problems import Fault

TEXT_LENGTH_MAX = 300
"""Characters of a detail or pointer at most: they may quote what was sent."""
SEARCH_BYTES_MAX = 1 << 20
"""Bytes decoded at most to find a member at fault; it stays unnamed in a body that needs more."""

_FIELD = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`", re.DOTALL)


def shorten(text: str) -> str:
    """Return a text that may quote a request, cut to `TEXT_LENGTH_MAX` characters."""
    return text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"


def pointer_of(steps: list[str | int]) -> str:
    """Return the JSON Pointer of a place; "" is the whole body."""
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return shorten("".join("/" + step for step in escaped))


def fault_of(error: msgspec.ValidationError, body: bytes, decoder: Any) -> Fault:
    """Return where and what is wrong in a JSON body that `decoder` has refused with `error`."""
    message = str(error)
    refused = choices.parse(message)
    found = _Search(body, decoder, message).resolve(list(refused.steps))
    field = _FIELD.fullmatch(refused.what)
    if field is not None:
        found.append(field[1])
    return Fault(pointer_of(found), shorten(choices.explained(refused, decoder.type)))


class _Search:
    """Finds the members at fault: a body with only one of them still brings the same message."""

    def __init__(self, body: bytes, decoder: Any, message: str) -> None:
        self._body = body
        self._decoder = decoder
        self._message = message
        self._tries = SEARCH_BYTES_MAX // len(body)
        self._root: list[Any] = []

    def resolve(self, steps: list[str | int | None]) -> list[str | int]:
        """Return the steps with each unknown member named, or those before one not found."""
        known = [step for step in steps if step is not None]
        if len(known) == len(steps):
            return known
        try:
            self._root = [msgspec.json.decode(self._body)]
        except (ValueError, RecursionError):  # what follows the fault is malformed
            return known[: steps.index(None)]
        found: list[str | int] = []
        holder: Any = self._root
        key: Any = 0
        for step in steps:
            member = self._culprit(holder, key) if step is None else step
            if member is None:
                return found
            found.append(member)
            holder, key = holder[key], member
            if not _has(holder, key):
                return found
        return found

    def _culprit(self, holder: Any, key: Any) -> Any:
        """Return the name or index of the member of `holder[key]` that is at fault, or None."""
        value = holder[key]
        try:
            for member, alone in _alone(value):
                if self._tries <= 0:
                    return None
                self._tries -= 1
                holder[key] = alone
                if self._refused():
                    return member
        finally:
            holder[key] = value
        return None

    def _refused(self) -> bool:
        try:
            self._decoder.decode(msgspec.json.encode(self._root[0]))
        except msgspec.ValidationError as error:
            return str(error) == self._message
        return False


def _alone(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each member's name or index, and the value as it is with that member only."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield name, {name: member}
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield index, [member]


def _has(holder: Any, key: Any) -> bool:
    if isinstance(holder, dict):
        return key in holder
    return isinstance(holder, list) and isinstance(key, int) and key < len(holder)
