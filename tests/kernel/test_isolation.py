"""Isolation: whatever the compiler accepts, it runs as if the other site's rows were not there.

Statements of every accepted shape are generated and run twice: over the rows of two sites, and over
the rows of one site alone. Both must return and change the same, and leave the other site's rows as
they were. The sites have the same identifiers and handles, so that a leak meets something to join.
There is no row-level security here: the compiler's scoping stands alone.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis.errors import NoSuchExample
from sqlalchemy import (
    BigInteger,
    Text,
    case,
    cast,
    exists,
    false,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)  # fmt: skip
from sqlalchemy.sql.dml import UpdateBase

from hansa.kernel import grammar, scoping
from hansa.kernel.compiler import Statements, param
from hansa.kernel.grammar import Walk
from hansa.testing.postgres import Dsns
from tests.kernel.authoring import lines, products, regions, statements
from tests.kernel.twins import Engine, PostgresEngine, SqliteEngine, leak

EXAMPLES = 120


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "sqlite":
        yield SqliteEngine()
        return
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    opened = PostgresEngine(dsns.superuser)
    yield opened
    opened.close()


# ---- the tests


def test_nothing_accepted_reaches_the_other_site(engine: Engine) -> None:
    compiler = Statements(engine.dialect)

    @settings(max_examples=EXAMPLES)
    @given(statements())
    def check(statement: Any) -> None:
        assert leak(engine, compiler, statement) == ""

    check()


p, n = products.c, lines.c
sub = select(p.id, p.price).order_by(p.id).limit(2).subquery()
SHAPES: list[Any] = [
    select(products, lines).join(lines, isouter=True),
    select(products.join(lines, products.c.id == lines.c.product)),
    select(products).where(p.live, ~p.live | p.live.is_(True), p.live.is_not(None), true()),
    select(p.id).where(or_(p.live == false(), p.price.is_not_distinct_from(2)), p.id != "p9"),
    select(p.id).where(p.title.contains("er"), ~p.title.contains("x"), ~p.title.icontains("?")),
    select(p.id).where(~p.title.startswith("T"), p.title.istartswith("HERE"), p.handle > "a"),
    select(p.id).where(p.title.endswith("1") | ~p.title.endswith("2"), p.title.iendswith("1")),
    select(p.id).where(~p.title.istartswith("th"), ~p.title.iendswith("x"), p.price < 10**6),
    select(p.id).where(p.price.between(0, 9), ~p.price.between(5, 7), p.price <= 2, p.price >= 0),
    select(p.id).where(p.id.in_(["p0", "p1"]), p.price.not_in([1000, 7])),
    select(p.id).where(p.id.in_([])),
    select(p.id).where(p.id.not_in([]), p.id.is_distinct_from(p.handle)),
    select(p.id).where(tuple_(p.price, p.id) > tuple_(literal(0), literal("p"))),
    select(p.price * 2 - 1, -p.price, p.handle + "!", literal(5), null().label("none")),
    select(cast(p.price, Text), cast(n.n, BigInteger)).join(lines, p.id == n.product),
    select(p.id).order_by(p.price.desc().nulls_last(), p.id.asc().nulls_first()).limit(2),
    select(p.title).distinct(),
    select(p.id).where(~(~p.live), p.title.startswith("H"), p.title.icontains("ERE")),
    select(p.id, regions.c.name).join(lines.join(regions, n.n == regions.c.place)),
    select(p.id).select_from(products.join(lines.join(regions, n.n >= 0), n.product == p.id)),
    select(p.id).where(p.id.in_(select(n.product).union(select(n.note)))),
    select((p.price + 1).label("t")).order_by((p.price + 1).label("t").desc()),
    select(case((p.price > 1, "dear"), else_="cheap"), p.live.label("on")),
    select(func.count(p.title.distinct()), func.sum(p.price), func.avg(p.price)),
    select(func.min(p.title), func.max(p.title), func.count().filter(p.price > 0)),
    select(func.lower(p.title), func.upper(p.title), func.length(p.title), func.trim(p.title)),
    select(func.abs(p.price), func.nullif(p.price, 1), func.coalesce(n.note, "none"),
           func.replace(p.title, "H", "J")).join(lines, full=True),
    select(p.id, func.row_number().over(order_by=p.id), func.rank().over(order_by=p.price),
           func.dense_rank().over(partition_by=p.live, order_by=p.price)),
    select(sub.c.id, sub.alias().c.price),
    select(p.id).where(p.id.in_(select(sub.c.id))),
    select(p.id, select(func.count()).where(n.product == p.id).scalar_subquery()),
    select(p.id).where(exists().where(n.product == p.id), ~exists(select(regions.c.code))),
    select(p.id).union_all(select(n.product)),
    select(p.id, p.price).cte("one").select().join(regions, true()),
    insert(lines).values(id="l7", product="p1", n=select(func.count(p.id)).scalar_subquery()),
    update(products).values(price=p.price + select(func.count(n.id)).scalar_subquery()),
]  # fmt: skip


def test_each_accepted_part_keeps_to_the_site(engine: Engine) -> None:
    compiler = Statements(engine.dialect)
    assert [leak(engine, compiler, shape) for shape in SHAPES] == [""] * len(SHAPES)


def test_every_accepted_part_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    walked: set[Any] = set()
    check_operator = grammar._check_operator

    def watch(operator: Any) -> None:
        walked.add(operator)
        check_operator(operator)

    monkeypatch.setattr(grammar, "_check_operator", watch)
    asked = select(p.id).where(p.id == param("id"))  # which all statements of services have
    for shape in (*SHAPES, asked):
        walk = Walk("shop")
        walk.statement(shape)
        walked |= {getattr(node, "name", type(node)) for node in walk._seen.values()}
        walked |= {type(node) for node in walk._seen.values()}
    assert grammar._NODES - walked == set()
    assert grammar.OPERATORS - walked == set()
    assert grammar.FUNCTIONS.keys() - walked == set()


@pytest.mark.parametrize("kind", ["reads", "writes"])
def test_without_scoping_the_same_statements_leak(engine: Engine, kind: str) -> None:
    compiler = Statements(engine.dialect)
    compiler.scoped = False
    assert found_leak(engine, compiler, kind) is not None


def found_leak(engine: Engine, compiler: Statements, kind: str) -> Any:
    try:
        return find(
            statements(kind),
            lambda statement: leak(engine, compiler, statement) != "",
            settings=settings(
                max_examples=2000,
                phases=[Phase.generate],
                database=None,
                report_multiple_bugs=False,
            ),
        )
    except NoSuchExample:
        return None


# Scoping that forgets one position each. The statements above must tell.
POSITIONS: dict[str, Callable[[Any, Any, dict[str, Any]], bool]] = {
    "aliases": lambda compiler, table, options: options.get("enclosing_alias") is not None,
    "nested selects": lambda compiler, table, options: len(compiler.stack) > 1,
    "common tables": lambda compiler, table, options: bool(
        getattr(compiler, "level_name_by_cte", None)
    ),
    "the right of a join": lambda compiler, table, options: table is lines,
    "subqueries of writes": lambda compiler, table, options: isinstance(
        compiler.stack[0]["selectable"], UpdateBase
    ),
}


@pytest.mark.parametrize("position", POSITIONS)
def test_scoping_that_forgets_a_position_is_found(
    position: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Any = scoping._SqliteScoped.visit_table
    bare: Any = scoping._SqliteOpen.visit_table

    def forgetful(self: Any, table: Any, *args: Any, **options: Any) -> str:
        if POSITIONS[position](self, table, options):
            return str(bare(self, table, *args, **options))
        return str(whole(self, table, *args, **options))

    monkeypatch.setattr(scoping._SqliteScoped, "visit_table", forgetful)
    kind = "writes" if "writes" in position else "reads"
    assert found_leak(SqliteEngine(), Statements("sqlite"), kind) is not None
