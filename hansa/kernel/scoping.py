# pyright: reportPrivateUsage=false
"""Scoping: no statement reaches another site's row, by construction.

Wherever SQLAlchemy puts a table into a FROM, in whatever depth, it asks the compiler for the
table's text; here the compiler answers with a subquery of the site's rows, and there is no other
text to be had. The target of an UPDATE or DELETE gets the site as a condition, an INSERT gets it as
a value, at the moment they are rendered. Which statements get here at all is said in `grammar`.

What must never happen here: a site's table rendered bare because of where it stands.
"""

from functools import cache
from typing import Any, Final, NoReturn

from sqlalchemy import Table, Text, bindparam
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter

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


class Scoped(SQLCompiler):
    """What keeps a statement to the site, on both engines."""

    def visit_table(self, table: Any, *args: Any, **kwargs: Any) -> str:
        """Render a table in a FROM: a site's table as the site's rows of it."""
        plain: str = _above(super()).visit_table(table, *args, **kwargs)
        if not plain or not _is_scoped(table):
            return plain
        name = self.preparer.quote(table.name)
        rows = f"(SELECT * FROM {name} WHERE {name}.{SITE} = {self.process(_site())})"
        enclosing = kwargs.get("enclosing_alias")
        if enclosing is not None and enclosing.element is table:
            return rows  # the alias adds its own name
        return f"{rows} AS {name}"

    # The targets of writes are the only tables rendered bare, each beside its restriction.

    def update_tables_clause(
        self, update_stmt: Any, from_table: Any, extra_froms: Any, **kwargs: Any
    ) -> str:
        """Render the target of an UPDATE."""
        return self.preparer.quote(from_table.name)

    def delete_table_clause(
        self, delete_stmt: Any, from_table: Any, extra_froms: Any, **kwargs: Any
    ) -> str:
        """Render the target of a DELETE."""
        return self.preparer.quote(from_table.name)

    def visit_update(self, update_stmt: Any, visiting_cte: Any = None, **kwargs: Any) -> str:
        """Render an UPDATE of the site's rows."""
        _must_be_whole(self, update_stmt, visiting_cte)
        text: str = _above(super()).visit_update(_restricted(update_stmt), **kwargs)
        return text

    def visit_delete(self, delete_stmt: Any, visiting_cte: Any = None, **kwargs: Any) -> str:
        """Render a DELETE of the site's rows."""
        _must_be_whole(self, delete_stmt, visiting_cte)
        text: str = _above(super()).visit_delete(_restricted(delete_stmt), **kwargs)
        return text


def _above(compiler: Any) -> Any:
    """Return a compiler's parent as what it is to the type checkers: not typed in full."""
    return compiler


def _must_be_whole(compiler: SQLCompiler, statement: Any, visiting_cte: Any) -> None:
    if visiting_cte is not None or compiler.stack:
        raise StatementRefused("a write inside another statement; run it by itself")
    if not isinstance(statement.table, Table):
        raise StatementRefused("a write to an alias or a join; write to a declared table")


def _restricted(statement: Any) -> Any:
    if _is_scoped(statement.table):
        return statement.where(statement.table.c[SITE] == _site())
    return statement


# ---- what means the same on both engines

_CONTAINS: Final = "{find}({left}, {right}) > 0"
_STARTS: Final = "substr({left}, 1, length({right})) = {right}"
_ENDS: Final = (
    "length({left}) >= length({right}) AND "
    "substr({left}, length({left}) - length({right}) + 1) = {right}"
)
_SEARCHES: Final[dict[Any, tuple[str, bool, bool]]] = {
    operators.contains_op: (_CONTAINS, False, False),
    operators.not_contains_op: (_CONTAINS, False, True),
    operators.icontains_op: (_CONTAINS, True, False),
    operators.not_icontains_op: (_CONTAINS, True, True),
    operators.startswith_op: (_STARTS, False, False),
    operators.not_startswith_op: (_STARTS, False, True),
    operators.istartswith_op: (_STARTS, True, False),
    operators.not_istartswith_op: (_STARTS, True, True),
    operators.endswith_op: (_ENDS, False, False),
    operators.not_endswith_op: (_ENDS, False, True),
    operators.iendswith_op: (_ENDS, True, False),
    operators.not_iendswith_op: (_ENDS, True, True),
}
"""How each search is written, whether both sides are made lower case, whether it is negated."""


_OWN: Final = ("override_operator", "eager_grouping")
"""Arguments of a comparison that are not meant for its sides."""


class Portable(SQLCompiler):
    """What has one meaning on both engines, and one text whatever the values are."""

    find_function: str
    """What an engine calls the function that finds one text in another."""
    list_shapes: tuple[str, str]
    """How an engine writes that `left` is one of the values in the list parameter `bound`, and that
    it is none of them."""
    list_keys: frozenset[str] = frozenset()
    """The parameters met so far that stand for lists."""

    def visit_insert(
        self,
        insert_stmt: Any,
        visited_bindparam: Any = None,
        visiting_cte: Any = None,
        **kwargs: Any,
    ) -> str:
        """Render an INSERT; on a site's table of a row of the site."""
        _must_be_whole(self, insert_stmt, visiting_cte)
        if _is_scoped(insert_stmt.table):
            insert_stmt = insert_stmt.values({SITE: _site()})
        text: str = _above(super()).visit_insert(insert_stmt, **kwargs)
        return text

    def update_from_clause(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse an UPDATE of several tables."""
        raise StatementRefused("an UPDATE with other tables; put them into exists() or a subquery")

    def delete_extra_from_clause(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse a DELETE of several tables."""
        raise StatementRefused("a DELETE with other tables; put them into exists() or a subquery")

    def visit_binary(self, binary: Any, *args: Any, **kwargs: Any) -> str:
        """Render a comparison: lists and searches in our way, all others as they are."""
        inner = {name: value for name, value in kwargs.items() if name not in _OWN}
        if binary.operator in _SEARCHES:
            return self._search(binary, *_SEARCHES[binary.operator], **inner)
        lists = binary.operator in (operators.in_op, operators.not_in_op)
        if lists and isinstance(binary.right, BindParameter) and "literal_binds" not in kwargs:
            plain = binary.right._clone(maintain_key=True)
            plain.expanding = False
            self.list_keys = self.list_keys | {plain.key}
            left, bound = self.process(binary.left, **inner), self.process(plain)
            shape = self.list_shapes[binary.operator is operators.not_in_op]
            return shape.format(left=left, bound=bound)
        text: str = _above(super()).visit_binary(binary, *args, **kwargs)
        return text

    def _search(self, binary: Any, shape: str, folded: bool, negated: bool, **kwargs: Any) -> str:
        """Render a search without LIKE, which is blind to case on SQLite only, and would read the
        % and _ in what a visitor typed."""
        left, right = self.process(binary.left, **kwargs), self.process(binary.right, **kwargs)
        if folded:
            left, right = f"lower({left})", f"lower({right})"
        found = shape.format(find=self.find_function, left=left, right=right)
        return f"(NOT ({found}))" if negated else f"({found})"


# ---- SQLite; the other engine is in `scoping_postgres`


class _SqliteOpen(Portable, SQLiteCompiler):
    """SQLite, across all sites."""

    find_function = "instr"
    list_shapes = (  # over a JSON array
        "{left} IN (SELECT value FROM json_each({bound}))",
        "{left} NOT IN (SELECT value FROM json_each({bound}))",
    )

    def _process_numeric(self) -> None:
        self._numeric_binds_identifier_char = "?"  # ?1, since $1 is a name to SQLite
        _above(super())._process_numeric()


class _SqliteScoped(Scoped, _SqliteOpen):
    """SQLite, kept to the site."""


def made_dialect(kind: Any, compiler: type[SQLCompiler]) -> Any:
    """Return a dialect of SQLAlchemy's, without its driver, that renders by a compiler."""
    made = kind(paramstyle="numeric_dollar")
    made.statement_compiler = compiler
    return made


@cache
def dialect_of(engine: Dialect, *, scoped: bool = True) -> Any:
    """Return SQLAlchemy's dialect that renders for an engine, kept to the site or across sites."""
    if engine == "sqlite":
        return made_dialect(SQLiteDialect_pysqlite, _SqliteScoped if scoped else _SqliteOpen)
    from hansa.kernel import scoping_postgres  # 3 MB that a process on SQLite does without

    return scoping_postgres.dialect(scoped=scoped)
