"""Printing: a tree as the text that `parse` reads it from."""

import json

from hansa.platform.search.filters.reading import PART, WORDS
from hansa.platform.search.filters.tree import (
    All,
    Between,
    Compares,
    Equals,
    Exists,
    Filter,
    Not,
    OneOf,
    Some,
    Value,
)


def text_of(filter: Filter | None) -> str:
    """Return a text that says the filter: `parse` gives it back, but for positions."""
    match filter:
        case None:
            return ""
        case All():
            return " AND ".join(_inner(part, Some) for part in filter.parts)
        case Some():
            return " OR ".join(_inner(part) for part in filter.parts)
        case Not():
            return f"NOT {_inner(filter.part, All, Some)}"
        case Equals():
            return f"{_path(filter.path)} = {value_text(filter.value)}"
        case OneOf():
            return f"{_path(filter.path)} IN [{', '.join(map(value_text, filter.values))}]"
        case Compares():
            return f"{_path(filter.path)} {filter.order} {value_text(filter.value)}"
        case Between():
            return f"{_path(filter.path)} {value_text(filter.low)} TO {value_text(filter.high)}"
        case Exists():
            return f"{_path(filter.path)} EXISTS"


def _inner(part: Filter, *kinds: type[Filter]) -> str:
    return f"({text_of(part)})" if isinstance(part, kinds) else text_of(part)


def _path(path: str) -> str:
    return ".".join(
        part if PART.fullmatch(part) and part.lower() not in WORDS else value_text(part)
        for part in path.split(".")
    )


def value_text(value: Value) -> str:
    """Return a value as a filter has it."""
    return json.dumps(value, ensure_ascii=False)
