# pyright: reportPrivateUsage=false
"""Paging: a list in parts, each beginning after the last row of the one before (a keyset).

A page costs the same however deep it is, and rows that come or go in between neither repeat others
nor hide them. A cursor holds the order columns of the last row and a mark of its list; it is not
secret, and what it says only chooses a place within what the caller may see anyhow.

What must never happen here: a cursor that is not checked reaching the database.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    LargeBinary,
    Select,
    Table,
    Text,
    and_,
    or_,
    tuple_,
)
from sqlalchemy import Boolean as BooleanKind
from sqlalchemy import bindparam as bind
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ColumnElement, UnaryExpression

from hansa.kernel.columns import COLUMNS, SITE, Json, keys_of
from hansa.kernel.problems import Invalid
from hansa.kernel.scoping import StatementRefused

PAGE_MAX: Final = 100
CURSOR_LENGTH_MAX: Final = 2048
"""Letters of a cursor; a list whose order columns are longer cannot be read in pages."""
LIMIT: Final = "hansa_page_limit"

_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]+")
_SIGNED_64: Final = 1 << 63


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Pages:
    """A list's statements for the first page and for the later ones, and the order of its rows."""

    first: Any
    later: Any
    columns: tuple[Column[Any], ...]
    mark: str

    def parameters(self, cursor: str) -> dict[str, Any]:
        """Return the parameters of `later` that a cursor stands for.

        Raises Invalid (`invalid-cursor`) for one that this list did not give.
        """
        try:
            values = _opened(cursor, len(self.columns), self.mark)
        except (ValueError, msgspec.MsgspecError):
            values = ()
        if len(values) != len(self.columns) or not all(map(_fits, self.columns, values)):
            raise Invalid(
                "The cursor is not one that this list gave; begin again without it.",
                slug="invalid-cursor",
            )
        return {f"hansa_page_{place}": value for place, value in enumerate(values)}

    def cursor(self, row: Sequence[Any]) -> str:
        """Return the cursor of the place after a row of `first` or `later`."""
        values = list(row)[-len(self.columns) :]
        data = msgspec.json.encode([self.mark, *values])
        cursor = binascii.b2a_base64(data, newline=False).decode("ascii").rstrip("=")
        if len(cursor) > CURSOR_LENGTH_MAX:
            raise ValueError("the order columns of this row are too long for a cursor")
        return cursor.translate(_TO_URL)


_TO_URL: Final = str.maketrans("+/", "-_")
_FROM_URL: Final = str.maketrans("-_", "+/")


def check_limit(limit: int) -> int:
    """Return how many items are wanted. Raises Invalid (`invalid-limit`) outside of 1 to 100."""
    if not 1 <= limit <= PAGE_MAX:
        raise Invalid(f"limit is 1 to {PAGE_MAX}.", slug="invalid-limit")
    return limit


def pages_of(statement: Any, order: Sequence[ColumnElement[Any]]) -> Pages:
    """Return the statements that read `statement` in pages.

    `order` is columns, or columns with `.desc()` or `.asc()`; where they do not hold a unique key,
    the table's key is added behind them. Raises StatementRefused for an order by anything else, by
    nullable columns, and for a statement with an order or limit of its own.
    """
    if not isinstance(statement, Select):
        raise StatementRefused("pages of something else than a select; make it a subquery")
    if statement._order_by_clauses or statement._limit_clause is not None:
        raise StatementRefused("a list in pages with an order or limit of its own; use order=")
    wanted = _unique([_direction(one) for one in order])
    columns = tuple(column for column, _ in wanted)
    keys = [column.label(f"hansa_key_{place}") for place, column in enumerate(columns)]
    first = (
        statement.add_columns(*keys)
        .order_by(*(column.desc() if down else column.asc() for column, down in wanted))
        .limit(bind(LIMIT, type_=BigInteger()))
    )
    shape = "/".join(f"{c.table.name}.{c.name}{'-' if down else '+'}" for c, down in wanted)
    mark = blake2b(shape.encode(), digest_size=4).hexdigest()
    return Pages(first, first.where(_after(wanted)), columns, mark)


def _direction(one: Any) -> tuple[Column[Any], bool]:
    down = False
    if isinstance(one, UnaryExpression) and one.modifier in (operators.asc_op, operators.desc_op):
        down = one.modifier is operators.desc_op
        one = one.element
    column: Any = one
    if type(column) not in COLUMNS or isinstance(column.type, (Json, LargeBinary, BooleanKind)):
        raise StatementRefused(f"pages in the order of {column}; use columns, or their desc()")
    if column.nullable:
        raise StatementRefused(f"pages in the order of {column.name}, which may be null")
    return column, down


def _unique(wanted: list[tuple[Column[Any], bool]]) -> list[tuple[Column[Any], bool]]:
    """Return the order with the table's key behind it, unless it has a unique one already."""
    if not wanted:
        raise StatementRefused("pages without an order; name the columns, order=(t.c.id,)")
    source: Any = wanted[0][0].table
    table = source if isinstance(source, Table) else getattr(source, "element", None)
    if not isinstance(table, Table):
        return wanted
    names = {column.name for column, _ in wanted if column.table is source} | {SITE}
    if any(names.issuperset(one) for one in keys_of(table).values()):
        return wanted
    down = wanted[-1][1]
    key = [source.c[column.name] for column in table.primary_key.columns]
    return [*wanted, *((column, down) for column in key if column.name not in names)]


def _after(wanted: Sequence[tuple[Column[Any], bool]]) -> ColumnElement[bool]:
    """Return the condition of the rows behind the one that the parameters stand for."""
    values = [
        bind(f"hansa_page_{place}", type_=column.type) for place, (column, _) in enumerate(wanted)
    ]
    if len({down for _, down in wanted}) == 1:  # one comparison of rows, which an index answers
        here, there = tuple_(*(column for column, _ in wanted)), tuple_(*values)
        if len(wanted) == 1:
            here, there = wanted[0][0], values[0]  # type: ignore[assignment]
        return here < there if wanted[0][1] else here > there
    cases: list[ColumnElement[bool]] = []
    for place, (column, down) in enumerate(wanted):
        same = [before == values[n] for n, (before, _) in enumerate(wanted[:place])]
        cases.append(and_(*same, column < values[place] if down else column > values[place]))
    return or_(*cases)


def _opened(cursor: str, count: int, mark: str) -> Sequence[Any]:
    if len(cursor) > CURSOR_LENGTH_MAX or _CURSOR.fullmatch(cursor) is None:
        raise ValueError("not of the letters of base64url")
    padded = cursor.translate(_FROM_URL) + "=" * (-len(cursor) % 4)
    data = binascii.a2b_base64(padded, strict_mode=True)
    found = msgspec.json.decode(data, type=list[str | int | float])
    if len(found) != count + 1 or found[0] != mark:
        raise ValueError("of another list")
    return found[1:]


def _fits(column: Column[Any], value: Any) -> bool:
    """Tell whether a value can be one of the column, as it is stored."""
    if isinstance(column.type, Text):
        return isinstance(value, str) and "\0" not in value
    if isinstance(column.type, Double):
        return isinstance(value, (int, float))
    return isinstance(value, int) and -_SIGNED_64 <= value < _SIGNED_64
