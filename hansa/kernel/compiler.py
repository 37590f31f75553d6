"""Compiler: a SQLAlchemy Core statement becomes SQL text, an order of parameters and a decoder.

It happens once per statement; on the request path there is no SQLAlchemy left, only a look-up by the
statement's identity. Statements built per request are found again by their structure.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_postgres
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.sql import dml
from sqlalchemy.sql.elements import BindParameter

from hansa.kernel.columns import SITE
from hansa.kernel.rows import Decode, encoder_of, list_encoder, row_decoder
from hansa.kernel.scoping import (
    SITE_PARAMETER,
    PostgresDialectOpen,
    PostgresDialectScoped,
    SqliteDialectOpen,
    SqliteDialectScoped,
    StatementRefused,
    Walk,
)
from hansa.kernel.storage import Dialect

__all__ = [
    "Compiled", "Statements", "StatementRefused", "Upsert", "delete", "insert", "param", "select",
    "update", "upsert",
]  # fmt: skip

STATEMENTS_MAX: Final = 4096
"""Statements remembered by identity, and as many by structure; the oldest is forgotten first."""


def param(name: str, kind: Any = None) -> BindParameter[Any]:
    """Return a parameter whose value each run gives: ``products.c.handle == param("handle")``."""
    if name == SITE_PARAMETER:
        raise StatementRefused(f"{SITE_PARAMETER} is bound by the kernel alone")
    return bindparam(name, type_=kind)


@dataclass(frozen=True, eq=False)
class Upsert:
    """An insert that changes the row there is, if one of the same key is (see `upsert`)."""

    table: Table
    key: tuple[str, ...]
    values: Mapping[str, Any]
    change: Mapping[str, Any]
    returning: tuple[Any, ...]


def upsert(
    table: Table,
    *,
    key: Sequence[str],
    values: Mapping[str, Any],
    change: Mapping[str, Any] | None = None,
    returning: Sequence[Any] = (),
) -> Upsert:
    """Return a statement that inserts `values`, or applies `change` to the row with the same `key`.

    `key` names the columns of a primary or unique key without the site, which always belongs to it.
    With no `change` an existing row stays as it is.
    """
    return Upsert(table, tuple(key), dict(values), dict(change or {}), tuple(returning))


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement ready for one engine. `names` are its parameters in the order of their places."""

    sql: str
    names: tuple[str, ...]
    encoders: dict[str, Callable[[Any], Any]]
    defaults: dict[str, Any]
    decode: Decode
    reads: bool
    tables: frozenset[str]

    def arguments(self, given: dict[str, Any]) -> tuple[Any, ...]:
        """Return the arguments by position. Raises TypeError for a missing or unknown name."""
        values = {**self.defaults, **given} if self.defaults else given
        try:
            if self.encoders:
                encoders = self.encoders
                return tuple(
                    [encoders[n](values[n]) if n in encoders else values[n] for n in self.names]
                )
            return tuple([values[name] for name in self.names])
        except KeyError as missing:
            raise TypeError(f"the statement needs the parameter {missing}") from None

    def check(self, given: dict[str, Any]) -> None:
        """Raise TypeError for parameters that the statement does not have."""
        unknown = given.keys() - set(self.names) - {SITE_PARAMETER}
        if unknown:
            raise TypeError(f"the statement has no parameter {', '.join(sorted(unknown))}")


_DIALECTS: Final[dict[tuple[Dialect, bool], Any]] = {
    ("sqlite", False): SqliteDialectScoped(paramstyle="qmark"),
    ("sqlite", True): SqliteDialectOpen(paramstyle="qmark"),
    ("postgresql", False): PostgresDialectScoped(paramstyle="numeric_dollar"),
    ("postgresql", True): PostgresDialectOpen(paramstyle="numeric_dollar"),
}


@dataclass(eq=False)
class Statements:
    """The compiled statements of a process, for one engine. Bounded; holds what it has seen."""

    dialect: Dialect
    _by_identity: "OrderedDict[tuple[int, Any, str, bool], tuple[Any, Compiled]]" = field(
        default_factory=OrderedDict[tuple[int, Any, str, bool], tuple[Any, Compiled]]
    )
    _by_structure: "OrderedDict[Any, Any]" = field(default_factory=OrderedDict[Any, Any])
    scoped: bool = True
    """False only in tests that show what row-level security holds by itself."""

    def find(self, statement: Any, into: Any, owner: str, across: bool = False) -> Compiled:
        """Return a statement compiled for a service and a result type. Raises StatementRefused."""
        key = (id(statement), into, owner, across)
        found = self._by_identity.get(key)
        if found is not None:
            return found[1]
        compiled = self._compile(statement, into, owner, across)
        self._by_identity[key] = (statement, compiled)
        if len(self._by_identity) > STATEMENTS_MAX:
            self._by_identity.popitem(last=False)
        return compiled

    def _compile(self, statement: Any, into: Any, owner: str, across: bool) -> Compiled:
        if isinstance(statement, Upsert):
            return _make(self._upsert(statement, owner), into, self.dialect, across, set())
        structure = getattr(statement, "_generate_cache_key", lambda: None)()
        if structure is None:
            return self._fresh(statement, into, owner, across, None)
        key = (structure.key, into, owner, across)
        known = self._by_structure.get(key)
        if known is not None:
            compiled, sql_compiled = known
            values = sql_compiled.construct_params(
                extracted_parameters=structure.bindparams, _check=False
            )
            return _with_defaults(compiled, sql_compiled, values)
        return self._fresh(statement, into, owner, across, structure)

    def _fresh(
        self, statement: Any, into: Any, owner: str, across: bool, structure: Any
    ) -> Compiled:
        walk = Walk(owner)
        walk.statement(statement)
        scoped = statement if across or not self.scoped else restrict(statement)
        scoped = _with_site(scoped) if isinstance(scoped, dml.Insert) else scoped
        compiled = _make(scoped, into, self.dialect, across or not self.scoped, walk.tables)
        if structure is not None and not isinstance(statement, dml.UpdateBase):
            sql_compiled = _compile_with(scoped, self.dialect, across or not self.scoped, structure)
            key = (structure.key, into, owner, across)
            self._by_structure[key] = (compiled, sql_compiled)
            if len(self._by_structure) > STATEMENTS_MAX:
                self._by_structure.popitem(last=False)
        return compiled

    def _upsert(self, wanted: Upsert, owner: str) -> Any:
        table = wanted.table
        walk = Walk(owner)
        walk.statement(insert(table).values(dict(wanted.values)))
        if wanted.change:
            walk.statement(update(table).values(dict(wanted.change)))
        make = insert_sqlite if self.dialect == "sqlite" else insert_postgres
        statement: Any = _with_site(make(table).values(dict(wanted.values)))
        head = [SITE] if table.info.get("scope") == "site" else []
        target = [table.c[name] for name in (*head, *wanted.key)]
        if wanted.change:
            statement = statement.on_conflict_do_update(
                index_elements=target, set_=dict(wanted.change)
            )
        else:
            statement = statement.on_conflict_do_nothing(index_elements=target)
        if wanted.returning:
            for column in wanted.returning:
                walk.node(column)
            statement = statement.returning(*wanted.returning)
        return statement


def _site_parameter() -> BindParameter[str]:
    return bindparam(SITE_PARAMETER)


def _with_site(statement: Any) -> Any:
    if statement.table.info.get("scope") != "site":
        return statement
    return statement.values({SITE: _site_parameter()})


def restrict(statement: Any) -> Any:
    """Return a write restricted to the site; reads are restricted where they are rendered."""
    if isinstance(statement, (dml.Update, dml.Delete)):
        table = statement.table
        if isinstance(table, Table) and table.info.get("scope") == "site":
            return statement.where(table.c[SITE] == _site_parameter())
    return statement


def _compile_with(statement: Any, dialect: Dialect, open_: bool, structure: Any = None) -> Any:
    return statement.compile(dialect=_DIALECTS[dialect, open_], cache_key=structure)


def _make(
    statement: Any, into: Any, dialect: Dialect, open_: bool, tables: set[Table]
) -> Compiled:
    compiled = _compile_with(statement, dialect, open_)
    names = tuple(compiled.positiontup or ())
    encoders: dict[str, Callable[[Any], Any]] = {}
    defaults: dict[str, Any] = {}
    for name in set(names):
        bound = compiled.binds[name]
        encode = encoder_of(bound.type, dialect)
        if name in _expanding(statement):
            encode = list_encoder(encode, dialect)
        if encode is not None:
            encoders[name] = encode
        if name != SITE_PARAMETER and (bound.value is not None or not bound.required):
            defaults[name] = bound.effective_value
    columns = [
        (str(entry.keyname), entry.type) for entry in (compiled._result_columns or ())
    ]
    decode = row_decoder(columns, into, dialect) if columns else tuple
    return Compiled(
        str(compiled.string), names, encoders, defaults, decode,
        not isinstance(statement, dml.UpdateBase), frozenset(table.name for table in tables),
    )  # fmt: skip


def _expanding(statement: Any) -> set[str]:
    """Return the names of the list parameters of a statement."""
    from sqlalchemy.sql import visitors

    return {
        str(node.key)
        for node in visitors.iterate(statement)
        if isinstance(node, BindParameter) and node.expanding
    }


def _with_defaults(compiled: Compiled, sql_compiled: Any, values: Mapping[str, Any]) -> Compiled:
    """Return a statement known by structure with the values of the one at hand."""
    names = compiled.defaults.keys()
    mine = {name: values[name] for name in names}
    return Compiled(
        compiled.sql, compiled.names, compiled.encoders, mine, compiled.decode, compiled.reads,
        compiled.tables,
    )  # fmt: skip
