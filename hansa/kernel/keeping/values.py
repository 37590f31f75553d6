"""Values: what of a row is told otherwise in JSON than in a database, table by table. Pure."""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Boolean, Column, Double, LargeBinary

from hansa.kernel.keeping.belongings import Belonging

Change = tuple[int, Callable[[Any], Any]]
"""A place in a row, and what to make of the value there, unless it is None."""


def outward(columns: Sequence[Column[Any]]) -> list[Change]:
    """Return what makes a row's values ready for JSON; `inward` is its inverse."""
    kinds = ((Boolean, bool), (Double, _told), (LargeBinary, bytes))
    return _changes(columns, kinds)


def inward(one: Belonging, columns: Sequence[Column[Any]]) -> list[Change]:
    """Return what makes a row's values ready for a table. What was of a process is nobody's."""
    changes = _changes(columns, ((Double, float), (LargeBinary, base64.b64decode)))
    own = [(place, one.own(column.name)) for place, column in enumerate(columns)]
    return [*changes, *((place, _always(value)) for place, value in own if value is not None)]


def change(row: Sequence[Any], changes: Sequence[Change]) -> list[Any]:
    """Return a row with its changes made."""
    values = list(row)
    for place, make in changes:
        if values[place] is not None:
            values[place] = make(values[place])
    return values


def _changes(
    columns: Sequence[Column[Any]], kinds: Sequence[tuple[Any, Callable[[Any], Any]]]
) -> list[Change]:
    return [
        (place, make)
        for place, column in enumerate(columns)
        for kind, make in kinds
        if isinstance(column.type, kind)
    ]


def _told(value: float) -> Any:
    return value if math.isfinite(value) else repr(float(value))


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda _: value
