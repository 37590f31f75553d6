"""Tree: what a filter is, once it has been read."""

from collections.abc import Iterator
from typing import Literal

from hansa.kernel.problems import Unprocessable
from hansa.kernel.structs import Struct

Value = str | int | float | bool
Order = Literal["<", "<=", ">", ">="]


class Equals(Struct):
    """A value of the field is this one. `at` is where in the text it begins, here as elsewhere;
    `value_at` where the value does."""

    path: str
    value: Value
    at: int = 0
    value_at: int = 0


class OneOf(Struct):
    """A value of the field is one of these."""

    path: str
    values: tuple[Value, ...]
    at: int = 0
    values_at: tuple[int, ...] = ()


class Compares(Struct):
    """A value of the field is before or after this one."""

    path: str
    order: Order
    value: Value
    at: int = 0
    value_at: int = 0


class Between(Struct):
    """One value of the field is neither before `low` nor after `high`."""

    path: str
    low: Value
    high: Value
    at: int = 0
    low_at: int = 0
    high_at: int = 0


class Exists(Struct):
    """The field has a value."""

    path: str
    at: int = 0


class Not(Struct):
    """What is in it is not so."""

    part: "Filter"
    at: int = 0


class All(Struct):
    """All parts are so. No part of it is an All: make it with `all_of`."""

    parts: tuple["Filter", ...]
    at: int = 0


class Some(Struct):
    """At least one part is so. No part of it is a Some: make it with `some_of`."""

    parts: tuple["Filter", ...]
    at: int = 0


Condition = Equals | OneOf | Compares | Between | Exists
Filter = Condition | Not | All | Some


class InvalidFilter(Unprocessable):
    """A filter that cannot be read, or that the schema does not allow; `position` counts its
    characters from 0."""

    slug = "invalid-filter"
    title = "The filter is not valid"

    def __init__(self, detail: str, position: int) -> None:
        super().__init__(f"At {position}: {detail}", position=position)
        self.position = position


def all_of(*parts: Filter, at: int = 0) -> Filter:
    """Return what holds where all parts hold, of which there is at least one."""
    flat = tuple(_flat(parts, All))
    return flat[0] if len(flat) == 1 else All(flat, at)


def some_of(*parts: Filter, at: int = 0) -> Filter:
    """Return what holds where one of the parts holds, of which there is at least one."""
    flat = tuple(_flat(parts, Some))
    return flat[0] if len(flat) == 1 else Some(flat, at)


def _flat(parts: tuple[Filter, ...], kind: type[All | Some]) -> Iterator[Filter]:
    for part in parts:
        if isinstance(part, All | Some) and isinstance(part, kind):
            yield from part.parts
        else:
            yield part


def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """Return what holds where both hold; None holds everywhere."""
    if one is None or other is None:
        return one if other is None else other
    return all_of(one, other)


def paths(filter: Filter) -> set[str]:
    """Return the dotted paths that a filter speaks of."""
    match filter:
        case All() | Some():
            return set[str]().union(*map(paths, filter.parts))
        case Not():
            return paths(filter.part)
        case _:
            return {filter.path}


def without(filter: Filter | None, path: str) -> Filter | None:
    """Return the filter less those of the parts that all must hold which speak of `path` alone."""
    if filter is None:
        return None
    parts = filter.parts if isinstance(filter, All) else (filter,)
    left = tuple(part for part in parts if paths(part) != {path})
    if len(left) == len(parts):
        return filter
    return all_of(*left) if left else None


def shown(found: str) -> str:
    """Return what somebody wrote, as much of it as a refusal repeats."""
    return found if len(found) <= 40 else f"{found[:40]}…"
