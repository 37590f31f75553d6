"""What the compiler refuses and why, what it remembers, and how values go in and out."""

import gc
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    column,
    delete,
    distinct,
    func,
    insert,
    lateral,
    literal,
    literal_column,
    not_,
    select,
    table,
    text,
    tuple_,
    type_coerce,
    union_all,
    update,
    values,
)  # fmt: skip
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.expression import quoted_name
from sqlalchemy.types import TypeEngine

from hansa.kernel import columns
from hansa.kernel.columns import boolean, build_table, instant, integer, json, money, position, real
from hansa.kernel.columns import date as date_column
from hansa.kernel.columns import text as text_column
from hansa.kernel.compiler import STATEMENTS_MAX, Statements, param, upsert
from hansa.kernel.scoping import SITE_PARAMETER, StatementRefused
from hansa.kernel.structs import Money, Struct
from tests.kernel.authoring import lines, products, regions

twin: Any = products.alias()
people = build_table(MetaData(), "crm", "people", [text_column("name")])
loose = Table(
    "shop_loose", MetaData(), Column("site", Text), Column("id", Text),
    info={"service": "shop", "scope": "platform", "key": ("id",), "money": frozenset()},
)  # fmt: skip
kinds = build_table(
    MetaData(), "shop", "kinds",
    [
        money("price"), json("tags"), instant("at"), real("weight"), integer("n", nullable=True),
        position("since"), date_column("day"),
    ],
)  # fmt: skip
tallies = build_table(
    MetaData(), "shop", "tallies",
    [text_column("name", primary=True), integer("n"), boolean("live")],
)  # fmt: skip
p, n, k = products.c, lines.c, kinds.c


@pytest.fixture
def compiler() -> Statements:
    return Statements("postgresql")


REFUSED: dict[str, tuple[Any, str]] = {
    "text": (text("SELECT 1"), "TextClause is not allowed; use select"),
    "text as a table": (select(p.id).select_from(text("shop_lines")), "TextClause"),
    "text in a condition": (select(p.id).where(text("1 = 1")), "TextClause"),
    "text as an order": (select(p.id).order_by(text("id")), "TextClause"),
    "an order by name": (select(p.id).order_by("id"), "textual_label"),
    "a textual select": (text("SELECT id FROM shop_products").columns(p.id), "TextualSelect"),
    "a literal column": (select(literal_column("1")), "literal_column"),
    "a star": (select(literal_column("*")).select_from(products), "literal_column"),
    "a loose column": (select(column("id")), "no declared table"),
    "a loose table": (select(table("shop_products", column("id"))), "TableClause"),
    "an undeclared table": (select(loose), "not declared"),
    "its column": (select(loose.c.id), "not declared"),
    "another service's table": (select(people), "belongs to crm"),
    "its column in a condition": (select(p.id).where(people.c.name == "x"), "belongs to crm"),
    "its alias": (select(people.alias().c.name), "belongs to crm"),
    "its subquery": (select(select(people).subquery().c.name), "belongs to crm"),
    "its common table": (select(select(people).cte().c.name), "belongs to crm"),
    "it in a join": (select(p.id).join(people, people.c.id == p.id), "belongs to crm"),
    "it in exists": (select(p.id).where(select(people).exists()), "belongs to crm"),
    "it as the target": (update(people).values(name="x"), "belongs to crm"),
    "a value for the site": (insert(products).values(site="x", id="1"), "by the kernel alone"),
    "a new site": (update(products).values(site="x"), "by the kernel alone"),
    "a new site by column": (update(products).values({p.site: "x"}), "by the kernel alone"),
    "the site's parameter": (select(p.id).where(p.site == bindparam("hansa_site")), "kernel alone"),
    "no values": (update(products).where(p.id == "x"), "without values"),
    "nothing to insert": (insert(products), "without values"),
    "several rows": (insert(lines).values([{"id": "1"}, {"id": "2"}]), "insert_all"),
    "insert from select": (insert(lines).from_select(["id"], select(p.id)), "insert_all"),
    "a dialect's conflict": (
        sqlite.insert(lines).values(id="1").on_conflict_do_nothing(), "Insert is not allowed"),
    "the other's": (
        postgresql.insert(lines).values(id="1").on_conflict_do_nothing(), "Insert is not allowed"),
    "update from": (update(products).values(price=n.n).where(n.product == p.id), "other tables"),
    "delete using": (delete(products).where(n.product == p.id), "other tables"),
    "an alias as target": (update(twin).values(price=1), "alias or a join"),
    "a join as target": (update(products.join(lines)).values(price=1), "alias or a join"),
    "a write in a read": (
        select(delete(lines).returning(n.id).cte().c.id), "write inside another"),
    "a read's own write": (
        select(p.id).add_cte(delete(lines).returning(n.id).cte()), "independent ctes"),
    "returning a sum": (delete(lines).returning(func.count()), "returning"),
    "returning another's": (delete(lines).returning(p.id), "returning"),
    "for update": (select(p.id).with_for_update(), "for update arg is not allowed; use nothing"),
    "a prefix": (select(p.id).prefix_with("ALL"), "prefixes"),
    "a suffix": (select(p.id).suffix_with("-- x"), "suffixes"),
    "a hint": (select(products).with_hint(products, "ONLY"), "hints"),
    "a statement hint": (select(p.id).with_statement_hint("x"), "hints"),
    "a cte's prefix": (
        select(select(p.id).cte().prefix_with("MATERIALIZED").c.id), "prefixes"),
    "distinct on": (select(p.id).ext(postgresql.distinct_on(p.title)), "DistinctOnClause"),
    "columns after joins": (select(p.id).join(lines).with_only_columns(n.id), "before the joins"),
    "fetch first": (select(p.id).fetch(1), "limit"),
    "lateral": (select(lateral(select(n.id).where(n.product == p.id)).c.id), "Lateral"),
    "a sample": (select(products.tablesample(10)), "TableSample"),
    "values as a table": (
        select(values(column("a", Integer), name="v").data([(1,)])), "Values"),
    "a function's rows": (select(func.json_each("[]").table_valued("value")), "TableValuedAlias"),
    "an unlisted function": (select(func.load_extension("x")), "load_extension"),
    "a packaged function": (select(func.pg_catalog.lower(p.id)), "packagenames"),
    "max as a scalar": (select(func.max(p.price, 1)), "at most 1"),
    "a quoted function": (select(func.now()), "now is not allowed"),
    "a custom operator": (select(p.id).where(p.id.op("; DROP")("x")), "operator ; DROP"),
    "like": (select(p.id).where(p.id.like("a%")), "operator like"),
    "a match": (select(p.id).where(p.id.regexp_match("a")), "operator regexp"),
    "a division": (select(p.price / 2), "truediv"),
    "a collation": (select(p.id.collate("C")), "CollationClause|collat"),
    "autoescape": (select(p.id).where(p.id.contains("a", autoescape=True)), "autoescape|escape"),
    "any": (select(p.id).where(p.id == any_(select(n.id).scalar_subquery())), "Aggregate|any"),
    "a frame": (
        select(func.sum(p.price).over(order_by=p.id, rows=(None, 0))), "window without a frame"),
    "an odd type": (select(cast(p.price, Numeric)), "Numeric"),
    "a collated type": (select(cast(p.id, String(collation="C"))), "String"),
    "a type that is coerced": (select(type_coerce(p.id, Integer)), "TypeCoerce"),
    "an untyped parameter": (select(func.coalesce(n.note, param("x"))), "tells the type"),
    "two kinds of one parameter": (
        select(p.id).where(p.id == param("x"), p.price == param("x")), "two types"),
    "a list that is a value too": (
        select(p.id).where(p.id == param("x"), p.handle.in_(param("x"))), "two types"),
    "a literal at execution": (
        select(p.id).where(p.id == bindparam("x", literal_execute=True)), "no plain one"),
    "a called parameter": (
        select(p.id).where(p.id == bindparam("x", callable_=lambda: "y")), "no plain one"),
    "a tuple in a list": (
        select(p.id).where(tuple_(p.id, p.title).in_([("a", "b")])), "in_\\(\\) of a tuple"),
    "an odd label": (select(p.id.label('x"; DROP')), "letters, digits"),
    "an odd alias": (select(products.alias("a b")), "letters, digits"),
    "an unquoted alias": (select(products.alias(quoted_name("a, b", False))), "letters, digits"),
    "an odd parameter": (select(p.id).where(p.id == bindparam("a b")), "letters, digits"),
    "a name that is a table": (
        select(select(p.id).cte("shop_lines").c.id, n.id), "names a subquery as a table"),
    "a union in a union": (
        union_all(union_all(select(p.id), select(n.id)), select(p.id)), "union inside"),
    "a limited select in a union": (
        union_all(select(p.id).limit(1), select(n.id)), "union inside"),
    "a distinct argument": (select(func.string_agg(distinct(p.id), ",")), "string_agg"),
    "options": (select(p.id).execution_options(x=1).params(x=1), "params"),
    "no statement": (p.id == "x", "BinaryExpression"),
    "a table": (products, "Table is not allowed"),
    "a str": ("SELECT 1", "str is not allowed"),
    "nonsense": (not_(p.live), "is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused(name: str, compiler: Statements) -> None:
    statement, reason = REFUSED[name]
    for _ in range(2):  # the second time as well
        with pytest.raises(StatementRefused, match=reason):
            compiler.find(statement, None, "shop")


def test_upsert_needs_a_key_of_the_table() -> None:
    with pytest.raises(StatementRefused, match=r"has the keys \(handle\) or \(id\), not \(title\)"):
        upsert(products, key=("title",), values={"id": "x"})
    with pytest.raises(StatementRefused, match="not \\(site, id\\)"):
        upsert(products, key=("site", "id"), values={"id": "x"})


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"values": {"id": "x", "site": "y"}}, "by the kernel alone"),
        ({"values": {"id": "x"}, "change": {"site": "y"}}, "by the kernel alone"),
        ({"values": {"id": "x"}, "change": {"title": people.c.name}}, "belongs to crm"),
        ({"values": {"id": "x"}, "returning": [func.count()]}, "returning"),
        ({"values": {"nothing": "x"}}, "no column|Unconsumed"),
    ],
)
def test_an_upsert_is_checked_as_well(options: Any, reason: str, compiler: Statements) -> None:
    with pytest.raises(StatementRefused, match=reason):
        compiler.find(upsert(products, key=("id",), **options), None, "shop")


def test_a_parameter_of_the_kernels_name_is_refused() -> None:
    for name in ("hansa_site", "hansa_page_limit", "a b", ""):
        with pytest.raises(StatementRefused, match="no name for a parameter"):
            param(name)


def test_across_sites_reads_everything_and_writes_nothing(compiler: Statements) -> None:
    assert "WHERE" not in compiler.find(select(p.id), None, "shop", across=True).sql
    with pytest.raises(StatementRefused, match="emit an event"):
        compiler.find(delete(products), None, "shop", across=True)
    with pytest.raises(StatementRefused, match="belongs to crm"):
        compiler.find(select(people), None, "shop", across=True)


# ---- what is remembered


def test_a_statement_is_compiled_once(compiler: Statements) -> None:
    statement = select(p.id).where(p.id == param("id"))
    assert compiler.find(statement, str, "shop") is compiler.find(statement, str, "shop")
    assert compiler.find(statement, None, "shop") is not compiler.find(statement, str, "shop")


def test_statements_of_one_structure_share_the_text_and_keep_their_values(
    compiler: Statements,
) -> None:
    def made(word: str, ids: list[str]) -> Any:
        return (
            select(p.id)
            .where(p.title == word, p.id.in_(ids), p.handle == param("handle"))
            .limit(len(ids))
        )

    first = compiler.find(made("a", ["x"]), str, "shop")
    second = compiler.find(made("b", ["y", "z"]), str, "shop")
    third = compiler.find(made("b", []), str, "shop", bounded=True)
    assert first.sql is second.sql and len(compiler._structures) == 2

    def values_of(compiled: Any) -> list[Any]:
        return list(compiled.arguments({SITE_PARAMETER: "here", "handle": "h"}))

    assert sorted(values_of(first), key=repr) == sorted(["a", ["x"], "h", "here", 1], key=repr)
    assert sorted(values_of(second), key=repr) == sorted(
        ["b", ["y", "z"], "h", "here", 2], key=repr
    )
    assert sorted(values_of(third), key=repr) == sorted(["b", [], "h", "here", 0], key=repr)


def test_a_value_is_never_that_of_another_statement(compiler: Statements) -> None:
    for word in ("one", "two", "three"):
        made = update(products).where(p.id == word).values(title=word + "!")
        args = compiler.find(made, None, "shop").arguments({SITE_PARAMETER: "here"})
        assert sorted(args) == sorted([word, word + "!", "here"])


def test_a_bounded_read_ends(compiler: Statements) -> None:
    bounded = compiler.find(select(p.id), str, "shop", bounded=True)
    assert list(bounded.arguments({SITE_PARAMETER: "here"})) in (["here", 10_001], [10_001, "here"])
    again = compiler.find(select(p.id), str, "shop", bounded=True)
    assert list(again.arguments({SITE_PARAMETER: "here"})) == list(
        bounded.arguments({SITE_PARAMETER: "here"})
    )
    own = compiler.find(select(p.id).limit(5), str, "shop", bounded=True)
    assert 5 in own.arguments({SITE_PARAMETER: "here"})


def test_what_is_not_used_any_more_is_forgotten(compiler: Statements) -> None:
    for number in range(50):
        compiler.find(select(p.id).where(p.price == number), str, "shop")
    gc.collect()
    assert len(compiler._found) == 0
    assert len(compiler._structures) == 1


def test_the_memory_of_structures_is_bounded(
    compiler: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert STATEMENTS_MAX == 2048
    monkeypatch.setattr("hansa.kernel.compiler.STATEMENTS_MAX", 3)
    for number in range(1, 8):
        compiler.find(select(*(literal(place) for place in range(number))), None, "shop")
    assert len(compiler._structures) == 3


# ---- parameters


def test_parameters_are_checked_by_name(compiler: Statements) -> None:
    compiled = compiler.find(select(p.id).where(p.id == param("id")), str, "shop")
    assert list(compiled.arguments({SITE_PARAMETER: "here", "id": "x"})) in (
        ["here", "x"], ["x", "here"])  # fmt: skip
    with pytest.raises(TypeError, match="needs the parameter id"):
        compiled.arguments({SITE_PARAMETER: "here"})
    with pytest.raises(TypeError, match="has no parameter nr"):
        compiled.arguments({SITE_PARAMETER: "here", "id": "x", "nr": 1})
    with pytest.raises(TypeError, match="needs the parameter id"):
        compiled.arguments({SITE_PARAMETER: "here", "nr": "x"})


def test_a_value_of_the_statements_own_cannot_be_given(compiler: Statements) -> None:
    compiled = compiler.find(select(p.id).where(p.id == bindparam("id", "x")), str, "shop")
    with pytest.raises(TypeError, match="has no parameter id"):
        compiled.arguments({SITE_PARAMETER: "here", "id": "y"})


@pytest.mark.parametrize(
    ("where", "value", "stored"),
    [
        (k.at == param("x"), datetime(2026, 1, 1, tzinfo=UTC), 1767225600000000),
        (k.at == param("x"), datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
         1767225600000000),
        (k.at == param("x"), 5, 5),
        (k.tags == param("x"), ["a"], '["a"]'),
        (k.at.in_(param("x")), [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)], [1000000]),
        (k.n == param("x", int), None, None),
    ],
)  # fmt: skip
def test_values_go_in_by_the_kind_of_the_column(
    where: Any, value: Any, stored: Any, compiler: Statements
) -> None:
    compiled = compiler.find(select(k.id).where(where), str, "shop")
    assert stored in list(compiled.arguments({SITE_PARAMETER: "here", "x": value}))


def test_every_kind_of_column_can_be_read(compiler: Statements) -> None:
    own = {one for one in vars(columns).values() if isinstance(one, type)}
    own = {one for one in own if issubclass(one, TypeEngine) and one.__module__ == columns.__name__}
    assert len(own) == 4 and own <= {type(column.type) for column in kinds.columns}
    assert "since" in compiler.find(select(kinds), Struct, "shop").sql


def test_plain_values_of_an_upsert_are_never_taken_for_one_another() -> None:
    for _ in range(500):  # SQLAlchemy names them by their address: one in a hundred was another's
        values = {"name": "all", "n": 1, "live": True}
        wanted = upsert(tallies, key=("name",), values=values, change={"live": False, "n": 2})
        assert Statements("sqlite").find(wanted, None, "shop").sql.startswith("INSERT")


def test_an_instant_without_a_zone_is_refused(compiler: Statements) -> None:
    compiled = compiler.find(select(k.id).where(k.at == param("x")), str, "shop")
    for value in (datetime(2026, 1, 1), date(2026, 1, 1), "2026-01-01"):  # noqa: DTZ001
        with pytest.raises(TypeError, match="aware datetime"):
            compiled.arguments({SITE_PARAMETER: "here", "x": value})


def test_every_parameter_has_a_type_on_postgres(compiler: Statements) -> None:
    made = select(p.id).where(
        p.title == param("a"), p.price > param("b"), p.live == param("c"), p.id.in_(param("d"))
    )
    sql = compiler.find(made.limit(param("e")), str, "shop").sql
    for cast_to in ("::VARCHAR", "::BIGINT", "::BOOLEAN", "ANY ($5::VARCHAR[])"):
        assert cast_to.partition("$")[0] in sql
    assert "= ANY ($" in sql and "::VARCHAR[])" in sql


def test_numbered_parameters_on_sqlite() -> None:
    made = select(p.id).join(lines).where(p.id == param("x"), p.handle == param("x"))
    compiled = Statements("sqlite").find(made, str, "shop")
    assert compiled.sql.count("?1") == 2 and compiled.sql.count("?2") == 2
    assert compiled.names == (SITE_PARAMETER, "x")


# ---- rows


class Kind(Struct):
    id: str
    price: Money
    tags: list[str]
    at: datetime
    weight: float
    n: int | None = None


class Few(Struct):
    weight: float
    id: str


def test_rows_become_structs_by_the_names_of_their_fields(compiler: Statements) -> None:
    compiled = compiler.find(select(kinds), Kind, "shop")
    row = ("here", "x", 100, "EUR", '["a"]', 1_000_000, 0.5, None)
    at = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert compiled.decode(row) == Kind("x", Money(100, "EUR"), ["a"], at, 0.5)
    assert compiler.find(select(kinds), Few, "shop").decode(row) == Few(0.5, "x")


def test_into_may_be_a_plain_type_or_nothing(compiler: Statements) -> None:
    at = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert compiler.find(select(k.at), datetime, "shop").decode((1_000_000,)) == at
    assert compiler.find(select(k.at), int, "shop").decode((1_000_000,)) == 1_000_000
    assert compiler.find(select(k.tags), list[str], "shop").decode(('["a"]',)) == ["a"]
    assert compiler.find(select(k.n), int, "shop").decode((None,)) is None
    assert compiler.find(select(kinds.c.price_minor, kinds.c.price_currency), Money, "shop").decode(
        (5, "EUR")
    ) == Money(5, "EUR")
    assert compiler.find(select(k.at, k.tags, k.n), None, "shop").decode(
        (1_000_000, '{"a":1}', 7)
    ) == (at, {"a": 1}, 7)


def test_a_sum_is_whole_again(compiler: Statements) -> None:
    from decimal import Decimal

    assert compiler.find(select(func.sum(k.n)), int, "shop").decode((Decimal(7),)) == 7
    assert compiler.find(select(func.avg(k.n)), float, "shop").decode((Decimal("7.5"),)) == 7.5
    assert type(compiler.find(select(func.sum(k.n)), None, "shop").decode((Decimal(7),))[0]) is int
    with pytest.raises(ValueError, match="not a whole number"):
        compiler.find(select(func.avg(k.n)), int, "shop").decode((Decimal("7.5"),))


def test_missing_columns_are_told_by_name(compiler: Statements) -> None:
    with pytest.raises(TypeError, match="Kind needs price, weight, which the statement does not"):
        compiler.find(select(k.id, k.tags, k.at), Kind, "shop")


class Wrong(Struct):
    at: str


@pytest.mark.parametrize(
    ("column_", "into"), [(k.at, Wrong), (k.at, str), (k.n, str), (p.title, int), (p.live, int),
                          (k.weight, int), (p.title, datetime), (p.price, bool)]
)  # fmt: skip
def test_a_type_that_never_fits_is_refused(column_: Any, into: Any, compiler: Statements) -> None:
    with pytest.raises(TypeError, match="which never is a"):
        compiler.find(select(column_), into, "shop")


def test_platform_tables_are_not_scoped(compiler: Statements) -> None:
    compiled = compiler.find(select(regions), None, "shop")
    assert compiled.names == () and list(compiled.arguments({SITE_PARAMETER: "here"})) == []
    assert compiled.tables == {"shop_regions"} and compiled.reads


def test_a_given_type_may_be_one_of_sqlalchemys(compiler: Statements) -> None:
    made = select(func.coalesce(k.n, param("x", BigInteger())))
    assert "::BIGINT" in compiler.find(made, int, "shop").sql
