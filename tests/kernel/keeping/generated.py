"""Rows of every table that has rows of sites, made from the declarations alone."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Column, Double, Integer, LargeBinary, Table
from sqlalchemy.sql.elements import BinaryExpression

from hansa.kernel.columns import keys_of
from hansa.kernel.keeping import carrying
from hansa.kernel.keeping.belongings import DELIVERIES, EVENTS, Belonging
from hansa.kernel.site import slot_of
from hansa.kernel.storage import PLATFORM, Session, Storage
from hansa.testing.looking import soon


def choices(table: Table) -> dict[str, list[Any]]:
    """The values that an enum's column may have."""
    found: dict[str, list[Any]] = {}
    for rule in table.constraints:
        if not isinstance(rule, CheckConstraint):
            continue
        test: Any = rule.sqltext
        if isinstance(test, BinaryExpression) and test.operator.__name__ == "in_op":
            found[test.left.name] = list(test.right.value)
        elif "IN (" in str(test):
            name, _, values = str(test).partition(" IN (")
            found[name] = [value.strip(" ')") for value in values.split(",")]
    return found


def value_of(column: Column[Any], number: int, site: str, enums: dict[str, list[Any]]) -> Any:
    """A value that is another one in each row, as far as the kind of column allows."""
    if column.name in enums:
        return enums[column.name][number % len(enums[column.name])]
    if column.nullable and number % 3 == 0:
        return None
    if isinstance(column.type, Boolean):
        return number % 2 == 0
    if isinstance(column.type, Integer):
        return number if _must_differ(column) else 0
    if isinstance(column.type, Double):
        return (0.1 * number, float("inf"))[number % 2]
    if isinstance(column.type, LargeBinary):
        return bytes([number % 256, 0, 255])
    if column.name in ("handle", "host"):
        return f"{column.name}-{number}.{site.replace('_', '-')}"
    text = f"{_root(column)}_{number} \u00fc\n'\"\\"
    # Where keys are of all sites together, they have to differ between sites.
    return text if next(iter(column.table.primary_key)).name == "site" else f"{text} {site}"


def _must_differ(column: Column[Any]) -> bool:
    table: Any = column.table
    unique = {c.name for rule in table.constraints for c in getattr(rule, "columns", ())}
    return column.name in unique.union(*keys_of(table).values())


def _root(column: Column[Any]) -> str:
    """What a column's values are called: those of the column that it refers to."""
    for reference in column.foreign_keys:
        if reference.column.name != "site":
            return _root(reference.column)
    return f"{column.table.name}.{column.name}"


async def fill(storage: Storage, rows: Sequence[Belonging], site: str, count: int) -> None:
    """Write `count` rows into each table."""
    for one in rows:
        enums = choices(one.table)
        amount = count if one.key else 1
        made = [_row(one, number, site, enums) for number in range(1, amount + 1)]

        async def body(
            session: Session, one: Belonging = one, made: list[list[Any]] = made
        ) -> None:
            names = one.names
            if one.name == EVENTS:  # numbered by whoever does that on this engine
                names = [name for name in names if name != "position"]
                at = one.names.index("position")
                made = [row[:at] + row[at + 1 :] for row in made]
            await carrying._insert(session, one, names, _encoded(made))

        await storage.write(body, site=site, deadline=soon(), across=True)
        await storage.sequence()
        if one.name == DELIVERIES:
            await _place(storage, site)


def _encoded(rows: Iterable[list[Any]]) -> list[list[Any]]:
    import base64

    return [
        [base64.b64encode(v).decode() if isinstance(v, bytes) else v for v in row] for row in rows
    ]


def _row(one: Belonging, number: int, site: str, enums: dict[str, list[Any]]) -> list[Any]:
    row: list[Any] = []
    for column in one.columns:
        if column.name == one.site or (column.foreign_keys and _is_site(column)):
            row.append(site)
        elif one.name == DELIVERIES and column.name == "event":
            row.append(f"{EVENTS}.id_{number} \u00fc\n'\"\\ {site}")
        elif one.name == EVENTS and column.name in ("seq", "slot"):
            row.append(number if column.name == "seq" else slot_of(site))
        else:
            row.append(value_of(column, number, site, enums))
    return row


def _is_site(column: Column[Any]) -> bool:
    return any(reference.column.table.name == "sites_sites" for reference in column.foreign_keys)


async def _place(storage: Storage, site: str) -> None:
    async def body(session: Session) -> None:
        await session.run(
            "UPDATE hansa_deliveries SET position = (SELECT position FROM hansa_events e"
            f" WHERE e.id = hansa_deliveries.event AND e.site = '{site}') WHERE site = '{site}'"
        )

    await storage.write(body, site=PLATFORM, deadline=soon(), across=True)


async def everything(storage: Storage) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that the database has, asked of the database alone."""

    async def body(session: Session) -> dict[str, list[tuple[Any, ...]]]:
        if session.dialect == "sqlite":
            tables = (
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        else:
            tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace ="
            tables += " current_schema()::regnamespace"
        return {
            row[0]: [tuple(one) for one in await session.fetch(f'SELECT * FROM "{row[0]}"')]
            for row in await session.fetch(tables)
        }

    return await storage.read(body, site=PLATFORM, deadline=soon(), across=True)
