"""Members of json fields as the engine keeps them, since it guesses types. Pure.

It takes a text that reads as a date-time for one, and forgets how it was written; so such a text
gets a mark before it. -0 is another number than 0 to it. A dot in a name begins a member of it.
Hand values over as they are: its own reader of JSON text rounds some doubles to their neighbours.
"""

import re
from collections.abc import Mapping
from typing import Final

MARK: Final = "\x02"
_GUESSED: Final = re.compile(rf"{MARK}|[+-]?\d{{4,}}-\d\d-\d\d", re.ASCII)


def kept(value: object) -> object:
    """Return a decoded JSON value as it goes into the engine."""
    if isinstance(value, str):
        return kept_text(value)
    if isinstance(value, float):
        return value or 0.0
    if isinstance(value, Mapping):
        return {name: kept(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [kept(member) for member in value]
    return value


def kept_text(text: str) -> str:
    """Return a text as it is a term of the engine."""
    return MARK + text if _GUESSED.match(text) else text


def given_text(term: str) -> str:
    """Return the text that a term of the engine, such as a counted one, was."""
    return term.removeprefix(MARK)
