"""Migration SQL: what the revisions of a service say to a database, as text.

Alembic runs offline here, so that only our own engine ever opens the database. This module is
imported when there is something to apply, never before: Alembic costs a third of a second.
"""

import importlib.util
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Dialect as SqlDialect
from sqlalchemy import MetaData, Table
from sqlalchemy.dialects.postgresql.asyncpg import dialect as PostgresDialect
from sqlalchemy.dialects.sqlite.pysqlite import dialect as SqliteDialect
from sqlalchemy.schema import CreateIndex, CreateTable

from hansa.kernel.columns import completed
from hansa.kernel.revisions import Migrated, Revision, RevisionsInvalid, chain_of
from hansa.kernel.storage import Dialect


def sql_dialect(dialect: Dialect) -> SqlDialect:
    """Return SQLAlchemy's dialect for one of our engines, without its driver."""
    made: Any = PostgresDialect if dialect == "postgresql" else SqliteDialect
    found: SqlDialect = made()
    return found


def statements_of(revision: Revision, dialect: Dialect) -> list[str]:
    """Return the SQL statements of a revision. Raises RevisionsInvalid when it cannot be run
    offline, with the reason."""
    where = f"{revision.file.name} of {revision.service}"
    spec = importlib.util.spec_from_file_location(
        f"hansa_revision_{revision.service}_{revision.revision}", revision.file
    )
    if spec is None or spec.loader is None:
        raise RevisionsInvalid(f"{where} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    found: list[str] = []
    context = MigrationContext.configure(
        dialect=sql_dialect(dialect),
        opts={"as_sql": True, "literal_binds": True, "output_buffer": io.StringIO()},
    )
    # One call per statement; the joined text could not be split again for sure.
    context.impl.static_output = lambda text: found.append(text.strip().removesuffix(";"))  # type: ignore[method-assign]
    try:
        spec.loader.exec_module(module)
        with Operations.context(context):
            upgrade: Any = module.upgrade
            upgrade()
    except Exception as error:
        raise RevisionsInvalid(f"{where} on {dialect}: {type(error).__name__}: {error}") from error
    return found


def declared_statements(tables: Sequence[Table], dialect: Dialect) -> list[str]:
    """Return the SQL that makes declared tables and their indexes as they stand in the code."""
    target = sql_dialect(dialect)
    found: list[str] = []
    for table in completed(tables, MetaData()):
        found.append(str(CreateTable(table).compile(dialect=target)).strip())
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        found += [str(CreateIndex(index).compile(dialect=target)).strip() for index in indexes]
    return found


# ---- what a statement does to the schema


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that a revision breaks: which statement, and what to do instead."""

    service: str
    revision: str
    statement: str
    advice: str

    def __str__(self) -> str:
        return f"{self.service} {self.revision}: {self.statement!r}: {self.advice}"


_TAKES_AWAY: Final = (
    (r"\bDROP TABLE\b", "dropping a table belongs into a contract revision"),
    (r"\bDROP COLUMN\b", "dropping a column belongs into a contract revision"),
    (r"\bDROP CONSTRAINT\b", "dropping a constraint belongs into a contract revision"),
    (r"\bALTER COLUMN \S+ (SET DATA )?TYPE\b", "add a new column; drop the old one in a contract"),
    (r"\bALTER COLUMN \S+ SET NOT NULL\b", "NOT NULL on a column in use belongs into a contract"),
    (r"\bRENAME\b", "the release before does not know the new name; add, copy, drop in a contract"),
    (r"\bTRUNCATE\b", "emptying a table belongs into a contract revision"),
)
_ADDS: Final = (
    (r"^CREATE TABLE\b", "make tables in an expand revision: they come before the code"),
    (r"\bADD COLUMN\b", "add columns in an expand revision: they come before the code"),
)
_NOT_NULL_ADDED: Final = re.compile(r"\bADD COLUMN\b(?!.*\bDEFAULT\b).*\bNOT NULL\b", re.IGNORECASE)
_LITERALS: Final = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED: Final = re.compile(r'"([^"]*)"')
_CREATES: Final = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.IGNORECASE)
_DROPS: Final = re.compile(r"^DROP TABLE (?:IF EXISTS )?(\w+)", re.IGNORECASE)
_RENAMES: Final = re.compile(r"^ALTER TABLE (\w+) RENAME TO (\w+)", re.IGNORECASE)


def lint(revision: Revision) -> list[Fault]:
    """Return what a revision does that its phase does not allow.

    PostgreSQL's text is judged, where every change is a statement of its own. SQLite's is judged
    too, except for what Alembic writes to rebuild a table, which its PostgreSQL text shows plainly.
    """
    found = _faults(revision, statements_of(revision, "postgresql"))
    known = {fault.advice for fault in found}
    on_sqlite = _faults(revision, statements_of(revision, "sqlite"))
    return found + [fault for fault in on_sqlite if fault.advice not in known]


def lint_all(services: Sequence[Migrated]) -> list[Fault]:
    """Return what is wrong with any revision of the services. Raises RevisionsInvalid."""
    return [
        fault for service in services for revision in chain_of(service) for fault in lint(revision)
    ]


def _faults(revision: Revision, statements: Sequence[str]) -> list[Fault]:
    found: list[Fault] = []
    for statement in _without_rebuilding(statements):
        plain = _plain(statement)
        rules = _TAKES_AWAY if revision.phase == "expand" else _ADDS
        advice = [text for pattern, text in rules if re.search(pattern, plain, re.IGNORECASE)]
        if revision.phase == "expand" and _NOT_NULL_ADDED.search(plain):
            advice.append("a new NOT NULL column needs a server_default: the release before "
                          "does not write it")  # fmt: skip
        shown = " ".join(statement.split())
        found += [Fault(revision.service, revision.revision, shown[:120], text) for text in advice]
    return found


def _plain(statement: str) -> str:
    """The statement without its literals, comments and quotes, so that only its words are left."""
    return " ".join(_QUOTED.sub(r"\1", _LITERALS.sub("''", statement)).split())


def _without_rebuilding(statements: Sequence[str]) -> list[str]:
    """Leave out what Alembic's batch mode does on SQLite: copy into a new table, drop, rename."""
    temporary = {
        match[1].removeprefix("_alembic_tmp_")
        for match in (_CREATES.match(_plain(statement)) for statement in statements)
        if match is not None and match[1].startswith("_alembic_tmp_")
    }
    if not temporary:
        return list(statements)
    left: list[str] = []
    for statement in statements:
        plain = _plain(statement)
        dropped = _DROPS.match(plain)
        if "_alembic_tmp_" in plain or (dropped is not None and dropped[1] in temporary):
            continue
        left.append(statement)
    return left


def tables_after(revisions: Sequence[Revision], dialect: Dialect) -> set[str]:
    """Return the names of the tables that are there when `revisions` have been applied."""
    names: set[str] = set()
    for revision in revisions:
        for statement in statements_of(revision, dialect):
            plain = _plain(statement)
            if match := _CREATES.match(plain):
                names.add(match[1])
            elif match := _DROPS.match(plain):
                names.discard(match[1])
            elif match := _RENAMES.match(plain):
                names.discard(match[1])
                names.add(match[2])
    return names
