"""Db: what a handler calls `ctx.db`: statements and rows of its own service, on its own site.

Statements are declared once, at module level, and run with the values of a request. Raises, besides
what is said below: StatementRefused for what the compiler does not vouch for, TypeError for
parameters that do not fit, DeadlineExceeded before a statement that would begin too late, and
ConstraintFailed where a foreign key or a CHECK refuses a row.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Table, bindparam, delete, insert, update
from sqlalchemy.sql.elements import ColumnElement, UnaryExpression

from hansa.kernel.bulk import ArrayInsert, array_insert
from hansa.kernel.columns import SITE, is_declared, keys_of
from hansa.kernel.compiler import ROWS_MAX, Compiled, Statements
from hansa.kernel.ids import ID
from hansa.kernel.paging import LIMIT, Pages, check_limit, pages_of
from hansa.kernel.problems import Conflict, NotFound
from hansa.kernel.scoping import SITE_PARAMETER, StatementRefused
from hansa.kernel.storage import PLATFORM, ConstraintFailed, Row, Session
from hansa.kernel.structs import Money, Page, PageRequest

T = TypeVar("T")

_WRITES_MAX = 512
"""Writes remembered for one table, each for other columns."""


class Db:
    """Runs statements in the handler's transaction or snapshot, restricted to its site."""

    __slots__ = ("_across", "_find", "_new_id", "_owner", "_session", "_site", "_statements")

    def __init__(
        self,
        session: Session,
        site: str,
        service: str,
        statements: Statements,
        new_id: Callable[[str], ID],
        across: bool = False,
    ) -> None:
        """Stand in `session` for `site` and the tables of `service`. `across` reads the rows of
        all sites, and writes nothing."""
        self._session = session
        self._site = site
        self._owner = service
        self._statements = statements
        self._find = statements.find
        self._new_id = new_id
        self._across = across

    # ---- reading

    async def one(self, statement: Any, into: type[T], /, **parameters: Any) -> T:
        """Return the row, or the first one. Raises NotFound when there is none."""
        compiled = self._find(statement, into, self._owner, self._across)
        parameters[SITE_PARAMETER] = self._site
        try:
            rows = await self._session.fetch(compiled.sql, compiled.arguments(parameters))
        except ConstraintFailed as failure:
            raise _conflict(compiled.target, failure) from failure
        if not rows:
            raise NotFound(f"There is no such {_noun(into)}{self._where()}.")
        found: T = compiled.decode(rows[0])
        return found

    async def first(self, statement: Any, into: type[T], /, **parameters: Any) -> T | None:
        """Return the first row, None when there is none."""
        compiled = self._find(statement, into, self._owner, self._across)
        parameters[SITE_PARAMETER] = self._site
        try:
            rows = await self._session.fetch(compiled.sql, compiled.arguments(parameters))
        except ConstraintFailed as failure:
            raise _conflict(compiled.target, failure) from failure
        return compiled.decode(rows[0]) if rows else None

    async def value(self, statement: Any, kind: type[T], /, **parameters: Any) -> T | None:
        """Return the first column of the first row, None when there is no row or it is null."""
        return await self.first(statement, kind, **parameters)

    async def all(self, statement: Any, into: type[T], /, **parameters: Any) -> list[T]:
        """Return all rows. Raises ValueError above 10,000 of them: read a page at a time."""
        compiled, rows = await self._all(statement, into, parameters)
        decode = compiled.decode
        return [decode(row) for row in rows]

    async def rows(self, statement: Any, /, **parameters: Any) -> list[tuple[Any, ...]]:
        """Return all rows as tuples, for columns that have no Struct. Raises as `all`."""
        compiled, rows = await self._all(statement, None, parameters)
        decode = compiled.decode
        return [decode(row) for row in rows]

    async def _all(
        self, statement: Any, into: Any, parameters: dict[str, Any]
    ) -> tuple[Compiled, Sequence[Row]]:
        compiled = self._find(statement, into, self._owner, self._across, True)
        parameters[SITE_PARAMETER] = self._site
        try:
            rows = await self._session.fetch(compiled.sql, compiled.arguments(parameters))
        except ConstraintFailed as failure:
            raise _conflict(compiled.target, failure) from failure
        if len(rows) > ROWS_MAX:
            raise ValueError(f"more than {ROWS_MAX} rows; read them in pages")
        return compiled, rows

    async def page(
        self,
        statement: Any,
        into: type[T],
        request: PageRequest,
        /,
        *,
        order: Sequence[ColumnElement[Any]],
        **parameters: Any,
    ) -> Page[T]:
        """Return one page, ordered by columns or their `.desc()`, none of them nullable; the
        table's key decides between equal ones. An index that begins with them makes every page
        cheap.

        Raises Invalid: `invalid-cursor` for a cursor that this list did not give, `invalid-limit`
        for a limit outside of 1 to 100.
        """
        limit = check_limit(request.limit)
        pages = self._pages(statement, order)
        chosen = pages.first
        if request.cursor is not None:
            chosen = pages.later
            parameters |= pages.parameters(request.cursor)
        compiled = self._find(chosen, into, self._owner, self._across)
        parameters[LIMIT] = limit + 1
        parameters[SITE_PARAMETER] = self._site
        rows = await self._session.fetch(compiled.sql, compiled.arguments(parameters))
        decode = compiled.decode
        items = [decode(row) for row in rows[:limit]]
        return Page(items, pages.cursor(rows[limit - 1]) if len(rows) > limit else None)

    def _pages(self, statement: Any, order: Sequence[ColumnElement[Any]]) -> Pages:
        made = self._statements.made.of(statement)
        # The columns live as long as the pages, so their identities stand for them.
        shape = tuple(
            [
                (id(one.element), one.modifier) if type(one) is UnaryExpression else id(one)
                for one in order
            ]
        )
        pages: Pages | None = made.get(shape)
        if pages is None:
            pages = made[shape] = pages_of(statement, order)
        return pages

    # ---- writing

    async def run(self, statement: Any, /, **parameters: Any) -> int:
        """Run a write and return how many rows it changed. Raises Conflict (`already-exists`) when
        a unique key is taken; `one` and `all` run it too, where it returns rows."""
        compiled = self._find(statement, None, self._owner, self._across)
        parameters[SITE_PARAMETER] = self._site
        try:
            return await self._session.run(compiled.sql, compiled.arguments(parameters))
        except ConstraintFailed as failure:
            raise _conflict(compiled.target, failure) from failure

    @overload
    async def insert(
        self,
        table: Table,
        body: msgspec.Struct | None = None,
        /,
        *,
        into: None = None,
        **values: Any,
    ) -> Any: ...

    @overload
    async def insert(
        self, table: Table, body: msgspec.Struct | None = None, /, *, into: type[T], **values: Any
    ) -> T: ...

    async def insert(
        self,
        table: Table,
        body: msgspec.Struct | None = None,
        /,
        *,
        into: Any = None,
        **values: Any,
    ) -> Any:
        """Insert a row from the fields of `body` and from `values`.

        Without an `id` it gets a new one of the table's prefix. Returns the row as `into`, else its
        key: the id, or a tuple where the key has several columns. Raises Conflict
        (`already-exists`) when a unique key is taken, TypeError for a field without a column.
        """
        row = _row_of(table, body, values)
        key: tuple[str, ...] = table.info["key"]
        if key == ("id",) and "id" not in row:
            row["id"] = self._new_id(table.info["prefix"])
        statement = self._insert_of(table, tuple(row), into is not None)
        compiled = self._find(statement, into, self._owner, self._across)
        row[SITE_PARAMETER] = self._site
        arguments = compiled.arguments(row)
        try:
            if into is None:
                await self._session.run(compiled.sql, arguments)
                return row[key[0]] if len(key) == 1 else tuple([row[name] for name in key])
            rows = await self._session.fetch(compiled.sql, arguments)
        except ConstraintFailed as failure:
            raise _conflict(table, failure) from failure
        return compiled.decode(rows[0])

    async def insert_all(
        self, table: Table, rows: Sequence[msgspec.Struct | Mapping[str, Any]], /
    ) -> int:
        """Insert many rows of the same columns at once; at most 10,000. Returns how many.
        Raises as `insert`; then none of them is kept, since the command fails."""
        if len(rows) > ROWS_MAX:
            raise ValueError(f"at most {ROWS_MAX} rows at once")
        full = [
            _row_of(table, *((row, {}) if isinstance(row, msgspec.Struct) else (None, row)))
            for row in rows
        ]
        if not full:
            return 0
        if table.info["key"] == ("id",):
            for row in full:
                row.setdefault("id", self._new_id(table.info["prefix"]))
        names = tuple(sorted(full[0]))
        if any(row.keys() != full[0].keys() for row in full):
            raise TypeError(f"insert_all into {table.name}: every row needs the same columns")
        compiled = self._find(self._insert_of(table, names, False), None, self._owner, self._across)
        try:
            if self._session.dialect == "postgresql":
                arrays = self._arrays(table, names)
                return await self._session.run(arrays.sql, arrays.arguments(self._site, full))
            for row in full:
                row[SITE_PARAMETER] = self._site
                await self._session.run(compiled.sql, compiled.arguments(row))
        except ConstraintFailed as failure:
            raise _conflict(table, failure) from failure
        return len(full)

    async def update(self, table: Table, id: Any, /, **values: Any) -> None:
        """Change columns of the row with the key `id` (a tuple where it has several columns).

        Raises NotFound when there is none, Conflict (`already-exists`) when a unique key is taken.
        """
        row = _row_of(table, None, values)
        statement = self._written(table, ("update", *row), lambda: _update_of(table, tuple(row)))
        if not await self.run(statement, **row, **_key_of(table, id)):
            raise NotFound(f"There is no {id} in {_name(table)}{self._where()}.")

    async def delete(self, table: Table, id: Any, /) -> None:
        """Delete the row with the key `id`. Raises NotFound when there is none."""
        statement = self._written(table, ("delete",), lambda: _delete_of(table))
        if not await self.run(statement, **_key_of(table, id)):
            raise NotFound(f"There is no {id} in {_name(table)}{self._where()}.")

    # ---- the statements of writes, made once

    def _written(self, table: Table, shape: tuple[str, ...], make: Callable[[], Any]) -> Any:
        made = self._statements.made.of(table)
        statement = made.get(shape)
        if statement is None:
            if len(made) >= _WRITES_MAX:
                made.clear()
            statement = made[shape] = make()
        return statement

    def _insert_of(self, table: Table, names: tuple[str, ...], returning: bool) -> Any:
        shape = ("returning" if returning else "insert", *names)
        return self._written(table, shape, lambda: _insert_of(table, names, returning))

    def _arrays(self, table: Table, names: tuple[str, ...]) -> ArrayInsert:
        found: ArrayInsert = self._written(
            table, ("arrays", *names), lambda: array_insert(table, names)
        )
        return found

    def _where(self) -> str:
        return "" if self._site == PLATFORM else " on this site"


# ---- rows of tables


def _row_of(table: Table, body: msgspec.Struct | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's columns from a Struct's fields and from single values; money becomes two
    columns, and what is UNSET is left out."""
    if not is_declared(table):
        raise StatementRefused(f"{table.name} is not declared by Service.table")
    row = {**asdict(body), **values} if body is not None else {**values}
    for name in table.info["money"]:
        if name in row:
            amount: Money | None = row.pop(name)
            row[f"{name}_minor"] = None if amount is None else amount.minor
            row[f"{name}_currency"] = None if amount is None else amount.currency
    if msgspec.UNSET in row.values():
        row = {name: value for name, value in row.items() if value is not msgspec.UNSET}
    return row


def _check_columns(table: Table, names: Iterable[str]) -> None:
    """Raise TypeError for a name that is no column for a service to write."""
    for name in names:
        if name not in table.c:
            raise TypeError(f"{table.name} has no column {name}")
    if SITE in names and table.info["scope"] == "site":
        raise TypeError(f"the site of {table.name} is written by the kernel alone")


def _insert_of(table: Table, names: tuple[str, ...], returning: bool) -> Any:
    _check_columns(table, names)
    statement = insert(table).values({name: bindparam(name) for name in names})
    if returning:
        return statement.returning(*(column for column in table.c if column.name != SITE))
    return statement


def _update_of(table: Table, names: tuple[str, ...]) -> Any:
    _check_columns(table, names)
    return update(table).where(*_by_key(table)).values({name: bindparam(name) for name in names})


def _delete_of(table: Table) -> Any:
    return delete(table).where(*_by_key(table))


def _by_key(table: Table) -> list[ColumnElement[bool]]:
    return [table.c[name] == bindparam(f"hansa_key_{name}") for name in table.info["key"]]


def _key_of(table: Table, id: Any) -> dict[str, Any]:
    key: tuple[str, ...] = table.info["key"]
    ids = (id,) if len(key) == 1 else tuple(id)
    return {f"hansa_key_{name}": value for name, value in zip(key, ids, strict=True)}


# ---- words


def _noun(into: Any) -> str:
    """Return a Struct's name as words: ``OrderLine`` is an order line."""
    name = str(getattr(into, "__name__", ""))
    known = isinstance(into, type) and issubclass(into, msgspec.Struct) and name[:1] != "_"
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().removesuffix(" row")
    return words if known else "thing"


def _name(table: Table) -> str:
    return str(table.name).partition("_")[2].replace("_", " ")


def _conflict(table: Table | None, failure: ConstraintFailed) -> Exception:
    """Return the refusal of a taken key, with the names of its columns; others stay themselves."""
    if failure.kind != "unique" or table is None:
        return failure
    fields = _fields_of(table, failure.constraint)
    return Conflict(
        f"There is already one with the same {' and '.join(fields) or 'key'} in {_name(table)}.",
        slug="already-exists",
        fields=fields,
    )


def _fields_of(table: Table, constraint: str) -> list[str]:
    """Return the columns of a unique key by its name (PostgreSQL) or its columns (SQLite)."""
    found: Iterable[str] | None = keys_of(table).get(constraint)
    if found is None:
        found = (part.partition(".")[2] for part in constraint.split(", "))
    return [name for name in found if name and name != SITE]
