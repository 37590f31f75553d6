"""Columns and tables: what a service keeps, in some ten portable kinds.

Every key of a site's table begins with the site, and only tables made here can stand in a
statement. A kind says how a value rests on both engines:

    text, enum      TEXT                     integer   BIGINT
    instant         BIGINT, microseconds     real      DOUBLE PRECISION
    date            TEXT, ISO 8601           boolean   BOOLEAN (0 and 1 on SQLite)
    json            TEXT, as written         binary    BLOB / BYTEA
    money           two columns, `<name>_minor` BIGINT and `<name>_currency` TEXT

What must never happen here: a key that two sites share, or a reference out of a site's rows.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypedDict, Unpack

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
    false,
    true,
)
from sqlalchemy import text as sql_text
from sqlalchemy.schema import sort_tables
from sqlalchemy.sql.elements import BindParameter, ColumnElement, quoted_name

from hansa.kernel.operation import Scope

SITE: Final = "site"

Condition = str | Callable[[Any], ColumnElement[bool]]
"""What a CHECK asks: a condition that both engines understand, or a function from the column (for a
table: from its columns, ``lambda c: c.reserved <= c.on_hand``) to an expression."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NOTHING: Final[frozenset[str]] = frozenset()


class Instant(BigInteger):
    """Microseconds since 1970 in UTC; an aware datetime in Python."""

    cache_ok = True


class LogPosition(BigInteger):
    """A position in the log of this cell; in another cell, to which a site is copied, another."""

    cache_ok = True


class Day(Text):
    """A calendar day as ISO 8601 text; a date in Python."""

    cache_ok = True


class Json(Text):
    """JSON text, kept as it was written; in Python what the field's type says."""

    cache_ok = True


_TEXT: Final = Text()
_WHOLE: Final = BigInteger()
_REAL: Final[Double[float]] = Double()
_TRUTH: Final = Boolean(create_constraint=False)
_INSTANT: Final = Instant()
_POSITION: Final = LogPosition()
_DAY: Final = Day()
_JSON: Final = Json()
_BINARY: Final = LargeBinary()
"""One object for all columns of a kind: a process may have tens of thousands of them."""


@lru_cache(maxsize=4096)
def _quoted(name: str) -> quoted_name:
    """Return the name of a column as SQLAlchemy keeps it, one object for all that are so named."""
    return quoted_name(name, None)


class DeclaredColumn(Column[Any]):
    """A column that makes what compares it each time it is asked for: kept, it would take as much
    memory as the column itself."""

    inherit_cache = True

    @property
    def comparator(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the operators of the column's type are."""
        return self.type.comparator_factory(self)


class DeclaredParameter(BindParameter[Any]):
    """A parameter that forgets what it was before it had the type of the column beside it."""

    inherit_cache = True

    def _with_binary_element_type(self, type_: Any) -> Any:
        made = super()._with_binary_element_type(type_)
        made._is_clone_of = None
        return made


COLUMNS: Final = (DeclaredColumn, Column)
"""What may stand as a column in a statement: these themselves, and no kinds of them."""


class _Info(dict[str, Any]):
    """The `info` of a table that was made here, which it names."""

    __slots__ = ("table",)

    table: Table


class Options(TypedDict, total=False):
    """What every kind of column takes.

    `default` is what a row gets that does not say; `unique="site"` means once per site.
    """

    nullable: bool
    default: str | int | float | bool
    primary: bool
    unique: str
    index: bool
    check: Callable[[Any], ColumnElement[bool]]


@dataclass(frozen=True)
class Part:
    """A declared column (money: two) with what the table must know of it."""

    name: str
    columns: tuple[Column[Any], ...]
    primary: bool = False
    unique: bool = False
    index: bool = False
    checks: tuple[ColumnElement[bool], ...] = ()


def _part(name: str, kind: Any, options: Options, values: Sequence[str] = ()) -> Part:
    _check_name(name)
    if options.get("unique", "") not in ("", "site"):
        raise ValueError(f'{name}: unique="site" is the only kind of uniqueness')
    nullable, primary = options.get("nullable", False), options.get("primary", False)
    if nullable and primary:
        raise ValueError(f"{name}: a key cannot be nullable")
    column = DeclaredColumn(
        _quoted(name),
        kind,
        nullable=nullable,
        server_default=_default(name, kind, options.get("default")),
    )
    checks: list[ColumnElement[bool]] = [column.in_(values)] if values else []
    condition = options.get("check")
    if condition is not None:
        checks.append(condition(column))
    unique = options.get("unique") == "site"
    return Part(name, (column,), primary, unique, options.get("index", False), tuple(checks))


def _default(name: str, kind: Any, value: Any) -> Any:
    """Return a constant as both engines write it in a column's DEFAULT."""
    if value is None:
        return None
    if isinstance(kind, Boolean) and isinstance(value, bool):
        return true() if value else false()
    if isinstance(kind, Text) and isinstance(value, str):
        return value
    whole = isinstance(kind, BigInteger) and isinstance(value, int)
    if (whole or isinstance(kind, Double)) and not isinstance(value, (bool, str)):
        return sql_text(repr(value))
    raise TypeError(f"{name}: {value!r} is no constant of this kind of column")


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r}: a name is 1 to 40 lower-case letters, digits and _")


def text(name: str, **options: Unpack[Options]) -> Part:
    """Declare a text (options: see `Options`)."""
    return _part(name, _TEXT, options)


def integer(name: str, **options: Unpack[Options]) -> Part:
    """Declare a whole number of 64 bits."""
    return _part(name, _WHOLE, options)


def real(name: str, **options: Unpack[Options]) -> Part:
    """Declare a floating-point number; never for money."""
    return _part(name, _REAL, options)


def boolean(name: str, **options: Unpack[Options]) -> Part:
    """Declare a truth value."""
    return _part(name, _TRUTH, options)


def instant(name: str, **options: Unpack[Options]) -> Part:
    """Declare a point in time, exact to the microsecond."""
    return _part(name, _INSTANT, options)


def position(name: str, **options: Unpack[Options]) -> Part:
    """Declare a position in the log, or 0 for none. It is translated when a site is copied to
    another cell; a whole number that is not declared as one would mean something else there."""
    return _part(name, _POSITION, options)


def date(name: str, **options: Unpack[Options]) -> Part:
    """Declare a calendar day."""
    return _part(name, _DAY, options)


def json(name: str, **options: Unpack[Options]) -> Part:
    """Declare a value of any JSON form, typed by the Struct it is read into."""
    return _part(name, _JSON, options)


def binary(name: str, **options: Unpack[Options]) -> Part:
    """Declare bytes."""
    return _part(name, _BINARY, options)


def enum(name: str, values: Sequence[str], **options: Unpack[Options]) -> Part:
    """Declare a text that is one of `values`; the database refuses any other."""
    if isinstance(values, str) or not values:
        raise TypeError(f"{name}: the values of an enum are a list of texts")
    return _part(name, _TEXT, options, values)


def money(name: str, *, nullable: bool = False) -> Part:
    """Declare an amount: minor units and currency; a Money in Python."""
    _check_name(name)
    minor = DeclaredColumn(_quoted(f"{name}_minor"), _WHOLE, nullable=nullable)
    currency = DeclaredColumn(_quoted(f"{name}_currency"), _TEXT, nullable=nullable)
    both = (minor.is_(None) == currency.is_(None),) if nullable else ()
    return Part(name, (minor, currency), checks=both)


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
    checks: Sequence[Condition] = (),
    of_site: str = "",
) -> Table:
    """Return the table `<service>_<name>`.

    Without a primary part it has an `id`, a TypeID of the type `prefix`. `unique` and `index` are
    lists of columns, `foreign` pairs of columns here and the table whose key they are. On a site's
    table the site stands first in each. Raises ValueError for names that are not there or not
    allowed, and for a reference that would leave the service or, from a platform table, enter a
    site's rows. `of_site` is the column of a platform table that tells which site a row is about,
    so that it is copied and erased with the site.
    """
    _check_name(name)
    full = f"{service}_{name}"
    declared = list(parts)
    key = list(primary) or [part.name for part in declared if part.primary]
    columns = _columns(full, declared, key, scope)
    head = [SITE] if scope == "site" else []
    several = [[part.name] for part in declared if part.unique] + [list(one) for one in unique]
    ordered = [[part.name] for part in declared if part.index] + [list(one) for one in index]
    used = [key or ["id"], *several, *ordered, *(_list(here) for here, _ in foreign)]
    _check_columns(full, columns, used + ([[of_site]] if of_site else []))
    rules: list[Any] = [PrimaryKeyConstraint(*head, *(key or ["id"]), name=f"{full}_key")]
    rules += [_foreign(full, service, head, _list(here), there) for here, there in foreign]
    rules += [
        CheckConstraint(check, name=f"{full}_{part.name}_check{place or ''}")
        for part in declared
        for place, check in enumerate(part.checks)
    ]
    amounts = [part.name for part in declared if len(part.columns) == 2]
    info = _Info(
        service=service,
        scope=scope,
        prefix=prefix or name[:4].strip("_"),
        key=tuple(key or ["id"]),
        of_site=SITE if scope == "site" else of_site,
        money=frozenset(amounts) if amounts else _NOTHING,
        unique=tuple(map(tuple, several)),
        index=tuple(map(tuple, ordered)),
    )
    table = info.table = Table(full, metadata, *columns, *rules, info=info)
    for place, check in enumerate(checks):
        condition = check if isinstance(check, str) else check(table.c)
        table.append_constraint(CheckConstraint(condition, name=f"{full}_check_{place}"))
    _slim(table)
    return table


def _slim(table: Table) -> None:
    """Let go of what a finished table has for changes that never come: a third of its memory.

    Empty sets become one that all share; SQLAlchemy makes dispatchers anew where it wants them.
    """
    for one in (table, *table.c, *table.constraints):
        attributes = vars(one)
        for name in _SPENT:
            attributes.pop(name, None)
        for name in _EMPTY:
            if not attributes.get(name, True):
                attributes[name] = _NOTHING


_SPENT: Final = ("dispatch", "_pending_colargs")
"""What is there only until the columns are."""
_EMPTY: Final = ("foreign_keys", "constraints", "indexes", "_extra_dependencies")
"""What tables, columns and constraints have sets for."""


def is_declared(table: Table) -> bool:
    """Tell whether `build_table` made a table, so that what its `info` says is true."""
    return isinstance(table.info, _Info) and table.info.table is table


def keys_of(table: Table) -> dict[str, tuple[str, ...]]:
    """Return by their names what is a key of a declared table, the primary one and the unique ones:
    of which columns."""
    return {
        f"{table.name}_key": tuple(str(column.name) for column in table.primary_key.columns),
        **{f"{table.name}_{'_'.join(one)}_unique": (*_head(table), *one)
           for one in table.info.get("unique", ())},
    }  # fmt: skip


def in_order(tables: Iterable[Table]) -> list[Table]:
    """Return tables by name, but each behind those that it refers to."""
    return sort_tables(sorted(tables, key=lambda one: one.name))


def completed(tables: Iterable[Table], into: MetaData) -> list[Table]:
    """Return tables, in order, as they are made in a database: with their unique keys and indexes,
    which declared ones know by name alone. As SQLAlchemy keeps them each is 1.5 kB."""
    made = [table.to_metadata(into) for table in in_order(tables)]
    for table in made:
        for one in table.info.get("unique", ()):
            name = f"{table.name}_{'_'.join(one)}_unique"
            table.append_constraint(UniqueConstraint(*_head(table), *one, name=name))
        for one in table.info.get("index", ()):
            Index(
                f"{table.name}_{'_'.join(one)}_index", *(table.c[n] for n in (*_head(table), *one))
            )
        # They were copied from a set: by name they are written in the same order each time.
        for place, rule in enumerate(sorted(table.constraints, key=lambda one: str(one.name))):
            vars(rule)["_creation_order"] = place
    return made


def _head(table: Table) -> tuple[str, ...]:
    """Return what each key of a table begins with."""
    return (SITE,) if table.info.get("scope") == "site" else ()


def _list(names: Sequence[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _columns(full: str, parts: Sequence[Part], key: Sequence[str], scope: Scope) -> list[Any]:
    columns = [column for part in parts for column in part.columns]
    if not key:
        columns.insert(0, DeclaredColumn(_quoted("id"), _TEXT, nullable=False))
    if scope == "site":
        columns.insert(0, DeclaredColumn(_quoted(SITE), _TEXT, nullable=False))
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{full}: {', '.join(twice)} twice (the site and the id are added)")
    return columns


def _check_columns(full: str, columns: Sequence[Any], used: Iterable[Sequence[str]]) -> None:
    there = {column.name for column in columns}
    for name in (name for names in used for name in names):
        if name not in there or name == SITE:
            raise ValueError(f"{full}: a key or index needs columns of it, not {name!r}")


def _foreign(
    full: str, service: str, head: Sequence[str], here: Sequence[str], there: Table
) -> ForeignKeyConstraint:
    if there.info.get("service") != service:
        raise ValueError(f"{full}: {there.name} is another service's, which may live elsewhere")
    theirs = [column.name for column in there.primary_key.columns]
    if there.info.get("scope") != "site":
        head = []
    elif not head:
        raise ValueError(f"{full}: a platform table cannot refer to the rows of a site")
    if len(theirs) != len(head) + len(here):
        raise ValueError(f"{full}: the key of {there.name} is {', '.join(theirs)}")
    return ForeignKeyConstraint(
        [*head, *here],
        [there.c[column] for column in theirs],
        name=f"{full}_{'_'.join(here)}_foreign",
    )
