"""Scoping: no statement reaches another site's row, by construction.

Wherever SQLAlchemy puts a table into a FROM, in whatever depth, it asks the compiler for the table's
text; here the compiler answers with a subquery of the site's rows, and there is no other text to be
had. The target of an UPDATE or DELETE gets the site as a condition, an INSERT gets it as a value,
at the moment they are rendered. Which statements get here at all is said in `grammar`.

What must never happen here: a site's table rendered bare because of where it stands.
"""

from typing import Any, Final

from sqlalchemy import Table, Text, bindparam
from sqlalchemy.dialects.postgresql.asyncpg import dialect as AsyncpgDialect
from sqlalchemy.dialects.sqlite import dialect as SqliteDialect
from sqlalchemy.sql import dml, operators
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.operators import in_op, not_in_op

from hansa.kernel.columns import SITE
from hansa.kernel.storage import Dialect

SITE_PARAMETER: Final = "hansa_site"


class StatementRefused(Exception):
    """A statement that the compiler does not vouch for; the message says what to write instead."""


def _site() -> BindParameter[str]:
    return bindparam(SITE_PARAMETER, type_=Text())


def _is_scoped(table: Any) -> bool:
    # A table that does not say what it is counts as a site's, so that forgetting is safe.
    return isinstance(table, Table) and table.info.get("scope", "site") == "site"


class _Scoped:
    """What the compilers of both engines do differently from SQLAlchemy's, to keep to the site."""

    def visit_table(self, table: Table, asfrom: bool = False, **kwargs: Any) -> str:
        """Render a table in a FROM: a site's table as the site's rows of it."""
        plain: str = super().visit_table(table, asfrom=asfrom, **kwargs)  # type: ignore[misc]
        if not plain or not _is_scoped(table):
            return plain
        name = self.preparer.quote(table.name)  # type: ignore[attr-defined]
        site = self.process(_site())  # type: ignore[attr-defined]
        rows = f"(SELECT * FROM {name} WHERE {name}.{SITE} = {site})"
        enclosing = kwargs.get("enclosing_alias")
        if enclosing is not None and enclosing.element is table:
            return rows  # the alias adds its own name
        return f"{rows} AS {name}"

    # The targets of writes are the only tables rendered bare, each beside its restriction.

    def update_tables_clause(
        self, statement: Any, table: Any, extra_froms: Any, **kwargs: Any
    ) -> str:
        """Render the target of an UPDATE."""
        return self.preparer.quote(table.name)  # type: ignore[attr-defined,no-any-return]

    def delete_table_clause(
        self, statement: Any, table: Any, extra_froms: Any, **kwargs: Any
    ) -> str:
        """Render the target of a DELETE."""
        return self.preparer.quote(table.name)  # type: ignore[attr-defined,no-any-return]

    def visit_update(self, statement: Any, visiting_cte: Any = None, **kwargs: Any) -> str:
        """Render an UPDATE of the site's rows."""
        _must_be_whole(self, statement, visiting_cte)
        text: str = super().visit_update(_restricted(statement), **kwargs)  # type: ignore[misc]
        return text

    def visit_delete(self, statement: Any, visiting_cte: Any = None, **kwargs: Any) -> str:
        """Render a DELETE of the site's rows."""
        _must_be_whole(self, statement, visiting_cte)
        text: str = super().visit_delete(_restricted(statement), **kwargs)  # type: ignore[misc]
        return text


def _must_be_whole(compiler: Any, statement: Any, visiting_cte: Any) -> None:
    if visiting_cte is not None or compiler.stack:
        raise StatementRefused("a write inside another statement; run it by itself")
    if not isinstance(statement.table, Table):
        raise StatementRefused("a write to an alias or a join; write to a declared table")


def _restricted(statement: dml.Update | dml.Delete) -> dml.Update | dml.Delete:
    if _is_scoped(statement.table):
        return statement.where(statement.table.c[SITE] == _site())
    return statement


class _Portable:
    """What means the same on both engines, and is one static text whatever the values are."""

    contains: str
    """How an engine finds one text in another."""
    list_keys: frozenset[str] = frozenset()
    """The parameters met so far that stand for lists."""

    def list_text(self, left: str, bound: str, negated: bool) -> str:
        """Return the condition that `left` is one of the values in the list parameter `bound`."""
        raise NotImplementedError

    def visit_insert(
        self,
        statement: Any,
        visited_bindparam: Any = None,
        visiting_cte: Any = None,
        **kwargs: Any,
    ) -> str:
        """Render an INSERT; on a site's table of a row of the site."""
        _must_be_whole(self, statement, visiting_cte)
        if _is_scoped(statement.table):
            statement = statement.values({SITE: _site()})
        text: str = super().visit_insert(statement, **kwargs)  # type: ignore[misc]
        return text

    def update_from_clause(self, *args: Any, **kwargs: Any) -> str:
        """Refuse an UPDATE of several tables."""
        raise StatementRefused("an UPDATE with other tables; put them into exists() or a subquery")

    def delete_extra_from_clause(self, *args: Any, **kwargs: Any) -> str:
        """Refuse a DELETE of several tables."""
        raise StatementRefused("a DELETE with other tables; put them into exists() or a subquery")

    def visit_binary(self, binary: Any, override_operator: Any = None, **kwargs: Any) -> str:
        """Render a comparison: lists and searches in our way, all others as they are."""
        operator = override_operator or binary.operator
        if operator in _SEARCHES:
            return self._search(binary, *_SEARCHES[operator], **kwargs)
        if operator in (in_op, not_in_op) and isinstance(binary.right, BindParameter):
            plain = binary.right._clone(maintain_key=True)
            plain.expanding = False
            self.list_keys = self.list_keys | {plain.key}
            left, bound = self.process(binary.left, **kwargs), self.process(plain)  # type: ignore[attr-defined]
            return self.list_text(left, bound, operator is not_in_op)
        text: str = super().visit_binary(  # type: ignore[misc]
            binary, override_operator=override_operator, **kwargs
        )
        return text

    def _search(self, binary: Any, shape: str, folded: bool, negated: bool, **kwargs: Any) -> str:
        """Render a search without LIKE, which is blind to case on SQLite only, and would read the
        % and _ in what a visitor typed."""
        left: str = self.process(binary.left, **kwargs)  # type: ignore[attr-defined]
        right: str = self.process(binary.right, **kwargs)  # type: ignore[attr-defined]
        if folded:
            left, right = f"lower({left})", f"lower({right})"
        found = (shape or self.contains).format(left=left, right=right)
        return f"(NOT ({found}))" if negated else f"({found})"


_STARTS: Final = "substr({left}, 1, length({right})) = {right}"
_ENDS: Final = (
    "length({left}) >= length({right}) AND "
    "substr({left}, length({left}) - length({right}) + 1) = {right}"
)
_SEARCHES: Final[dict[Any, tuple[str, bool, bool]]] = {
    operators.contains_op: ("", False, False),
    operators.not_contains_op: ("", False, True),
    operators.icontains_op: ("", True, False),
    operators.not_icontains_op: ("", True, True),
    operators.startswith_op: (_STARTS, False, False),
    operators.not_startswith_op: (_STARTS, False, True),
    operators.istartswith_op: (_STARTS, True, False),
    operators.not_istartswith_op: (_STARTS, True, True),
    operators.endswith_op: (_ENDS, False, False),
    operators.not_endswith_op: (_ENDS, False, True),
    operators.iendswith_op: (_ENDS, True, False),
    operators.not_iendswith_op: (_ENDS, True, True),
}
"""How each search is written, whether both sides are folded to lower case, whether it is negated."""


class _Sqlite(_Portable):
    contains = "instr({left}, {right}) > 0"

    def list_text(self, left: str, bound: str, negated: bool) -> str:
        """Return the condition over a JSON array."""
        return f"{left} {'NOT IN' if negated else 'IN'} (SELECT value FROM json_each({bound}))"

    def _process_numeric(self) -> None:
        self._numeric_binds_identifier_char = "?"  # ?1, not $1, which is a name to SQLite
        super()._process_numeric()  # type: ignore[misc]


class _Postgres(_Portable):
    contains = "strpos({left}, {right}) > 0"

    def list_text(self, left: str, bound: str, negated: bool) -> str:
        """Return the condition over an array; `bound` ends in a cast to the element's type."""
        return f"{left} {'<> ALL' if negated else '= ANY'} ({bound}[])"


class _SqliteScoped(SqliteDialect):
    supports_statement_cache = False

    class statement_compiler(_Scoped, _Sqlite, SqliteDialect.statement_compiler):  # type: ignore[misc,name-defined]
        """SQLite, kept to the site."""


class _SqliteOpen(SqliteDialect):
    supports_statement_cache = False

    class statement_compiler(_Sqlite, SqliteDialect.statement_compiler):  # type: ignore[misc,name-defined]
        """SQLite, across all sites."""


class _PostgresScoped(AsyncpgDialect):
    supports_statement_cache = False

    class statement_compiler(_Scoped, _Postgres, AsyncpgDialect.statement_compiler):  # type: ignore[misc,name-defined]
        """PostgreSQL, kept to the site."""


class _PostgresOpen(AsyncpgDialect):
    supports_statement_cache = False

    class statement_compiler(_Postgres, AsyncpgDialect.statement_compiler):  # type: ignore[misc,name-defined]
        """PostgreSQL, across all sites."""


_DIALECTS: Final[dict[tuple[Dialect, bool], Any]] = {
    ("sqlite", True): _SqliteScoped(paramstyle="numeric_dollar"),
    ("sqlite", False): _SqliteOpen(paramstyle="numeric_dollar"),
    ("postgresql", True): _PostgresScoped(paramstyle="numeric_dollar"),
    ("postgresql", False): _PostgresOpen(paramstyle="numeric_dollar"),
}


def dialect_of(engine: Dialect, *, scoped: bool = True) -> Any:
    """Return SQLAlchemy's dialect that renders for an engine, kept to the site or across sites."""
    return _DIALECTS[engine, scoped]
