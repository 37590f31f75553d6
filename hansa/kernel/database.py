"""Db: what a handler calls `ctx.db`: statements and rows of its own service, on its own site."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Table, bindparam, delete, insert, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from hansa.kernel.columns import SITE
from hansa.kernel.compiler import Compiled, Statements
from hansa.kernel.ids import ID
from hansa.kernel.problems import Conflict, Invalid, NotFound
from hansa.kernel.rows import encoder_of
from hansa.kernel.scoping import SITE_PARAMETER
from hansa.kernel.storage import ConstraintFailed, Session
from hansa.kernel.structs import Money, Page, PageRequest, Struct

T = TypeVar("T")

PAGE_MAX: Final = 100
CURSOR_LENGTH_MAX: Final = 1024
ROWS_MAX: Final = 10_000
"""Rows of one `all`, and of one `insert_all`."""

_writes: dict[Any, Any] = {}
_pages: dict[Any, tuple[Any, Any]] = {}


class Db:
    """Runs statements in the handler's transaction or snapshot, restricted to its site."""

    __slots__ = ("_across", "_new_id", "_owner", "_session", "_site", "_statements")

    def __init__(
        self,
        session: Session,
        site: str,
        service: str,
        statements: Statements,
        new_id: Callable[[str], ID],
        across: bool = False,
    ) -> None:
        self._session = session
        self._site = site
        self._owner = service
        self._statements = statements
        self._new_id = new_id
        self._across = across

    # ---- reading

    async def one(self, statement: Any, into: type[T], **parameters: Any) -> T:
        """Return the one row. Raises NotFound when there is none."""
        found = await self.first(statement, into, **parameters)
        if found is None:
            raise NotFound(f"There is no {_noun(into)} like that on this site.")
        return found

    async def first(self, statement: Any, into: type[T], **parameters: Any) -> T | None:
        """Return the first row, None when there is none."""
        compiled, rows = await self._rows(statement, into, parameters)
        return compiled.decode(rows[0]) if rows else None

    async def all(self, statement: Any, into: type[T], **parameters: Any) -> list[T]:
        """Return all rows. Raises ValueError above 10,000 of them: read a page at a time."""
        compiled, rows = await self._rows(statement, into, parameters)
        if len(rows) > ROWS_MAX:
            raise ValueError(f"more than {ROWS_MAX} rows; read them in pages")
        decode = compiled.decode
        return [decode(row) for row in rows]

    async def value(self, statement: Any, kind: type[T], **parameters: Any) -> T | None:
        """Return the first column of the first row, None when there is no row."""
        return await self.first(statement, kind, **parameters)

    async def rows(self, statement: Any, **parameters: Any) -> list[tuple[Any, ...]]:
        """Return all rows as they are, for statements whose columns have no Struct."""
        _, rows = await self._rows(statement, None, parameters)
        return [tuple(row) for row in rows]

    async def _rows(
        self, statement: Any, into: Any, parameters: dict[str, Any]
    ) -> tuple[Compiled, Sequence[Sequence[Any]]]:
        compiled = self._statements.find(statement, into, self._owner, self._across)
        if len(parameters) + len(compiled.defaults) != len(set(compiled.names)) - 1:
            compiled.check(parameters)
        parameters[SITE_PARAMETER] = self._site
        rows = await self._session.fetch(compiled.sql, compiled.arguments(parameters))
        return compiled, rows

    # ---- writing

    async def run(self, statement: Any, **parameters: Any) -> int:
        """Run a write and return how many rows it changed."""
        compiled = self._statements.find(statement, None, self._owner, self._across)
        compiled.check(parameters)
        parameters[SITE_PARAMETER] = self._site
        return await self._guarded(compiled, parameters)

    async def insert(
        self,
        table: Table,
        body: msgspec.Struct | None = None,
        *,
        into: type[T] | None = None,
        **values: Any,
    ) -> Any:
        """Insert a row from the fields of `body` and `values`; return its id, or the row as `into`.

        Without an `id` it gets a new one of the table's prefix. Raises Conflict (`already-exists`)
        when a unique key is taken.
        """
        row = _row_of(table, body, values)
        key: tuple[str, ...] = table.info["key"]
        if key == ("id",) and "id" not in row:
            row["id"] = self._new_id(table.info["prefix"])
        statement = _insert_of(table, tuple(row), into is not None)
        if into is None:
            await self.run(statement, **row)
            return row[key[0]] if len(key) == 1 else tuple(row[name] for name in key)
        compiled = self._statements.find(statement, into, self._owner)
        row[SITE_PARAMETER] = self._site
        try:
            rows = await self._session.fetch(compiled.sql, compiled.arguments(row))
        except ConstraintFailed as failure:
            raise _conflict(failure) from failure
        return compiled.decode(rows[0])

    async def insert_all(
        self, table: Table, rows: Sequence[msgspec.Struct | Mapping[str, Any]]
    ) -> int:
        """Insert many rows of the same columns at once; at most 10,000. Returns how many."""
        if len(rows) > ROWS_MAX:
            raise ValueError(f"at most {ROWS_MAX} rows at once")
        full = [
            _row_of(table, row, {}) if isinstance(row, msgspec.Struct) else _row_of(table, None, row)
            for row in rows
        ]
        if table.info["key"] == ("id",):
            for row in full:
                row.setdefault("id", self._new_id(table.info["prefix"]))
        if not full:
            return 0
        names = tuple(full[0])
        if any(tuple(row) != names for row in full):
            raise TypeError("insert_all: every row needs the same columns")
        if self._session.dialect == "postgresql":
            return await self._insert_arrays(table, names, full)
        for row in full:
            await self.run(_insert_of(table, names, False), **row)
        return len(full)

    async def _insert_arrays(
        self, table: Table, names: tuple[str, ...], rows: Sequence[dict[str, Any]]
    ) -> int:
        """On PostgreSQL: one statement for any number of rows, an array a column."""
        if table.info["service"] != self._owner:
            raise TypeError(f"{table.name} belongs to {table.info['service']}")
        scoped = table.info["scope"] == "site"
        preparer = _preparer()
        columns = [preparer.quote(name) for name in names]
        arrays = [
            f"${place}::{_postgres_type(table, name)}[]"
            for place, name in enumerate(names, start=2)
        ]
        head = ("site, ", "$1::text, ") if scoped else ("", "")
        # The first parameter is there on platform tables too, so that places stay the same.
        sql = (
            f"INSERT INTO {preparer.quote(table.name)} ({head[0]}{', '.join(columns)})"
            f" SELECT {head[1]}{', '.join(columns)} FROM unnest({', '.join(arrays)})"
            f" AS new ({', '.join(columns)}) WHERE $1::text <> ''"
        )
        encoders = {name: encoder_of(table.c[name].type, "postgresql") for name in names}
        arguments: list[Any] = [self._site]
        for name in names:
            encode = encoders[name]
            arguments.append([encode(row[name]) if encode else row[name] for row in rows])
        try:
            return await self._session.run(sql, arguments)
        except ConstraintFailed as failure:
            raise _conflict(failure) from failure

    async def update(self, table: Table, id: Any, **values: Any) -> None:
        """Change columns of the row with the key `id`. Raises NotFound when there is none."""
        row = _row_of(table, None, values)
        key: tuple[str, ...] = table.info["key"]
        ids = (id,) if len(key) == 1 else tuple(id)
        statement = _update_of(table, tuple(row))
        named = {f"key_{name}": value for name, value in zip(key, ids, strict=True)}
        if not await self.run(statement, **row, **named):
            raise NotFound(f"There is no row {id} in {table.name} on this site.")

    async def delete(self, table: Table, id: Any) -> None:
        """Delete the row with the key `id`. Raises NotFound when there is none."""
        key: tuple[str, ...] = table.info["key"]
        ids = (id,) if len(key) == 1 else tuple(id)
        named = {f"key_{name}": value for name, value in zip(key, ids, strict=True)}
        if not await self.run(_delete_of(table), **named):
            raise NotFound(f"There is no row {id} in {table.name} on this site.")

    async def _guarded(self, compiled: Compiled, parameters: dict[str, Any]) -> int:
        try:
            return await self._session.run(compiled.sql, compiled.arguments(parameters))
        except ConstraintFailed as failure:
            if failure.kind == "unique":
                raise _conflict(failure) from failure
            raise

    # ---- pages

    async def page(
        self,
        statement: Any,
        into: type[T],
        request: PageRequest,
        *,
        order: Sequence[ColumnElement[Any]],
        descending: bool = False,
        **parameters: Any,
    ) -> Page[T]:
        """Return one page, ordered by columns that together are unique and never null.

        Raises Invalid (`invalid-cursor`) for a cursor that this list did not give.
        """
        if not 1 <= request.limit <= PAGE_MAX:
            raise Invalid(f"limit is 1 to {PAGE_MAX}.", slug="invalid-limit")
        first, later = _pages_of(statement, tuple(order), descending)
        chosen = first
        parameters["page_limit"] = request.limit + 1
        if request.cursor is not None:
            chosen = later
            values = _open_cursor(request.cursor, order)
            parameters |= {f"page_{place}": value for place, value in enumerate(values)}
        compiled, rows = await self._rows(chosen, into, parameters)
        items = [compiled.decode(row) for row in rows[: request.limit]]
        if len(rows) <= request.limit:
            return Page(items, None)
        last = rows[request.limit - 1]
        return Page(items, _make_cursor(tuple(last)[-len(order) :]))


def _noun(into: Any) -> str:
    return str(getattr(into, "__name__", "row")).lower()


def _conflict(failure: ConstraintFailed) -> Exception:
    if failure.kind != "unique":
        return failure
    where = failure.constraint.replace(f".{SITE},", ",")
    return Conflict(
        f"There is already one with the same key ({where}).", slug="already-exists"
    )


def _row_of(table: Table, body: msgspec.Struct | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's columns from a Struct's fields and single values; money becomes two columns."""
    row: dict[str, Any] = {}
    if body is not None:
        row = {name: getattr(body, name) for name in body.__struct_fields__}
    row.update(values)
    for name in table.info["money"] & row.keys():
        amount: Money | None = row.pop(name)
        row[f"{name}_minor"] = None if amount is None else amount.minor
        row[f"{name}_currency"] = None if amount is None else amount.currency
    unknown = row.keys() - table.c.keys()
    if unknown or SITE in row:
        raise TypeError(f"{table.name} has no column {', '.join(sorted(unknown or {SITE}))}")
    return row


def _insert_of(table: Table, names: tuple[str, ...], returning: bool) -> Any:
    key = (table, names, returning)
    statement = _writes.get(key)
    if statement is None:
        values = {name: bindparam(name, type_=table.c[name].type) for name in names}
        statement = insert(table).values(values)
        if returning:
            statement = statement.returning(*(c for c in table.c if c.name != SITE))
        _writes[key] = statement
    return statement


def _update_of(table: Table, names: tuple[str, ...]) -> Any:
    key = (table, names, "update")
    statement = _writes.get(key)
    if statement is None:
        values = {name: bindparam(name, type_=table.c[name].type) for name in names}
        statement = _writes[key] = update(table).where(*_by_key(table)).values(values)
    return statement


def _delete_of(table: Table) -> Any:
    key = (table, "delete")
    statement = _writes.get(key)
    if statement is None:
        statement = _writes[key] = delete(table).where(*_by_key(table))
    return statement


def _by_key(table: Table) -> list[ColumnElement[bool]]:
    return [table.c[name] == bindparam(f"key_{name}") for name in table.info["key"]]


def _pages_of(statement: Any, order: tuple[Any, ...], descending: bool) -> tuple[Any, Any]:
    key = (id(statement), tuple(id(column) for column in order), descending)
    found = _pages.get(key)
    if found is not None and found[0] is statement:
        first, later = found[1]
        return first, later
    sorted_by = [column.desc() if descending else column.asc() for column in order]
    first = (
        statement.add_columns(*(c.label(f"page_key_{place}") for place, c in enumerate(order)))
        .order_by(*sorted_by)
        .limit(bindparam("page_limit", type_=_big()))
    )
    after = tuple_(*(bindparam(f"page_{place}", type_=c.type) for place, c in enumerate(order)))
    here = tuple_(*order)
    later = first.where(here < after if descending else here > after)
    if len(_pages) > PAGES_MAX:
        _pages.clear()
    _pages[key] = (statement, (first, later))
    return first, later


PAGES_MAX: Final = 1024


def _big() -> Any:
    from sqlalchemy import BigInteger

    return BigInteger()


class _Cursor(Struct):
    """What a cursor stands for: the values of the last row's order columns."""

    k: list[str | int | float]


def _make_cursor(values: Sequence[Any]) -> str:
    data = msgspec.json.encode(_Cursor(list(values)))
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _open_cursor(cursor: str, order: Sequence[ColumnElement[Any]]) -> list[Any]:
    try:
        if len(cursor) > CURSOR_LENGTH_MAX:
            raise ValueError("too long")
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        values = msgspec.json.decode(data, type=_Cursor).k
        wanted = [str if column.type.python_type is str else int for column in order]
        if len(values) != len(order) or any(
            not isinstance(value, kind) for value, kind in zip(values, wanted, strict=True)
        ):
            raise ValueError("of another list")
    except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError):
        raise Invalid(
            "The cursor is not one that this list gave; begin again without it.",
            slug="invalid-cursor",
        ) from None
    return list(values)


def _preparer() -> Any:
    from hansa.kernel.compiler import _DIALECTS

    return _DIALECTS["postgresql", False].identifier_preparer


def _postgres_type(table: Table, name: str) -> str:
    from hansa.kernel.compiler import _DIALECTS

    kind: str = _DIALECTS["postgresql", False].type_compiler_instance.process(table.c[name].type)
    return kind
