# pyright: reportPrivateUsage=false
"""Grammar: what a statement may be made of. Everything else is refused, whatever it is.

A statement is walked through all the attributes that SQLAlchemy itself declares for each node
(`_traverse_internals`, which its own cache depends on). A node of an unknown class, an attribute of
an unknown kind that is not empty, an operator, function or type that is not listed: refused, so
that neither a new release of SQLAlchemy nor a clever author brings in what nobody thought of.

What must never happen here: a table of another service, raw text, or a value for the site.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Table
from sqlalchemy import types as sqltypes
from sqlalchemy.sql import dml, elements, functions, operators, selectable

from hansa.kernel.columns import (
    COLUMNS,
    SITE,
    Day,
    DeclaredParameter,
    Instant,
    Json,
    LogPosition,
    is_declared,
)
from hansa.kernel.scoping import SITE_PARAMETER, StatementRefused

FUNCTIONS: Final = {
    "count": 1, "sum": 1, "min": 1, "max": 1, "avg": 1, "coalesce": 9, "nullif": 2, "abs": 1,
    "lower": 1, "upper": 1, "length": 1, "replace": 3, "trim": 1, "row_number": 0, "rank": 0,
    "dense_rank": 0,
}  # fmt: skip
"""The functions that mean the same on both engines, and how many arguments they take at most."""

OPERATORS: Final = frozenset({
    operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge,
    operators.add, operators.sub, operators.mul, operators.neg, operators.concat_op,
    operators.and_, operators.or_, operators.inv, operators.is_, operators.is_not,
    operators.in_op, operators.not_in_op, operators.between_op, operators.not_between_op,
    operators.is_distinct_from, operators.is_not_distinct_from, operators.is_true,
    operators.is_false, operators.exists, operators.distinct_op, operators.comma_op,
    operators.asc_op, operators.desc_op, operators.nulls_first_op, operators.nulls_last_op,
    operators.contains_op, operators.not_contains_op, operators.icontains_op,
    operators.not_icontains_op, operators.startswith_op, operators.not_startswith_op,
    operators.istartswith_op, operators.not_istartswith_op, operators.endswith_op,
    operators.not_endswith_op, operators.iendswith_op, operators.not_iendswith_op,
})  # fmt: skip
"""The operators that mean the same on both engines. Not LIKE, which is blind to case on SQLite, nor
division, which ends in other types: a price is divided by a pure function, with its rounding."""

_TYPES: Final = frozenset({
    sqltypes.Text, sqltypes.String, sqltypes.Integer, sqltypes.BigInteger, sqltypes.Double,
    sqltypes.Float, sqltypes.Boolean, sqltypes.LargeBinary, sqltypes.NullType, sqltypes.TupleType,
    Instant, Day, Json, LogPosition,
})  # fmt: skip

_NODES: Final = frozenset({
    selectable.Select, selectable.CompoundSelect, selectable.Join, selectable.Alias,
    selectable.Subquery, selectable.CTE, selectable.Exists, selectable.ScalarSelect,
    selectable.FromGrouping, selectable._OffsetLimitParam,
    elements.BinaryExpression, elements.UnaryExpression, elements.BooleanClauseList,
    elements.ClauseList, elements.ExpressionClauseList, elements.Grouping, elements.Label,
    elements.Case, elements.Cast, elements.BindParameter, DeclaredParameter, elements.Null,
    elements.True_, elements.False_, elements.Tuple, elements.AsBoolean, elements.Over,
    elements.FunctionFilter, elements._label_reference,
})  # fmt: skip

_PARTS: Final = frozenset({
    "dp_clauseelement", "dp_clauseelement_list", "dp_clauseelement_tuple",
    "dp_clauseelement_tuples", "dp_setup_join_tuple",
})  # fmt: skip
"""Kinds of attributes that hold other nodes."""

_FREE: Final = frozenset({
    "isouter", "full", "recursive", "nesting", "_distinct", "keyword", "negate", "_label_style",
    "_correlate_mode", "_fetch_clause_options", "_maintain_values_ordering",
    "include_insert_from_select_defaults",
})  # fmt: skip
"""Attributes that may say what they like: they choose between a few words of the compiler's own."""

_INSTEAD: Final = {
    "_multi_values": "ctx.db.insert_all for several rows",
    "select": "ctx.db.insert_all with the rows that you read",
    "_inline": "ctx.db.insert_all with the rows that you read",
    "_post_values_clause": "upsert(), whose key begins with the site",
    "_memoized_select_entities": "the columns in select(), before the joins",
    "_for_update_arg": "nothing: commands are serializable",
    "_distinct_on": "row_number() over a partition in a subquery",
    "_fetch_clause": "limit()",
    "_independent_ctes": "cte() where it is used",
    "range_": "a window without a frame",
    "rows": "a window without a frame",
    "groups": "a window without a frame",
}
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


STATEMENTS: Final = "select, insert, update, delete or upsert"


class Walk:
    """Checks one statement for one service (any, if `owner` is None); collects its tables."""

    def __init__(self, owner: str | None) -> None:
        self.owner = owner
        self.tables: set[Table] = set()
        self._seen: dict[int, Any] = {}
        self._kinds: dict[str, tuple[Any, bool]] = {}
        self._aliases: set[str] = set()

    def statement(self, statement: Any) -> None:
        """Check a whole statement. Raises StatementRefused."""
        kind = type(statement)
        if kind in (dml.Insert, dml.Update, dml.Delete):
            # Its plain values are named by their address, which is another's when it is gone.
            self._seen[id(statement)] = statement
            self._change(statement)
        elif kind in (selectable.Select, selectable.CompoundSelect):
            self.node(statement)
        else:
            raise refused(statement, STATEMENTS)
        shadowed = self._aliases & {table.name for table in self.tables}
        if shadowed:
            raise StatementRefused(f"{shadowed.pop()} names a subquery as a table; name it else")

    def node(self, node: Any, untyped: bool = False) -> None:
        """Check a node and all that it holds. `untyped` allows a parameter without a type."""
        if id(node) in self._seen:
            return
        self._seen[id(node)] = node
        kind = type(node)
        if kind is Table:
            self._table(node)
        elif kind in COLUMNS:
            if node.table is None:
                raise StatementRefused(f"the column {node.name} belongs to no table")
            self.node(node.table)
        elif kind is elements.ColumnClause:
            self._column(node)
        elif isinstance(node, functions.FunctionElement):
            self._function(node)
        elif isinstance(node, dml.UpdateBase):
            raise StatementRefused("a write inside another statement; run it by itself")
        elif kind in _NODES:
            self._known(node, untyped)
        else:
            raise refused(node, "declared tables, their columns, and the functions of SQLAlchemy")

    def _known(self, node: Any, untyped: bool) -> None:
        if isinstance(node, elements.BindParameter):
            self._parameter(node, node.type, untyped)
        elif isinstance(node, selectable.CompoundSelect):
            if any(isinstance(one, selectable.SelectStatementGrouping) for one in node.selects):
                raise StatementRefused(
                    "a union inside a union, or one of limited selects; name all selects in one"
                    " union_all(a, b, c), and make a limited one a subquery"
                )
        elif isinstance(node, selectable.Exists):
            self._star(node)
        elif isinstance(node, elements.BinaryExpression):
            self._comparison(node)
        self._attributes(node)
        if isinstance(node, (selectable.Alias, selectable.Subquery, selectable.CTE)):
            self._aliases.add(str(node.name))

    def _attributes(self, node: Any, passed: frozenset[str] = frozenset()) -> None:
        for name, kind in node._traverse_internals:
            value = getattr(node, name, None)
            if name in passed or name in _FREE or _is_empty(value):
                continue
            if name in _INSTEAD:
                raise _attribute_refused(node, name)
            if kind.name in _PARTS:
                untyped = name in ("_limit_clause", "_offset_clause")
                for part in _parts_of(value):
                    self.node(part, untyped)
            elif kind.name == "dp_type":
                _check_type(value)
            elif kind.name == "dp_operator":
                _check_operator(value)
            elif kind.name == "dp_anon_name":
                _check_name(value)
            elif name not in ("value", "modifiers") or not isinstance(
                node, (elements.BindParameter, elements.BinaryExpression)
            ):
                raise _attribute_refused(node, name)

    # ---- the leaves

    def _table(self, table: Table) -> None:
        if not is_declared(table):
            raise StatementRefused(f"{table.name} is not declared by Service.table")
        if self.owner is not None and table.info["service"] != self.owner:
            raise StatementRefused(
                f"{table.name} belongs to {table.info['service']}, not to {self.owner}; call that"
                " service in `prepare`, or subscribe to its events"
            )
        self.tables.add(table)

    def _column(self, node: Any) -> None:
        if node.is_literal:
            raise StatementRefused(f"literal_column({node.name!r}); use declared columns")
        if node.table is None:
            raise StatementRefused(f"column({node.name!r}) belongs to no declared table")
        _check_name(node.name)
        self.node(node.table)

    def _parameter(self, node: Any, kind: Any, untyped: bool = False) -> None:
        if node.key == SITE_PARAMETER:
            raise StatementRefused(f"{SITE_PARAMETER} is bound by the kernel alone")
        if node.callable is not None or node.literal_execute or node.isoutparam:
            raise StatementRefused(f"the parameter {node.key} is no plain one; use param()")
        _check_name(node.key)
        if isinstance(kind, sqltypes.NullType):
            if not untyped:
                raise StatementRefused(
                    f"nothing tells the type of the parameter {_shown(node.key)}; write"
                    ' param("name", str), or a type of int, float, bool, bytes, datetime, date'
                )
            return
        what = (_sort_of(kind), node.expanding)
        if self._kinds.setdefault(node.key, what) != what:
            raise StatementRefused(
                f"the parameter {node.key} stands for values of two types; give it two names"
            )

    def _comparison(self, node: Any) -> None:
        given = {name for name, value in (node.modifiers or {}).items() if value}
        if given:
            raise StatementRefused(f"{', '.join(sorted(given))} of a comparison; leave it out")
        if node.operator in (operators.in_op, operators.not_in_op) and isinstance(
            node.left, elements.Tuple
        ):
            raise StatementRefused("in_() of a tuple; use or_() of pairs, or a join")

    def _star(self, node: Any) -> None:
        """Let the * pass that SQLAlchemy writes for what an EXISTS selects."""
        inner = node
        while not isinstance(inner, selectable.SelectBase):
            inner = inner.element
        selected: Any = getattr(inner, "_raw_columns", ())
        self._seen |= {id(column): column for column in selected if _is_star(column)}

    def _function(self, node: Any) -> None:
        name = str(getattr(node, "name", ""))
        if name not in FUNCTIONS or type(node).__module__ != "sqlalchemy.sql.functions":
            raise StatementRefused(
                f"the function {name or type(node).__name__} is not allowed; there are"
                f" {', '.join(sorted(FUNCTIONS))}"
            )
        arguments = list(node.clauses)
        if len(arguments) > FUNCTIONS[name]:
            raise StatementRefused(f"{name} takes at most {FUNCTIONS[name]} arguments")
        for argument in arguments:
            if not (name == "count" and _is_star(argument)):
                self.node(argument)
        self._attributes(node, frozenset({"clause_expr", "name"}))

    # ---- writes

    def _change(self, statement: Any) -> None:
        table = statement.table
        if type(table) is not Table:
            raise StatementRefused("a write to an alias or a join; write to a declared table")
        self._table(table)
        self._attributes(statement, frozenset({"table", "_values", "_returning"}))
        if not isinstance(statement, dml.Delete):
            if not statement._values:
                raise StatementRefused("a write without values; say which columns, in values()")
            self.values(table, statement._values)
        for column in statement._returning:
            self.returned(table, column)

    def returned(self, table: Table, column: Any) -> None:
        """Check what a write returns: columns of its table, or the table."""
        if column is not table and not (type(column) in COLUMNS and column.table is table):
            raise StatementRefused(f"returning() gives columns of {table.name} only")

    def values(self, table: Table, values: Any) -> None:
        """Check the columns and values of a write to `table`."""
        for key, value in values.items():
            name = key if isinstance(key, str) else getattr(key, "name", "")
            column = table.c.get(name)
            if column is None or not (isinstance(key, str) or key is column):
                raise StatementRefused(f"{table.name} has no column {name or key}")
            if name == SITE and table.info["scope"] == "site":
                raise StatementRefused(f"the site of {table.name} is written by the kernel alone")
            if isinstance(value, elements.BindParameter) and value.type._isnull:
                self._parameter(value, column.type)
            elif hasattr(value, "_traverse_internals"):
                self.node(value)


def refused(node: Any, instead: str) -> StatementRefused:
    """Return the refusal of a node by its class."""
    return StatementRefused(f"{type(node).__name__} is not allowed; use {instead}")


def _attribute_refused(node: Any, name: str) -> StatementRefused:
    what = f"{type(node).__name__} with {name.strip('_').replace('_', ' ')}"
    instead = _INSTEAD.get(name, "select, joins, subqueries, union and cte without it")
    return StatementRefused(f"{what} is not allowed; use {instead}")


def _is_empty(value: Any) -> bool:
    if value is None or value is False:
        return True
    return isinstance(value, (tuple, list, dict, str)) and not value


def _parts_of(value: Any) -> Iterator[Any]:
    """Yield the nodes in an attribute: one, a list, pairs of them, or the parts of a join."""
    if hasattr(value, "_traverse_internals"):
        yield value
    elif isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from _parts_of(one)
    elif isinstance(value, dict) and value.keys() <= {"isouter", "full"}:
        return  # how a join is meant
    elif value is not None:
        raise refused(value, "declared tables and their columns")


def _check_type(kind: Any) -> None:
    if type(kind) not in _TYPES or getattr(kind, "collation", None):
        raise StatementRefused(
            f"the type {kind!r} is not allowed; there are Text, BigInteger, Double, Boolean,"
            " LargeBinary and those of hansa.kernel.columns"
        )


def _check_operator(operator: Any) -> None:
    if operator not in OPERATORS:
        name = getattr(operator, "opstring", getattr(operator, "__name__", operator))
        raise StatementRefused(
            f"the operator {name} is not allowed; there are comparisons, and_, or_, not_, in_,"
            " between, is_, + - *, and contains, startswith and endswith (icontains, ...)"
        )


def _check_name(name: Any) -> None:
    if isinstance(name, elements._anonymous_label):
        return
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise StatementRefused(f"the name {name!r} is not one of letters, digits and _")


def _shown(key: Any) -> str:
    return "(a value)" if isinstance(key, elements._anonymous_label) else str(key)


def _sort_of(kind: Any) -> Any:
    """Return what two uses of one parameter must have in common."""
    special = next((one for one in (Instant, Day, Json) if isinstance(kind, one)), None)
    return special or kind._type_affinity


def _is_star(node: Any) -> bool:
    return type(node) is elements.ColumnClause and node.is_literal and node.name == "*"
