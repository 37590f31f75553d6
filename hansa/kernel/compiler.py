# pyright: reportPrivateUsage=false
"""Compiler: a SQLAlchemy Core statement becomes SQL text, an order of parameters and a decoder.

It happens once per statement; on the request path there is no SQLAlchemy left, only a look-up by
the statement's identity. A statement built per request is found again by its structure. What may
stand in a statement is said in `grammar`, how it is kept to the site in `scoping`.

What must never happen here: the compiled form of one statement, or the values of one request, used
for another.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import itemgetter
from typing import Any, Final
from weakref import ref

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    LargeBinary,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql import dml, selectable
from sqlalchemy.sql.elements import BindParameter

from hansa.kernel.columns import SITE, Day, DeclaredParameter, Instant, keys_of
from hansa.kernel.grammar import STATEMENTS, Walk, refused
from hansa.kernel.rows import Decode, Result, encoder_of, list_encoder, row_decoder
from hansa.kernel.scoping import SITE_PARAMETER, StatementRefused, dialect_of
from hansa.kernel.storage import Dialect

__all__ = [
    "Compiled", "StatementRefused", "Statements", "Upsert", "delete", "insert", "param", "select",
    "update", "upsert",
]  # fmt: skip

STATEMENTS_MAX: Final = 2048
"""Structures remembered; the one not used for the longest time is forgotten first."""
ROWS_MAX: Final = 10_000
"""Rows of one statement that asks for all of them."""
_ALL: Final = ROWS_MAX + 1

_KINDS: Final[dict[Any, Any]] = {
    str: Text, int: BigInteger, float: Double, bool: Boolean, bytes: LargeBinary,
    datetime: Instant, date: Day,
}  # fmt: skip


def param(name: str, kind: Any = None) -> BindParameter[Any]:
    """Return a parameter whose value each run gives: ``products.c.handle == param("handle")``.

    `kind` is needed where no column beside it tells the type: str, int, float, bool, bytes,
    datetime or date. In `in_()` it stands for a list.
    """
    if not name.isidentifier() or name.startswith("hansa_"):
        raise StatementRefused(f"{name!r} is no name for a parameter; hansa_ is the kernel's")
    return DeclaredParameter(name, type_=_KINDS[kind]() if kind in _KINDS else kind)


# ---- upsert


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
    With no `change` an existing row stays as it is; then nothing is returned either. In `change` a
    column of the table stands for the value that is there: ``{"stock": t.c.stock + param("n")}``.
    """
    head = (SITE,) if table.info.get("scope") == "site" else ()
    keys = set(keys_of(table).values())
    if not any(sorted(one) == sorted((*head, *key)) for one in keys):
        known = " or ".join(sorted(f"({', '.join(one[len(head) :])})" for one in keys))
        raise StatementRefused(f"{table.name} has the keys {known}, not ({', '.join(key)})")
    return Upsert(table, tuple(key), dict(values), dict(change or {}), tuple(returning))


def _insert(engine: Dialect) -> Any:
    """Return what makes an INSERT that knows ON CONFLICT, as an engine has it."""
    if engine == "sqlite":
        return insert_sqlite
    from sqlalchemy.dialects.postgresql import insert as insert_postgres

    return insert_postgres


def _render_upsert(wanted: Upsert, walk: Walk, engine: Dialect) -> Any:
    table = wanted.table
    walk.statement(insert(table).values(dict(wanted.values)))
    if wanted.change:
        walk.statement(update(table).values(dict(wanted.change)))
    for column in wanted.returning:
        walk.returned(table, column)
    statement = _insert(engine)(table).values(dict(wanted.values))
    head = [SITE] if table.info["scope"] == "site" else []
    target = [table.c[name] for name in (*head, *wanted.key)]
    if wanted.change:
        statement = statement.on_conflict_do_update(index_elements=target, set_=dict(wanted.change))
    else:
        statement = statement.on_conflict_do_nothing(index_elements=target)
    return statement.returning(*wanted.returning) if wanted.returning else statement


# ---- compiled


class Compiled:
    """A statement ready for one engine: `sql`, the values for it by `arguments`, `decode` for a
    row. `names` are its parameters by place, `tables` the names of what it touches, `target` what
    it writes to."""

    __slots__ = (
        "_count", "_defaults", "_encoders", "_pick", "decode", "names", "reads", "sql", "tables",
        "target",
    )  # fmt: skip

    def __init__(
        self,
        sql: str,
        names: tuple[str, ...],
        encoders: Mapping[str, Callable[[Any], Any]],
        defaults: Mapping[str, Any],
        decode: Decode,
        reads: bool,
        tables: frozenset[str],
        target: Table | None,
    ) -> None:
        self.sql = sql
        self.names = names
        self.decode = decode
        self.reads = reads
        self.tables = tables
        self.target = target
        self._defaults = {
            name: encoders[name](value) if name in encoders else value
            for name, value in defaults.items()
        }
        self._encoders = [
            (place, encoders[name])
            for place, name in enumerate(names)
            if name in encoders and name not in defaults
        ]
        # The site is always given, also to statements that have no use for it.
        self._count = len((set(names) - set(defaults)) | {SITE_PARAMETER})
        self._pick: Callable[[Any], Any] = itemgetter(*names) if len(names) > 1 else tuple

    def arguments(self, given: dict[str, Any]) -> Sequence[Any]:
        """Return the arguments by place; `given` has the site too, and is used up.

        Raises TypeError for a missing or an unknown name, and for an instant without a zone.
        """
        if len(given) != self._count:
            self._check(given)
        if self._defaults:
            given = given | self._defaults
        try:
            picked = self._pick(given) if len(self.names) > 1 else [given[n] for n in self.names]
        except KeyError:
            self._check(given)
            raise
        if self._encoders:
            picked = list(picked)
            for place, encode in self._encoders:
                picked[place] = encode(picked[place])
        arguments: Sequence[Any] = picked
        return arguments

    def with_defaults(
        self, defaults: Mapping[str, Any], encoders: Mapping[str, Callable[[Any], Any]]
    ) -> "Compiled":
        """Return the same statement with other values of its own."""
        return Compiled(
            self.sql, self.names, encoders, defaults, self.decode, self.reads, self.tables,
            self.target,
        )  # fmt: skip

    @property
    def own(self) -> frozenset[str]:
        """The parameters whose values the statement has itself, and the site."""
        return frozenset(self._defaults) | {SITE_PARAMETER}

    def _check(self, given: Mapping[str, Any]) -> None:
        wanted = set(self.names) - self._defaults.keys() - {SITE_PARAMETER}
        missing = sorted(wanted - given.keys())
        unknown = sorted(given.keys() - wanted - {SITE_PARAMETER})
        if missing:
            raise TypeError(f"the statement needs the parameter {', '.join(missing)}")
        if unknown:
            raise TypeError(f"the statement has no parameter {', '.join(unknown)}")


@dataclass(frozen=True, slots=True)
class _Structure:
    """What is kept of a structure: `slots` are the parameters of its values, in SQLAlchemy's order
    of finding them, which is the same in every statement of the structure."""

    compiled: Compiled
    slots: tuple[str, ...]
    encoders: dict[str, Callable[[Any], Any]]
    fixed: dict[str, Any]

    def with_values(self, bindparams: Sequence[BindParameter[Any]]) -> Compiled:
        """Return the compiled statement with the values that another of the structure holds."""
        if not self.slots:
            return self.compiled
        defaults = dict(self.fixed)
        for name, bound in zip(self.slots, bindparams, strict=True):
            if name and not bound.required:
                defaults[name] = bound.value
        return self.compiled.with_defaults(defaults, self.encoders)


class Identities:
    """What is known of objects by their identity, for as long as they live."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, dict[Any, Any]]] = {}

    def of(self, thing: Any) -> dict[Any, Any]:
        """Return the dictionary that belongs to `thing` and goes when it goes."""
        place = id(thing)
        found = self._known.get(place)
        if found is None or found[0]() is not thing:
            known = self._known
            # A reference's callback runs before another object can get the same identity.
            found = known[place] = (ref(thing, lambda _: known.pop(place, None)), {})
        return found[1]

    def __len__(self) -> int:
        return len(self._known)


class Statements:
    """The compiled statements of a process, for one engine. Those built per request are forgotten
    with their last reference, and their structures when there are too many."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect: Dialect = dialect
        self.scoped = True
        """False only in tests which show that they would find a lack of scoping, and what
        row-level security holds by itself."""
        self.made = Identities()
        """What others keep beside a statement or table, such as its pages or writes."""
        self._found = Identities()
        self._structures: OrderedDict[Any, _Structure] = OrderedDict()

    def find(
        self,
        statement: Any,
        into: Any,
        owner: str | None,
        across: bool = False,
        bounded: bool = False,
    ) -> Compiled:
        """Return a statement compiled for a service (any, if None) and a result type.

        `across` leaves the site out, for reads. `bounded` ends a read after ROWS_MAX and one rows.
        Raises StatementRefused, and TypeError where `into` does not fit what is returned.
        """
        try:
            known = self._found.of(statement)
        except TypeError:  # of no class that can be referred to weakly
            raise refused(statement, STATEMENTS) from None
        key = (into, owner, across, bounded)
        found: Compiled | None = known.get(key)
        if found is None:
            found = known[key] = self._compile(statement, key)
        return found

    def _compile(self, statement: Any, key: tuple[Any, str | None, bool, bool]) -> Compiled:
        if isinstance(statement, Upsert):
            return self._fresh(statement, key, ()).compiled
        make = getattr(statement, "_generate_cache_key", None)
        structure = make() if make is not None else None
        if structure is None:
            return self._fresh(statement, key, ()).compiled
        place = (structure.key, *key)
        known = self._structures.get(place)
        if known is None:
            known = self._structures[place] = self._fresh(statement, key, structure.bindparams)
            if len(self._structures) > STATEMENTS_MAX:
                self._structures.popitem(last=False)
            return known.compiled
        self._structures.move_to_end(place)
        return known.with_values(structure.bindparams)

    def _fresh(
        self,
        statement: Any,
        key: tuple[Any, str | None, bool, bool],
        bindparams: Sequence[BindParameter[Any]],
    ) -> _Structure:
        into, owner, across, bounded = key
        walk = Walk(owner)
        if isinstance(statement, Upsert):
            rendered = _render_upsert(statement, walk, self.dialect)
        else:
            walk.statement(statement)
            rendered = statement
        target: Any = rendered.table if isinstance(rendered, dml.UpdateBase) else None
        if across and target is not None:
            raise StatementRefused("a write across sites; emit an event to each site instead")
        if bounded and isinstance(rendered, (selectable.Select, selectable.CompoundSelect)):
            rendered = rendered if rendered._limit_clause is not None else rendered.limit(_ALL)
        try:
            made = rendered.compile(dialect=dialect_of(self.dialect, scoped=self._keeps(across)))
        except SQLAlchemyError as error:
            raise StatementRefused(f"SQLAlchemy cannot render it: {error}") from error
        return self._finish(made, into, target, walk.tables, bindparams)

    def _keeps(self, across: bool) -> bool:
        return self.scoped and not across

    def _finish(
        self,
        made: Any,
        into: Any,
        target: Table | None,
        tables: Iterable[Table],
        bindparams: Sequence[BindParameter[Any]],
    ) -> _Structure:
        bounds = {name: bound for bound, name in made.bind_names.items()}
        encoders: dict[str, Callable[[Any], Any]] = {}
        for name, bound in bounds.items():
            encode = (
                list_encoder(bound.type, self.dialect)
                if bound.key in made.list_keys
                else encoder_of(bound.type)
            )
            if encode is not None:
                encoders[name] = encode
        defaults = {
            name: bound.value
            for name, bound in bounds.items()
            if not bound.required and name != SITE_PARAMETER
        }
        results = [
            Result(str(one.keyname), one.type, any(isinstance(o, Column) for o in one.objects))
            for one in made._result_columns or ()
        ]
        decode = row_decoder(results, into, self.dialect) if results else tuple
        compiled = Compiled(
            str(made.string), tuple(made.positiontup or ()), encoders, defaults, decode,
            target is None, frozenset(table.name for table in tables), target,
        )  # fmt: skip
        by_key = {bound.key: name for name, bound in bounds.items()}
        slots = tuple(by_key.get(bound.key, "") for bound in bindparams)
        fixed = {name: value for name, value in defaults.items() if name not in slots}
        return _Structure(compiled, slots, encoders, fixed)
