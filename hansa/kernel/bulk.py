"""Bulk: many rows of the same columns inserted at once, for imports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from hansa.kernel.columns import SITE
from hansa.kernel.rows import encoder_of
from hansa.kernel.scoping import dialect_of


@dataclass(frozen=True, slots=True)
class ArrayInsert:
    """One statement for any number of rows on PostgreSQL: an array per column, and the site."""

    sql: str
    columns: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    scoped: bool

    def arguments(self, site: str, rows: Sequence[dict[str, Any]]) -> list[Any]:
        """Return the arrays of the rows' values, after the site where the table has one."""
        arguments: list[Any] = [site] if self.scoped else []
        for name, encode in self.columns:
            values = [row[name] for row in rows]
            arguments.append([encode(value) for value in values] if encode else values)
        return arguments


def array_insert(table: Table, names: Sequence[str]) -> ArrayInsert:
    """Return the statement that inserts rows of the columns `names` into `table`."""
    dialect = dialect_of("postgresql")
    quote, kind_of = dialect.identifier_preparer.quote, dialect.type_compiler_instance.process
    scoped = table.info["scope"] == "site"
    columns = [quote(name) for name in names]
    arrays = [
        f"${place}::{kind_of(table.c[name].type)}[]"
        for place, name in enumerate(names, start=2 if scoped else 1)
    ]
    listed = ", ".join(columns)
    into, taken = (f"{SITE}, {listed}", f"$1::text, {listed}") if scoped else (listed, listed)
    sql = (
        f"INSERT INTO {quote(table.name)} ({into}) SELECT {taken}"
        f" FROM unnest({', '.join(arrays)}) AS new ({listed})"
    )
    encoders = tuple((name, encoder_of(table.c[name].type)) for name in names)
    return ArrayInsert(sql, encoders, scoped)
