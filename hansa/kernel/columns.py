"""Columns and tables: what a service keeps, in some ten portable kinds.

Every key of a site's table begins with the site. A kind says how a value rests on both engines:

    text, enum      TEXT                     integer   BIGINT
    instant         BIGINT, microseconds     real      DOUBLE PRECISION
    date            TEXT, ISO 8601           boolean   BOOLEAN (0 and 1 on SQLite)
    json            TEXT, as written         binary    BLOB / BYTEA
    money           two columns, `<name>_minor` BIGINT and `<name>_currency` TEXT
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.sql.elements import ColumnElement

from hansa.kernel.operation import Scope

SITE = "site"


class Instant(BigInteger):
    """Microseconds since 1970 in UTC; an aware datetime in Python."""

    cache_ok = True


class Day(Text):
    """A calendar day as ISO 8601 text; a date in Python."""

    cache_ok = True


class Json(Text):
    """JSON text, kept as it was written; in Python what the field's type says."""

    cache_ok = True


@dataclass(frozen=True)
class Part:
    """A declared column (money: two) with what the table must know of it."""

    name: str
    columns: tuple[Column[Any], ...]
    primary: bool = False
    unique: bool = False
    index: bool = False
    checks: tuple[ColumnElement[bool], ...] = ()


def _part(
    name: str,
    kind: Any,
    *,
    nullable: bool = False,
    primary: bool = False,
    unique: str = "",
    index: bool = False,
) -> Part:
    if unique not in ("", "site"):
        raise ValueError(f'{name}: unique="site" is the only kind of uniqueness')
    column: Column[Any] = Column(name, kind, nullable=nullable)
    return Part(name, (column,), primary, unique == "site", index)


def text(name: str, **options: Any) -> Part:
    """Declare a text. Options of every kind: `nullable`, `primary`, `unique="site"`, `index`."""
    return _part(name, Text(), **options)


def integer(name: str, **options: Any) -> Part:
    """Declare a whole number of 64 bits."""
    return _part(name, BigInteger(), **options)


def real(name: str, **options: Any) -> Part:
    """Declare a floating-point number; never for money."""
    return _part(name, Double(), **options)


def boolean(name: str, **options: Any) -> Part:
    """Declare a truth value."""
    return _part(name, Boolean(create_constraint=False), **options)


def instant(name: str, **options: Any) -> Part:
    """Declare a point in time, exact to the microsecond."""
    return _part(name, Instant(), **options)


def date(name: str, **options: Any) -> Part:
    """Declare a calendar day."""
    return _part(name, Day(), **options)


def json(name: str, **options: Any) -> Part:
    """Declare a value of any JSON form, typed by the Struct it is read into."""
    return _part(name, Json(), **options)


def binary(name: str, **options: Any) -> Part:
    """Declare bytes."""
    return _part(name, LargeBinary(), **options)


def enum(name: str, values: Sequence[str], **options: Any) -> Part:
    """Declare a text that is one of `values`; the database refuses any other."""
    part = _part(name, Text(), **options)
    return Part(
        name, part.columns, part.primary, part.unique, part.index,
        (part.columns[0].in_(values),),
    )  # fmt: skip


def money(name: str, *, nullable: bool = False) -> Part:
    """Declare an amount: minor units and currency; a Money in Python."""
    return Part(
        name,
        (
            Column(f"{name}_minor", BigInteger(), nullable=nullable),
            Column(f"{name}_currency", Text(), nullable=nullable),
        ),
    )


def build_table(
    metadata: MetaData,
    service: str,
    name: str,
    parts: Iterable[Part],
    *,
    scope: Scope = "site",
    prefix: str = "",
    primary: Sequence[str] = (),
    unique: Sequence[Sequence[str]] = (),
    index: Sequence[Sequence[str]] = (),
    foreign: Sequence[tuple[Sequence[str] | str, Table]] = (),
    checks: Sequence[str] = (),
) -> Table:
    """Return the table `<service>_<name>`.

    Without a primary part it has an `id`, a TypeID of the type `prefix`. `unique` and `index` are
    lists of columns, `foreign` pairs of columns here and the table whose key they are, `checks`
    SQL conditions that both engines understand. On a site's table the site stands first in each.
    """
    full = f"{service}_{name}"
    declared = list(parts)
    key = list(primary) or [part.name for part in declared if part.primary]
    columns: list[Column[Any]] = []
    if not key:
        key = ["id"]
        columns.append(Column("id", Text(), nullable=False))
    head = [SITE] if scope == "site" else []
    if head:
        columns.insert(0, Column(SITE, Text(), nullable=False))
    columns += [column for part in declared for column in part.columns]
    rules: list[Any] = [PrimaryKeyConstraint(*head, *key, name=f"{full}_key")]
    several = [[part.name] for part in declared if part.unique] + [list(one) for one in unique]
    rules += [
        UniqueConstraint(*head, *one, name=f"{full}_{'_'.join(one)}_unique") for one in several
    ]
    ordered = [[part.name] for part in declared if part.index] + [list(one) for one in index]
    rules += [Index(f"{full}_{'_'.join(one)}_index", *head, *one) for one in ordered]
    for here, there in foreign:
        mine = [here] if isinstance(here, str) else list(here)
        theirs = [column.name for column in there.primary_key.columns]
        rules.append(
            ForeignKeyConstraint(
                [*head, *mine],
                [f"{there.name}.{column}" for column in theirs],
                name=f"{full}_{'_'.join(mine)}_foreign",
            )
        )
    for part in declared:
        rules += [
            CheckConstraint(check, name=f"{full}_{part.name}_check") for check in part.checks
        ]
    rules += [
        CheckConstraint(check, name=f"{full}_check_{place}") for place, check in enumerate(checks)
    ]
    info = {
        "service": service,
        "scope": scope,
        "prefix": prefix or name[:4],
        "key": tuple(key),
        "money": frozenset(part.name for part in declared if len(part.columns) == 2),
    }
    return Table(full, metadata, *columns, *rules, info=info)
