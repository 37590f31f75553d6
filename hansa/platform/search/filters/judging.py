"""Judging: whether a filter lets a document through, in the plainest way.

The engine says the same of the documents that it has; this is for one that it has not.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hansa.platform.search import instant
from hansa.platform.search.filters.tree import (
    All,
    Between,
    Compares,
    Equals,
    Exists,
    Filter,
    Not,
    OneOf,
    Order,
    Some,
    Value,
)
from hansa.platform.search.schema import Schema


def lets_through(filter: Filter, document: Mapping[str, Any], schema: Schema) -> bool:
    """Tell whether a document is one that a filter lets through; both fit the schema."""
    match filter:
        case All():
            return all(lets_through(part, document, schema) for part in filter.parts)
        case Some():
            return any(lets_through(part, document, schema) for part in filter.parts)
        case Not():
            return not lets_through(filter.part, document, schema)
        case Exists():
            return any(True for _ in _values(document, filter.path, below=True))
        case _:
            is_date = _is_date(filter.path, schema)
            values = [_comparable(one, is_date) for one in _values(document, filter.path)]
            return any(_holds(filter, value, is_date) for value in values)


def _holds(
    filter: Equals | OneOf | Compares | Between, value: tuple[str, Any], is_date: bool
) -> bool:
    kind, number = value
    match filter:
        case Equals():
            return value == _comparable(filter.value, is_date)
        case OneOf():
            return value in [_comparable(one, is_date) for one in filter.values]
        case Compares():
            than = _comparable(filter.value, is_date)
            return kind == than[0] == "number" and _is_so(number, filter.order, than[1])
        case Between():
            low, high = _comparable(filter.low, is_date), _comparable(filter.high, is_date)
            return kind == low[0] == high[0] == "number" and bool(low[1] <= number <= high[1])


def _is_so(one: Any, order: Order, other: Any) -> bool:
    held = {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}
    return bool(held[order])


def _is_date(path: str, schema: Schema) -> bool:
    field = schema.field(path)
    return field is not None and field.type == "date"


def _comparable(value: Value, is_date: bool) -> tuple[str, Any]:
    """Return what kind of value it is, and the value, so that 1 is not True, nor a text a date."""
    if is_date:
        return "number", instant.micros(str(value))
    if isinstance(value, bool):
        return "bool", value
    return ("text" if isinstance(value, str) else "number"), value


def _values(value: Any, path: str, *, below: bool = False) -> Iterator[Any]:
    """Yield the values at a path, and those `below` it, of members whose names may have dots."""
    if isinstance(value, list):
        for one in value:
            yield from _values(one, path, below=below)
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if path == name or (below and (not path or name.startswith(f"{path}."))):
                yield from _values(member, "", below=below)
            elif path.startswith(f"{name}."):
                yield from _values(member, path[len(name) + 1 :], below=below)
    elif value is not None and not path:
        yield value
