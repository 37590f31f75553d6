"""Scoping: no statement reaches another site's row, by construction.

Two walls in this module. The rendering: wherever SQLAlchemy puts a site's table into a FROM, in
whatever depth, it asks the compiler for the table's text, and the compiler answers with a subquery
of the site's rows; there is no other text to be had. The walk: every node of a statement must be of
a known kind, so that nothing arrives whose text the compiler does not make itself.

What must never happen here: a statement that is let through because nobody thought of it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Table, bindparam
from sqlalchemy.dialects.postgresql.asyncpg import dialect as AsyncpgDialect
from sqlalchemy.dialects.sqlite import dialect as SqliteDialect
from sqlalchemy.sql import dml, elements, functions, operators, selectable
from sqlalchemy.sql.schema import Column

from hansa.kernel.columns import SITE

SITE_PARAMETER: Final = "hansa_site"


class StatementRefused(Exception):
    """A statement that the compiler does not vouch for; the message says what to write instead."""


# ---- the rendering


class _Scoped:
    """What both dialects' compilers do differently from SQLAlchemy's."""

    def visit_table(self, table: Table, asfrom: bool = False, **kwargs: Any) -> str:
        plain: str = super().visit_table(table, asfrom=asfrom, **kwargs)  # type: ignore[misc]
        if not asfrom or kwargs.get("iscrud") or table.info.get("scope") != "site":
            return plain
        preparer = self.preparer  # type: ignore[attr-defined]
        name = preparer.quote(table.name)
        site = self.process(bindparam(SITE_PARAMETER, type_=table.c[SITE].type))  # type: ignore[attr-defined]
        rows = f"(SELECT * FROM {name} WHERE {name}.{SITE} = {site})"
        enclosing = kwargs.get("enclosing_alias")
        if enclosing is not None and enclosing.element is table:
            return rows  # the alias adds its own name
        alias = plain.partition(" AS ")[2] or name
        return f"{rows} AS {alias}"


class _Lists:
    """IN over a list parameter as one static text, so that its length does not change the SQL."""

    def list_text(self, inner: str, bound: Any) -> str:
        """Return the subquery that gives the list's elements."""
        raise TypeError("an engine's compiler says how")

    def visit_bindparam(self, bound: Any, **kwargs: Any) -> str:
        if getattr(bound, "expanding", False):
            plain = bindparam(bound.key, bound.value, type_=bound.type, required=bound.required)
            plain.expanding = False
            return self.list_text(super().visit_bindparam(plain), bound)  # type: ignore[misc]
        text: str = super().visit_bindparam(bound, **kwargs)  # type: ignore[misc]
        return text


class _SqliteLists(_Lists):
    def list_text(self, inner: str, bound: Any) -> str:
        return f"(SELECT value FROM json_each({inner}))"


class _PostgresLists(_Lists):
    def list_text(self, inner: str, bound: Any) -> str:
        bare = inner.partition("::")[0]
        kind = self.dialect.type_compiler_instance.process(bound.type)  # type: ignore[attr-defined]
        return f"(SELECT unnest({bare}::{kind}[]))"


class SqliteDialectScoped(SqliteDialect):
    """SQLite, with every site's table restricted."""

    supports_statement_cache = False

    class statement_compiler(_Scoped, _SqliteLists, SqliteDialect.statement_compiler):  # type: ignore[misc,name-defined]  # noqa: D106, N801
        pass


class SqliteDialectOpen(SqliteDialect):
    """SQLite across all sites."""

    supports_statement_cache = False

    class statement_compiler(_SqliteLists, SqliteDialect.statement_compiler):  # type: ignore[misc,name-defined]  # noqa: D106, N801
        pass


class PostgresDialectScoped(AsyncpgDialect):
    """PostgreSQL, with every site's table restricted."""

    supports_statement_cache = False

    class statement_compiler(_Scoped, _PostgresLists, AsyncpgDialect.statement_compiler):  # type: ignore[misc,name-defined]  # noqa: D106, N801
        pass


class PostgresDialectOpen(AsyncpgDialect):
    """PostgreSQL across all sites."""

    supports_statement_cache = False

    class statement_compiler(_PostgresLists, AsyncpgDialect.statement_compiler):  # type: ignore[misc,name-defined]  # noqa: D106, N801
        pass


# ---- the walk

_NODES: Final[tuple[type, ...]] = (
    selectable.Select, selectable.CompoundSelect, selectable.Join, selectable.Alias,
    selectable.Subquery, selectable.CTE, selectable.Lateral, selectable.Exists,
    selectable.ScalarSelect, selectable.SelectStatementGrouping, selectable.FromGrouping,
    elements.BinaryExpression, elements.UnaryExpression, elements.BooleanClauseList,
    elements.ClauseList, elements.ExpressionClauseList, elements.Grouping, elements.Label,
    elements.Case, elements.Cast, elements.BindParameter, elements.Null, elements.True_,
    elements.False_, elements.Tuple, elements.AsBoolean, elements.Over,
    elements.AggregateOrderBy if hasattr(elements, "AggregateOrderBy") else elements.Null,
    elements.FunctionFilter, elements.OperatorExpression,
    elements.TypeClause, selectable._OffsetLimitParam,
)  # fmt: skip

_EMPTY: Final = frozenset({
    "_prefixes", "_suffixes", "_hints", "_statement_hints", "_pre_columns_clause",
    "_post_criteria_clause", "_post_body_clause", "_post_select_clause", "_for_update_arg",
    "_independent_ctes", "_extra_froms", "select", "_select_names",
    "_memoized_select_entities", "_restates", "recursive", "_table_value_type",
    "_with_ordinality", "_return_defaults_columns", "_supplemental_returning",
    "_distinct_on", "_fetch_clause", "packagenames", "literal_execute", "_with_options",
    "_compile_state_funcs", "range_", "groups", "rows", "exclude",
})  # fmt: skip
"""Attributes that must hold nothing: what they would say, the compiler does not vouch for."""

_PLAIN: Final = frozenset({
    "_correlate_mode", "_fetch_clause_options", "_distinct", "_label_style", "_annotations",
    "_propagate_attrs", "_params", "dialect_options", "_independent_ctes_opts", "isouter", "full",
    "name", "nesting", "operator", "negate", "modifier", "modifiers", "type", "key", "callable",
    "value", "keyword", "is_literal", "_inline", "_maintain_values_ordering", "_return_defaults",
    "_sort_by_parameter_order", "include_insert_from_select_defaults", "_cte_alias",
})  # fmt: skip
"""Attributes that hold no nodes."""

FUNCTIONS: Final = frozenset({
    "count", "sum", "min", "max", "avg", "coalesce", "lower", "upper", "length", "abs", "round",
    "nullif", "replace", "substr", "trim", "row_number", "rank",
})  # fmt: skip

_OPERATORS: Final = frozenset({
    operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge,
    operators.add, operators.sub, operators.mul, operators.truediv, operators.floordiv,
    operators.mod, operators.neg, operators.and_, operators.or_, operators.inv, operators.is_,
    operators.is_not, operators.in_op, operators.not_in_op, operators.like_op,
    operators.not_like_op, operators.between_op, operators.not_between_op, operators.concat_op,
    operators.comma_op, operators.asc_op, operators.desc_op, operators.nulls_first_op,
    operators.nulls_last_op, operators.exists, operators.is_true, operators.is_false,
    operators.distinct_op, operators.startswith_op, operators.not_startswith_op,
    operators.contains_op, operators.not_contains_op, operators.is_distinct_from,
    operators.is_not_distinct_from, None,
})  # fmt: skip


class Walk:
    """Checks one statement for one service; collects the tables it names."""

    def __init__(self, owner: str | None) -> None:
        self.owner = owner
        self.tables: set[Table] = set()

    def statement(self, statement: Any) -> None:
        """Check a whole statement. Raises StatementRefused."""
        if isinstance(statement, dml.UpdateBase):
            self._change(statement)
        elif isinstance(statement, (selectable.Select, selectable.CompoundSelect)):
            self.node(statement)
        else:
            raise _refusal(statement)

    def node(self, node: Any) -> None:
        """Check a node and all that it holds."""
        kind = type(node)
        if isinstance(node, Table):
            self._table(node)
        elif isinstance(node, Column):
            if isinstance(node.table, Table):
                self._table(node.table)
            elif node.table is None:
                raise StatementRefused(f"column {node.name} belongs to no table")
        elif isinstance(node, elements.ColumnClause):
            self._loose_column(node)
        elif isinstance(node, functions.FunctionElement):
            self._function(node)
        elif isinstance(node, dml.UpdateBase):
            raise StatementRefused("a write inside another statement; run it by itself")
        elif kind in _NODES or kind.__name__ in ("AnnotatedAlias",):
            self._known(node)
        else:
            raise _refusal(node)

    def _known(self, node: Any) -> None:
        self._operator(node)
        for name, _ in node._traverse_internals:
            value = getattr(node, name, None)
            if name in _EMPTY:
                _must_be_empty(node, name, value)
            elif name not in _PLAIN:
                for child in _nodes_in(value):
                    self.node(child)
        if isinstance(node, elements.BindParameter) and node.key == SITE_PARAMETER:
            raise StatementRefused(f"{SITE_PARAMETER} is bound by the kernel alone")

    def _operator(self, node: Any) -> None:
        for name in ("operator", "modifier", "negate"):
            operator = getattr(node, name, None)
            if isinstance(operator, operators.custom_op) or (
                operator is not None and operator not in _OPERATORS
            ):
                raise StatementRefused(
                    f"the operator {getattr(operator, '__name__', operator)!r} is not allowed;"
                    " write the condition with comparisons, and_, or_, in_, like and between"
                )

    def _table(self, table: Table) -> None:
        if self.owner is not None and table.info.get("service") != self.owner:
            raise StatementRefused(
                f"{table.name} belongs to {table.info.get('service') or 'no service'}, not to"
                f" {self.owner}; call that service, or subscribe to its events"
            )
        self.tables.add(table)

    def _loose_column(self, node: Any) -> None:
        if node.is_literal and node.name == "*":
            return  # count(*), which names no column
        if node.is_literal:
            raise StatementRefused(f"literal_column({node.name!r}); use declared columns")
        if isinstance(node.table, (selectable.AliasedReturnsRows, selectable.CompoundSelect)):
            self.node(node.table)
            return
        raise StatementRefused(f"column({node.name!r}) belongs to no declared table")

    def _function(self, node: Any) -> None:
        if node.name not in FUNCTIONS:
            raise StatementRefused(
                f"the function {node.name} is not allowed; there are {', '.join(sorted(FUNCTIONS))}"
            )
        for name, _ in node._traverse_internals:
            if name in _EMPTY:
                _must_be_empty(node, name, getattr(node, name, None))
        self.node(node.clause_expr)

    # ---- writes

    def _change(self, statement: dml.UpdateBase) -> None:
        if not isinstance(statement, (dml.Insert, dml.Update, dml.Delete)):
            raise _refusal(statement)
        table = statement.table
        if not isinstance(table, Table):
            raise StatementRefused("a write needs a declared table, not an alias or a join")
        self._table(table)
        scoped = table.info.get("scope") == "site"
        for name, _ in type(statement)._traverse_internals:
            value = getattr(statement, name, None)
            if name in ("table", "_post_values_clause", "_returning"):
                continue
            if name in _EMPTY:
                _must_be_empty(statement, name, value)
            elif name in ("_values", "_multi_values"):
                self._values(table, scoped, name, value)
            elif name not in _PLAIN:
                for child in _nodes_in(value):
                    self.node(child)
        for column in getattr(statement, "_returning", ()):
            self.node(column)
        if isinstance(statement, dml.Update):
            others = self.tables - {table}
            named = {column.table for column in _columns_in(statement._where_criteria)}
            if others & named:
                raise StatementRefused("an UPDATE of several tables; use a subquery with exists()")
        conflict = getattr(statement, "_post_values_clause", None)
        if conflict is not None and type(conflict).__name__ not in (
            "OnConflictDoUpdate",
            "OnConflictDoNothing",
        ):
            raise _refusal(conflict)
        if conflict is not None:
            raise StatementRefused("on_conflict of a dialect; use upsert(), which names the site")

    def _values(self, table: Table, scoped: bool, name: str, value: Any) -> None:
        if not value:
            return
        if name == "_multi_values":
            raise StatementRefused("values() with several rows; use ctx.db.insert_all")
        for column, given in value.items():
            key = column if isinstance(column, str) else column.name
            if scoped and key == SITE:
                raise StatementRefused(f"the site of {table.name} is set by the kernel alone")
            if hasattr(given, "_traverse_internals"):
                self.node(given)


def _columns_in(criteria: Iterable[Any]) -> Iterator[Any]:
    """Yield the columns named directly in conditions, not those inside subqueries."""
    for node in criteria:
        if isinstance(node, Column):
            yield node
        elif not isinstance(node, (selectable.SelectBase, selectable.Exists)):
            for name, _ in getattr(node, "_traverse_internals", ()):
                if name not in _PLAIN and name not in _EMPTY and name != "table":
                    yield from _columns_in(_nodes_in(getattr(node, name, None)))


def _nodes_in(value: Any) -> Iterator[Any]:
    """Yield the nodes in an attribute: one, a list, pairs of them, or the parts of a join."""
    if value is None or isinstance(value, (str, bool, int)):
        return
    if hasattr(value, "_traverse_internals"):
        yield value
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from _nodes_in(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _nodes_in(one)
    else:
        raise StatementRefused(f"{type(value).__name__} is not allowed in a statement")


def _must_be_empty(node: Any, name: str, value: Any) -> None:
    if value is None or value is False:
        return
    try:
        filled = bool(len(value))
    except TypeError:
        filled = True
    if filled:
        raise StatementRefused(
            f"{type(node).__name__} with {name.strip('_').replace('_', ' ')} is not allowed;"
            " write it with select, joins, subqueries, union and common table expressions"
        )


def _refusal(node: Any) -> StatementRefused:
    return StatementRefused(
        f"{type(node).__name__} is not allowed: the compiler cannot vouch for its site; use"
        " select, insert, update, delete and upsert over declared tables"
    )
