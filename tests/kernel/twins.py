"""Twins: two databases of one engine, with the rows of two sites and with those of one alone.

The sites have the same identifiers and handles, so that a leak meets something to join. There is no
row-level security here: the compiler's scoping stands alone.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

import apsw
import asyncpg
from sqlalchemy import Table

from hansa.kernel.compiler import Statements
from hansa.kernel.migration_sql import declared_statements
from hansa.kernel.scoping import SITE_PARAMETER
from hansa.kernel.storage import Dialect
from tests.kernel.authoring import TABLES, lines, products

HERE, THERE = "here", "there"


def rows_of(site: str) -> list[tuple[Table, dict[str, Any]]]:
    far = 1000 if site == THERE else 0
    found: list[tuple[Table, dict[str, Any]]] = [
        (products, {"site": site, "id": f"p{n}", "handle": f"h{n}", "title": f"{site.title()} {n}",
                    "price": far + n, "live": n % 2 == 0})
        for n in range(4 if far else 3)
    ]  # fmt: skip
    found += [
        (lines, {"site": site, "id": f"l{n}", "product": f"p{n % 3}", "n": far + n,
                 "note": None if n == 1 else f"{site} note"})
        for n in range(4)
    ]  # fmt: skip
    return found


def schema(dialect: Dialect) -> list[str]:
    return declared_statements(TABLES, dialect)


# ---- the engines

Outcome = tuple[Any, ...]


class Engine(Protocol):
    """Two databases: `both` has the rows of two sites, the other one those of HERE."""

    dialect: Dialect
    untouched: Any
    """THERE's rows as they were written."""

    def outcome(self, sql: str, args: Any, both: bool) -> Outcome:
        """What a statement returns, what it leaves of HERE's rows, and of all others; undone."""
        ...


def sort(rows: Any) -> list[str]:
    return sorted(repr(tuple(row)) for row in rows)


LOOKS = [
    "SELECT * FROM shop_products WHERE site {} 'here'",
    "SELECT * FROM shop_lines WHERE site {} 'here'",
]
REGIONS = "SELECT * FROM shop_regions"


class SqliteEngine:
    dialect: Dialect = "sqlite"

    def __init__(self) -> None:
        self.databases = {both: apsw.Connection(":memory:") for both in (True, False)}
        for both, connection in self.databases.items():
            connection.pragma("foreign_keys", True)
            for made in schema("sqlite"):
                connection.execute(made)
            for site in (HERE, THERE) if both else (HERE,):
                for table, row in rows_of(site):
                    marks = ", ".join("?" * len(row))
                    connection.execute(
                        f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({marks})",
                        tuple(row.values()),
                    )
            for code, name, place in REGION_ROWS:
                connection.execute("INSERT INTO shop_regions VALUES (?, ?, ?)", (code, name, place))
        self.untouched = self.outcome("SELECT 1", (), both=True)[2]

    def outcome(self, sql: str, args: Any, both: bool) -> Outcome:
        connection = self.databases[both]
        connection.execute("BEGIN")
        try:
            try:
                returned: Any = sort(connection.execute(sql, args).fetchall())
            except apsw.ConstraintError as error:
                returned = str(error)
            here = [sort(connection.execute(look.format("="))) for look in LOOKS]
            here.append(sort(connection.execute(REGIONS)))
            there = [sort(connection.execute(look.format("<>"))) for look in LOOKS]
        finally:
            connection.execute("ROLLBACK")
        return returned, here, there


REGION_ROWS = [("p0", "h1", 1), ("p1", "Here 1", 2), ("eu", "There 1", 1000)]


class PostgresEngine:
    dialect: Dialect = "postgresql"

    def __init__(self, dsn: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.databases: dict[bool, asyncpg.Connection[Any]] = {}
        for both in (True, False):
            self.databases[both] = self.wait(self._open(dsn, both))
        self.untouched = self.outcome("SELECT 1", (), both=True)[2]

    def wait(self, awaited: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(awaited)

    async def _open(self, dsn: str, both: bool) -> "asyncpg.Connection[Any]":
        name = "two_sites" if both else "one_site"
        connection = await asyncpg.connect(dsn, server_settings={"search_path": name, "jit": "off"})
        await connection.execute(f"CREATE SCHEMA {name}")
        for made in schema("postgresql"):
            await connection.execute(made)
        for site in (HERE, THERE) if both else (HERE,):
            for table, row in rows_of(site):
                marks = ", ".join(f"${place + 1}" for place in range(len(row)))
                await connection.execute(
                    f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({marks})", *row.values()
                )
        for region in REGION_ROWS:
            await connection.execute("INSERT INTO shop_regions VALUES ($1, $2, $3)", *region)
        return connection

    def outcome(self, sql: str, args: Any, both: bool) -> Outcome:
        found: Outcome = self.wait(self._outcome(self.databases[both], sql, args))
        return found

    async def _outcome(self, connection: Any, sql: str, args: Any) -> Outcome:
        transaction = connection.transaction()
        await transaction.start()
        try:
            try:
                async with connection.transaction():
                    returned: Any = sort(await connection.fetch(sql, *args))
            except asyncpg.IntegrityConstraintViolationError as error:
                returned = f"{type(error).__name__} {error.constraint_name}"
            here = [sort(await connection.fetch(look.format("="))) for look in LOOKS]
            here.append(sort(await connection.fetch(REGIONS)))
            there = [sort(await connection.fetch(look.format("<>"))) for look in LOOKS]
        finally:
            await transaction.rollback()
        return returned, here, there

    def close(self) -> None:
        for connection in self.databases.values():
            self.wait(connection.close())
        self.loop.close()


def leak(engine: Engine, compiler: Statements, statement: Any) -> str:
    """What a statement of HERE shows or changes of THERE; nothing where all is well."""
    compiled = compiler.find(statement, None, "shop")
    args = compiled.arguments({SITE_PARAMETER: HERE})
    returned, here, there = engine.outcome(compiled.sql, args, both=True)
    alone, here_alone, _ = engine.outcome(compiled.sql, args, both=False)
    found = [
        name
        for name, one, two in (
            ("returned", returned, alone),
            ("here", here, here_alone),
            ("there", there, engine.untouched),
        )
        if one != two
    ]
    return f"{found}: {compiled.sql}" if found else ""
