"""Checking: whether a schema has what a filter speaks of."""

from typing import Final

from hansa.platform.search import instant
from hansa.platform.search.filters.printing import value_text
from hansa.platform.search.filters.tree import (
    All,
    Between,
    Compares,
    Condition,
    Equals,
    Exists,
    Filter,
    InvalidFilter,
    Not,
    OneOf,
    Some,
    Value,
    shown,
)
from hansa.platform.search.schema import ID_FIELD, Field, Schema

INT_MAX: Final = 2**63 - 1
MEMBER_MAX: Final = 2**52
"""How far from zero a number in a json field may be: doubles are there less than one apart, which
keeps comparison exact whatever mixture of whole and broken numbers the others are."""


def check(filter: Filter | None, schema: Schema) -> None:
    """Raise InvalidFilter for a field that is not there or cannot be filtered by, and for a value
    that it cannot have."""
    match filter:
        case None:
            return
        case All() | Some():
            for part in filter.parts:
                check(part, schema)
        case Not():
            check(filter.part, schema)
        case Exists():
            field_of(filter.path, schema, filter.at)
        case Equals():
            _check_value(_compared(filter, schema), filter.path, filter.value, filter.value_at)
        case OneOf():
            field = _compared(filter, schema)
            places = filter.values_at or (filter.at,) * len(filter.values)
            for value, at in zip(filter.values, places, strict=True):
                _check_value(field, filter.path, value, at)
        case Compares():
            _check_order(_compared(filter, schema), filter.path, filter.value, filter.value_at)
        case Between():
            field = _compared(filter, schema)
            _check_order(field, filter.path, filter.low, filter.low_at)
            _check_order(field, filter.path, filter.high, filter.high_at)


def field_of(path: str, schema: Schema, at: int = 0) -> Field:
    """Return the field that a path begins with. Raises InvalidFilter where there is none, or it
    cannot be filtered by, or has no members."""
    if path == ID_FIELD.name:
        return ID_FIELD
    name, dot, _ = path.partition(".")
    field = schema.field(path)
    if field is None:
        raise InvalidFilter(f"there is no field {shown(name)}{schema.hint(name)}", at)
    if field.type in ("text", "stored"):
        raise InvalidFilter(
            f"{name} is a {field.type} field, which cannot be filtered by; keyword fields can", at
        )
    if dot and field.type != "json":
        raise InvalidFilter(f"{name} is a {field.type} field and has no members", at)
    return field


def _compared(condition: Condition, schema: Schema) -> Field:
    field = field_of(condition.path, schema, condition.at)
    if field.type == "json" and "." not in condition.path:
        raise InvalidFilter(
            f"{field.name} is a json field: name a member of it, as {field.name}.colour",
            condition.at,
        )
    return field


def _check_order(field: Field, path: str, value: Value, at: int) -> None:
    if field.type in ("keyword", "bool"):
        raise InvalidFilter(
            f"{path} is a {field.type} field, which has no order: use =, != or IN", at
        )
    if field.type == "json" and isinstance(value, str | bool):
        raise InvalidFilter(f"members of a json field have an order by numbers only: {path}", at)
    _check_value(field, path, value, at)


def _check_value(field: Field, path: str, value: Value, at: int) -> None:
    try:
        _value_as(field, value)
    except ValueError as refused:
        kind = f"a {field.type} field" if field.type != "int" else "an int field"
        raise InvalidFilter(f"{path} is {kind}: {refused}", at) from None


def _value_as(field: Field, value: Value) -> None:
    """Raise ValueError for a value that the field cannot have."""
    found = shown(value_text(value))
    number = None if isinstance(value, str | bool) else value
    match field.type:
        case "keyword" if not isinstance(value, str):
            raise ValueError(f'write a text in quotes, "{found}", not {found}')
        case "bool" if not isinstance(value, bool):
            raise ValueError(f"write true or false, not {found}")
        case "date":
            if not isinstance(value, str):
                raise ValueError(f"write a date, not {found}")
            try:
                instant.micros(value)
            except ValueError as refused:
                raise ValueError(f"{refused}: {found}") from None
        case "int":
            if number is None or int(number) != number:
                raise ValueError(f"write a whole number, not {found}")
            if not -INT_MAX - 1 <= number <= INT_MAX:
                raise ValueError(f"{found} has more than 64 bits")
        case "float":
            if number is None:
                raise ValueError(f"write a number, not {found}")
            try:
                float(number)
            except OverflowError:
                raise ValueError(f"{found} is larger than any there is") from None
        case "json" if number is not None and not -MEMBER_MAX <= number <= MEMBER_MAX:
            raise ValueError(f"its numbers are within ±2^52, which {found} is not")
        case _:
            return
