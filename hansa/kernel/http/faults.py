"""Faults: what msgspec says of a value, as JSON Pointers (RFC 6901) that clients can follow.

msgspec names places like ``$.lines[0].sku``, and ``[...]`` for the members of a free-form object,
whose names it does not tell; those are found again by decoding with one member at a time.
"""

import re
from typing import Any

import msgspec

from hansa.kernel.problems import Fault

TEXT_LENGTH_MAX = 300
"""Characters of a detail or pointer at most: they may quote what was sent."""
MEMBERS_MAX = 64
"""How many members of a free-form object are tried to find the one at fault."""

_PLACE = re.compile(r"(.*?)(?: - at (?:`key` in )?`\$([^`]*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
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
    match = _PLACE.fullmatch(message)
    what, place = match.groups() if match else (message, "")
    steps: list[str | int | None] = [
        name if name else None if index == "..." else int(index)
        for name, index in _STEP.findall(place or "")
    ]
    found = _resolve(steps, body, decoder, message)
    field = _FIELD.fullmatch(what)
    if field is not None:
        found.append(field[1])
    return Fault(pointer_of(found), shorten(what))


def _resolve(
    steps: list[str | int | None], body: bytes, decoder: Any, message: str
) -> list[str | int]:
    """Return the steps with each unknown member named; they end before one that is not found."""
    found: list[str | int] = []
    document: Any = msgspec.json.decode(body) if None in steps else None
    holder: Any = [document]
    key: Any = 0
    for step in steps:
        value = holder[key]
        if step is None:
            name = _culprit(value, holder, key, document, decoder, message)
            if name is None:
                return found
            step = name
        found.append(step)
        if document is not None:
            holder, key = value, step
            if not _has(holder, key):
                return found
    return found


def _has(holder: Any, key: Any) -> bool:
    if isinstance(holder, dict):
        return key in holder
    return isinstance(holder, list) and isinstance(key, int) and key < len(holder)  # pyright: ignore[reportUnknownArgumentType]


def _culprit(
    value: Any, holder: Any, key: Any, document: Any, decoder: Any, message: str
) -> str | int | None:
    """Return the member of `value` that alone still brings the same message."""
    if isinstance(value, dict):
        members: list[tuple[Any, Any]] = [(name, {name: value[name]}) for name in value]  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(value, list):
        members = [(place, [one]) for place, one in enumerate(value)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    else:
        return None
    try:
        for name, alone in members[:MEMBERS_MAX]:
            holder[key] = alone
            whole = alone if holder[0] is alone and document is value else document
            try:
                decoder.decode(msgspec.json.encode(whole))
            except msgspec.ValidationError as error:
                if str(error) == message:
                    found: str | int = name
                    return found
    finally:
        holder[key] = value
    return None
