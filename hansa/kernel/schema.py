"""Schema: what a database really has, told in sentences that can be compared between two of them.

The declared tables are made in an empty database of the same engine, and the same questions are
put to it and to the migrated one, so that no translation of types can hide a difference.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Table

from hansa.kernel import machine
from hansa.kernel.migrating import KernelSchema
from hansa.kernel.revisions import Migrated
from hansa.kernel.storage import PLATFORM, Session, Storage

READ_S: Final = 60.0

Shape = dict[str, frozenset[str]]
"""By table, what is true of it: its columns, keys, constraints, indexes, row security."""


async def differences(
    migrated: Storage, empty: Storage, services: Sequence[Migrated], *, kernel: bool = True
) -> list[str]:
    """Return how the schema in `migrated` differs from what `services` declare; nothing if equal.

    `empty` is a database of the same engine with nothing in it; the declared tables are made there.
    The names of the services' tables begin with the service's, so tables that are there without
    being declared are found too. Raises what the engine raises when a declaration cannot be made.
    """
    from hansa.kernel.migration_sql import declared_statements

    every: list[Migrated] = [*([KernelSchema(migrated.dialect)] if kernel else []), *services]
    tables = [table for service in every for table in service.tables.values()]
    await empty.apply(declared_statements(tables, empty.dialect))
    names = [service.name for service in every]
    prefixes = tuple("hansa_" if name == "kernel" else f"{name}_" for name in names)
    declared = {
        name: facts | _secured(migrated, tables, name)
        for name, facts in (await read_shape(empty, prefixes)).items()
    }
    return compare(declared, await read_shape(migrated, prefixes))


def _secured(storage: Storage, tables: Sequence[Table], name: str) -> frozenset[str]:
    scope = next(table.info.get("scope") for table in tables if table.name == name)
    if storage.dialect == "postgresql" and scope == "site":
        return frozenset({"row security: forced"})
    return frozenset()


def compare(declared: Shape, migrated: Shape) -> list[str]:
    """Return the differences of two shapes as sentences, sorted."""
    found: list[str] = []
    for table in sorted(declared.keys() | migrated.keys()):
        if table not in migrated:
            found.append(f"{table}: is declared, but no revision makes it")
        elif table not in declared:
            found.append(f"{table}: is made by a revision, but not declared")
        else:
            there, here = migrated[table], declared[table]
            found += [f"{table}: only declared: {fact}" for fact in sorted(here - there)]
            found += [f"{table}: only migrated: {fact}" for fact in sorted(there - here)]
    return found


async def lacking(storage: Storage, services: Sequence[Migrated]) -> dict[str, list[str]]:
    """Return by service which declared tables and columns (`table.column`) are not in a database;
    a service that lacks none is left out. One query: what a start can afford."""

    async def body(session: Session) -> Facts:
        question = _SQLITE_NAMES if session.dialect == "sqlite" else _PG_NAMES
        return [(str(table), str(columns)) for table, columns in await session.fetch(question)]

    deadline = machine.monotonic() + READ_S
    there = dict(await storage.read(body, site=PLATFORM, deadline=deadline, across=True))
    found: dict[str, list[str]] = {}
    for service in services:
        names: list[str] = []
        for table in service.tables.values():
            if table.name not in there:
                names.append(table.name)
                continue
            known = there[table.name].split(",")
            gone = [one.name for one in table.columns if one.name not in known]
            names += [f"{table.name}.{column}" for column in gone]
        if names:
            found[service.name] = names
    return found


async def read_shape(storage: Storage, prefixes: tuple[str, ...]) -> Shape:
    """Return the shape of the tables whose names begin with one of `prefixes`."""
    body = _read_sqlite if storage.dialect == "sqlite" else _read_postgres
    deadline = machine.monotonic() + READ_S
    facts = await storage.read(body, site=PLATFORM, deadline=deadline, across=True)
    shape: dict[str, set[str]] = {}
    for table, fact in facts:
        if table.startswith(prefixes):
            shape.setdefault(table, set()).add(fact)
    return {table: frozenset(found) for table, found in shape.items()}


Facts = list[tuple[str, str]]

# ---- SQLite

_SQLITE_NAMES: Final = (
    "SELECT t.name, group_concat(c.name, ',') FROM sqlite_master AS t, "
    "pragma_table_info(t.name) AS c WHERE t.type = 'table' GROUP BY t.name"
)


async def _read_sqlite(session: Session) -> Facts:
    found: Facts = []
    made = await session.fetch(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' "
        "ESCAPE '\\'"
    )
    for table, sql in made:
        found += [(table, fact) for fact in await _sqlite_table(session, str(table), str(sql))]
    return found


async def _sqlite_table(session: Session, table: str, sql: str) -> list[str]:
    facts = [f"check {check}" for check in checks_in(sql)]
    if re.search(r"\bAUTOINCREMENT\b", sql, re.IGNORECASE):
        facts.append("autoincrement")
    columns = await session.fetch(
        'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?1)', (table,)
    )
    key = [str(row[0]) for row in sorted(columns, key=lambda row: row[4]) if row[4]]
    facts.append(f"primary key ({', '.join(key)})")
    for name, kind, not_null, default, _ in columns:
        facts.append(_column(name, kind, not_null, default))
    indexes = await session.fetch(
        'SELECT i.name, i."unique", i.origin, x.name, x.desc FROM pragma_index_list(?1) AS i, '
        "pragma_index_xinfo(i.name) AS x WHERE x.key = 1 AND i.origin <> 'pk' "
        "ORDER BY i.name, x.seqno",
        (table,),
    )
    facts += _sqlite_indexes(indexes)
    made = await session.fetch(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ?1 "
        "AND sql LIKE '% WHERE %'",
        (table,),
    )
    facts += [f"index {name} where {_words(sql.split(' WHERE ', 1)[1])}" for name, sql in made]
    foreign = await session.fetch(
        'SELECT id, "table", "from", "to", on_delete FROM pragma_foreign_key_list(?1) '
        "ORDER BY id, seq",
        (table,),
    )
    return facts + _sqlite_foreign(foreign)


def _column(name: Any, kind: Any, not_null: Any, default: Any) -> str:
    words = [f"column {name} {kind}"]
    if not_null:
        words.append("not null")
    if default is not None:
        words.append(f"default {_words(str(default)).strip('()')}")
    return " ".join(words)


def _sqlite_indexes(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Constraints have made-up names in SQLite, so only true indexes are told by name."""
    grouped: dict[str, list[Sequence[Any]]] = {}
    for row in rows:
        grouped.setdefault(str(row[0]), []).append(row)
    facts: list[str] = []
    for name, parts in grouped.items():
        columns = ", ".join(f"{part[3]}{' desc' if part[4] else ''}" for part in parts)
        unique = "unique " if parts[0][1] else ""
        facts.append(
            f"unique ({columns})" if parts[0][2] == "u" else f"{unique}index {name} ({columns})"
        )
    return facts


def _sqlite_foreign(rows: Sequence[Sequence[Any]]) -> list[str]:
    grouped: dict[Any, list[Sequence[Any]]] = {}
    for row in rows:
        grouped.setdefault(row[0], []).append(row)
    return [
        f"foreign ({', '.join(str(part[2]) for part in parts)}) to {parts[0][1]} "
        f"({', '.join(str(part[3]) for part in parts)}) on delete {parts[0][4]}"
        for parts in grouped.values()
    ]


def checks_in(sql: str) -> list[str]:
    """Return the conditions of the CHECK constraints in a CREATE TABLE statement, without spaces
    that do not matter. Literals may hold parentheses."""
    found: list[str] = []
    for match in re.finditer(r"\bCHECK\s*\(", sql, re.IGNORECASE):
        depth, at, quoted = 1, match.end(), False
        while at < len(sql) and depth:
            letter = sql[at]
            if letter == "'":
                quoted = not quoted
            elif not quoted:
                depth += (letter == "(") - (letter == ")")
            at += 1
        found.append(_words(sql[match.end() : at - 1]))
    return sorted(found)


def _words(text: str) -> str:
    return " ".join(text.replace('"', "").split())


# ---- PostgreSQL


async def _read_postgres(session: Session) -> Facts:
    found: Facts = []
    for question in (_PG_COLUMNS, _PG_CONSTRAINTS, _PG_INDEXES, _PG_SECURITY):
        found += [(str(table), str(fact)) for table, fact in await session.fetch(question)]
    return found


_PG_HERE: Final = "c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')"
_PG_NAMES: Final = f"""
SELECT c.relname, string_agg(a.attname, ',') FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE {_PG_HERE} GROUP BY c.relname"""
_PG_COLUMNS: Final = f"""
SELECT c.relname, 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
       || CASE WHEN a.attidentity <> '' THEN ' identity ' || a.attidentity::text ELSE '' END
       || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE {_PG_HERE}"""
_PG_CONSTRAINTS: Final = f"""
SELECT c.relname, 'constraint ' || k.conname || ' ' || pg_get_constraintdef(k.oid)
FROM pg_class AS c JOIN pg_constraint AS k ON k.conrelid = c.oid
WHERE {_PG_HERE} AND k.contype IN ('c', 'f', 'p', 'u')"""
_PG_INDEXES: Final = f"""
SELECT c.relname, regexp_replace(pg_get_indexdef(i.indexrelid), ' ON \\S+ ', ' ON ')
FROM pg_class AS c JOIN pg_index AS i ON i.indrelid = c.oid
WHERE {_PG_HERE}"""
_PG_SECURITY: Final = f"""
SELECT c.relname, 'row security: forced'
FROM pg_class AS c WHERE {_PG_HERE} AND c.relrowsecurity AND c.relforcerowsecurity"""
