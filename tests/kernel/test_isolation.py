"""Isolation: whatever the compiler accepts, it runs as if the other site's rows were not there.

Statements of every accepted shape are generated and run twice: over the rows of two sites, and over
the rows of one site alone. Both must return and change the same, and leave the other site's rows as
they were. The sites have the same identifiers and handles, so that a leak meets something to join.
There is no row-level security here: the compiler's scoping stands alone.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import apsw
import asyncpg
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from sqlalchemy import (
    MetaData,
    Table,
    and_,
    case,
    delete,
    except_,
    exists,
    func,
    insert,
    intersect,
    literal,
    not_,
    or_,
    select,
    tuple_,
    union,
    union_all,
    update,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from hansa.kernel import scoping
from hansa.kernel.columns import boolean, build_table, integer, text
from hansa.kernel.compiler import Statements, upsert
from hansa.kernel.scoping import SITE_PARAMETER, dialect_of
from hansa.kernel.storage import Dialect
from hansa.testing.postgres import Dsns

HERE, THERE = "here", "there"
EXAMPLES = 250
NO_SHRINKING = (Phase.generate,)

metadata = MetaData()
products = build_table(
    metadata, "shop", "products",
    [text("handle", unique="site"), text("title"), integer("price"), boolean("live")],
)  # fmt: skip
lines = build_table(
    metadata, "shop", "lines",
    [text("product"), integer("n"), text("note", nullable=True)],
    foreign=[("product", products)],
)  # fmt: skip
regions = build_table(
    metadata, "shop", "regions",
    [text("code", primary=True), text("name"), integer("place")], scope="platform",
)  # fmt: skip
TABLES = (products, lines, regions)
TEXTS = {products: ("id", "handle", "title"), lines: ("id", "product", "note"),
         regions: ("code", "name")}  # fmt: skip
NUMBERS = {products: ("price",), lines: ("n",), regions: ("place",)}
WORDS = ("p0", "p1", "h1", "note", "There 1", "", "e")
DIGITS = (0, 1, 2, 3, 1000, 1001)


def rows_of(site: str) -> list[tuple[Table, dict[str, Any]]]:
    far = 1000 if site == THERE else 0
    found: list[tuple[Table, dict[str, Any]]] = [
        (products, {"site": site, "id": f"p{n}", "handle": f"h{n}", "title": f"{site.title()} {n}",
                    "price": far + n, "live": n % 2 == 0})
        for n in range(4 if far else 3)
    ]  # fmt: skip
    found += [
        (lines, {"site": site, "id": f"l{n}", "product": f"p{n % 3}", "n": far + n,
                 "note": None if n == 1 else f"{site} note"})
        for n in range(4)
    ]  # fmt: skip
    return found


def schema(dialect: Dialect) -> list[str]:
    made = [str(CreateTable(table).compile(dialect=dialect_of(dialect))) for table in TABLES]
    return made + [
        str(CreateIndex(index).compile(dialect=dialect_of(dialect)))
        for table in TABLES
        for index in table.indexes
    ]


# ---- the generator


@dataclass
class Scope:
    """The columns that an expression may name."""

    texts: list[Any]
    numbers: list[Any]

    def __add__(self, other: "Scope") -> "Scope":
        return Scope(self.texts + other.texts, self.numbers + other.numbers)


@dataclass
class Author:
    """Writes statements as Hypothesis draws them."""

    draw: Callable[[Any], Any]
    bare: set[Table] = field(default_factory=set[Table])

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def word(self) -> str:
        return str(self.pick(*WORDS))

    # -- sources of rows

    def table(self) -> tuple[Any, Scope]:
        """A table under its own name once per statement, else under another one."""
        table = self.pick(*TABLES)
        source: Any = table
        if table in self.bare or self.pick(True, False):
            source = table.alias()
        self.bare.add(table)
        return source, columns(source, table)

    def source(self, depth: int) -> tuple[Any, Scope]:
        kind = self.pick("table", "table", "subquery", "cte", "join") if depth else "table"
        if kind == "table":
            return self.table()
        if kind == "join":
            left, mine = self.source(depth - 1)
            right, theirs = self.source(depth - 1)
            one, two = self.pick((mine.texts, theirs.texts), (mine.numbers, theirs.numbers))
            on = self.pick(*one) == self.pick(*two)
            how = self.pick({}, {"isouter": True}, {"full": True})
            return left.join(right, on, **how), mine + theirs
        inner = self.pick(self.query, self.several)(depth - 1)
        if kind == "subquery":
            found = inner.subquery()
            return found, Scope([found.c.t], [found.c.n])
        cte = inner.cte()
        if self.pick(True, False):
            return cte, Scope([cte.c.t], [cte.c.n])
        twin = cte.alias()
        scope = Scope([cte.c.t, twin.c.t], [cte.c.n, twin.c.n])
        return cte.join(twin, cte.c.t == twin.c.t), scope

    # -- expressions

    def text(self, scope: Scope, depth: int) -> Any:
        column = self.pick(*scope.texts)
        kind = self.pick("column", "column", "lower", "coalesce", "case", "concat", "scalar")
        if kind == "lower":
            return func.lower(column)
        if kind == "coalesce":
            return func.coalesce(column, self.text(scope, 0), self.word())
        if kind == "case":
            return case((self.condition(scope, 0), column), else_=self.word())
        if kind == "concat":
            return column + self.word()
        if kind == "scalar" and depth:
            source, inner = self.source(depth - 1)
            taken = select(self.pick(func.max, func.min)(self.pick(*inner.texts)))
            meets = self.pick(*inner.texts) == column
            return taken.select_from(source).where(meets).scalar_subquery()
        return column

    def number(self, scope: Scope, depth: int, window: bool = False) -> Any:
        column = self.pick(*scope.numbers)
        kind = self.pick("column", "column", "plus", "minus", "length", "count", "window")
        if kind == "plus":
            return column + self.pick(*DIGITS)
        if kind == "minus":
            return -column
        if kind == "length":
            return func.length(self.text(scope, 0))
        if kind == "count" and depth:
            source, inner = self.source(depth - 1)
            counted = select(self.pick(func.count(), func.count(inner.numbers[0].distinct())))
            meets = self.pick(*inner.texts) == self.pick(*scope.texts)
            return counted.select_from(source).where(meets).scalar_subquery()
        if kind == "window" and window:
            made = self.pick(func.sum(column), func.count(), func.max(column))
            if self.pick(True, False):
                made = made.filter(self.condition(scope, 0))
            return made.over(partition_by=self.pick(*scope.texts, None))
        return column

    def condition(self, scope: Scope, depth: int) -> Any:
        one, two = self.pick(*scope.texts), self.pick(*scope.texts)
        n = self.pick(*scope.numbers)
        inner = self.query(depth - 1) if depth else None
        kinds: list[Callable[[], Any]] = [
            lambda: one == self.word(),
            lambda: one != two,
            lambda: n >= self.pick(*DIGITS),
            lambda: n.between(0, self.pick(*DIGITS)),
            lambda: one.in_([self.word(), self.word()]),
            lambda: n.not_in([self.pick(*DIGITS)]),
            lambda: one.is_(None),
            lambda: one.is_distinct_from(two),
            lambda: one.icontains(self.word()),
            lambda: one.startswith(self.word()),
            lambda: not_(one.endswith(self.word())),
            lambda: tuple_(one, n) > tuple_(literal(self.word()), literal(self.pick(*DIGITS))),
            lambda: and_(self.condition(scope, 0), self.condition(scope, 0)),
            lambda: or_(self.condition(scope, 0), not_(self.condition(scope, 0))),
        ]
        if inner is not None:
            kinds = [
                lambda: one.in_(inner.with_only_columns(inner.selected_columns.t)),
                lambda: n.not_in(inner.with_only_columns(inner.selected_columns.n)),
                lambda: self.meeting(one, depth - 1),
                lambda: ~self.meeting(one, depth - 1),
                *kinds,
            ]
        made: Callable[[], Any] = self.pick(*kinds)
        return made()

    def meeting(self, column: Any, depth: int) -> Any:
        source, scope = self.source(depth)
        return exists().select_from(source).where(self.pick(*scope.texts) == column)

    # -- statements

    def query(self, depth: int, limited: bool = True) -> Any:
        """A select of a text `t` and a number `n`."""
        source, scope = self.source(depth)
        shape = self.pick("plain", "plain", "distinct", "grouped")
        if shape == "grouped":
            key, n = self.pick(*scope.texts), self.pick(*scope.numbers)
            total = self.pick(func.count(), func.sum(n), func.max(n))
            made: Any = select(key.label("t"), total.label("n")).group_by(key)
            if self.pick(True, False):
                made = made.having(func.count() >= self.pick(1, 2))
        else:
            t, n = self.text(scope, depth), self.number(scope, depth, window=True)
            made = select(t.label("t"), n.label("n"))
        made = made.select_from(source)
        for _ in range(self.pick(0, 1, 2)):
            made = made.where(self.condition(scope, depth))
        if shape == "distinct":
            made = made.distinct()
        if limited and self.pick(True, False):
            made = made.order_by(*made.selected_columns).limit(self.pick(1, 2))
            made = made.offset(self.pick(0, 1)) if self.pick(True, False) else made
        return made

    def several(self, depth: int) -> Any:
        how = self.pick(union, union_all, intersect, except_)
        return how(*(self.query(depth, limited=False) for _ in range(self.pick(2, 3))))

    def recursive(self, depth: int) -> Any:
        source, scope = self.source(depth)
        n = scope.numbers[0]
        chain = (
            select(scope.texts[0].label("t"), n.label("n"))
            .select_from(source)
            .where(n < 3)
            .cte("chain", recursive=True)
        )
        step, steps = self.table()
        again = select(steps.texts[0], chain.c.n + 1).select_from(
            step.join(chain, steps.texts[-1] == chain.c.t)
        )
        chain = chain.union(again.where(chain.c.n < 5))
        return select(chain.c.t, chain.c.n)

    def change(self, depth: int) -> Any:
        table = self.pick(*TABLES)
        self.bare.add(table)
        scope = columns(table, table)
        kind = self.pick("update", "delete", "insert", "upsert")
        spare = self.pick(lines, products)
        if kind == "delete":
            made: Any = delete(table).where(self.condition(scope, depth))
        elif kind == "update":
            made = update(table).values({
                self.pick(*TEXTS[table]): self.text(scope, depth),
                self.pick(*NUMBERS[table]): self.number(scope, depth),
            })  # fmt: skip
            made = made.where(self.condition(scope, depth)) if self.pick(True, False) else made
        elif kind == "insert":
            table = lines
            taken = self.query(depth)
            n = select(func.max(taken.selected_columns.n)).select_from(lines.alias())
            made = insert(lines).values(
                id=self.pick("l1", "l9"), product=self.pick("p1", "p3"), n=n.scalar_subquery()
                if self.pick(True, False) and depth else self.pick(*DIGITS)
            )  # fmt: skip
        else:
            return self.upserting(spare, depth)
        if self.pick(True, False):
            made = made.returning(*(table.c[name] for name in (*TEXTS[table], *NUMBERS[table])))
        return made

    def upserting(self, table: Table, depth: int) -> Any:
        source, scope = self.source(depth)
        top = select(func.max(scope.texts[0])).select_from(source).scalar_subquery()
        name = self.pick("p0", "p3", "h3", "new")
        if table is lines:
            return upsert(
                lines, key=("id",), values={"id": "l1", "product": "p0", "n": 7},
                change=self.pick({}, {"n": lines.c.n + 1, "note": top}),
            )  # fmt: skip
        return upsert(
            products, key=self.pick(("id",), ("handle",)),
            values={"id": name, "handle": name, "title": "new", "price": 5, "live": True},
            change=self.pick({}, {"title": products.c.title + "!"}, {"title": top}),
            returning=self.pick((), (products.c.id, products.c.title)),
        )  # fmt: skip


def columns(source: Any, table: Table) -> Scope:
    return Scope(
        [source.c[name] for name in TEXTS[table]], [source.c[name] for name in NUMBERS[table]]
    )


@st.composite
def statements(draw: Callable[[Any], Any], kind: str = "") -> Any:
    author = Author(draw)
    depth = author.pick(0, 1, 1, 2)
    made: Any = author.pick(
        *{
            "": (author.query, author.several, author.recursive, author.change, author.change),
            "reads": (author.query, author.several),
            "writes": (author.change,),
        }[kind]
    )
    return made(depth)


# ---- the engines

Outcome = tuple[Any, ...]


class Engine(Protocol):
    """Two databases: `both` has the rows of two sites, the other one those of HERE."""

    dialect: Dialect

    def outcome(self, sql: str, args: Any, both: bool) -> Outcome:
        """What a statement returns, what it leaves of HERE's rows, and of all others; undone."""
        ...


def sort(rows: Any) -> list[str]:
    return sorted(repr(tuple(row)) for row in rows)


LOOKS = [
    "SELECT * FROM shop_products WHERE site {} 'here'",
    "SELECT * FROM shop_lines WHERE site {} 'here'",
]
REGIONS = "SELECT * FROM shop_regions"


class SqliteEngine:
    dialect: Dialect = "sqlite"

    def __init__(self) -> None:
        self.databases = {both: apsw.Connection(":memory:") for both in (True, False)}
        for both, connection in self.databases.items():
            connection.pragma("foreign_keys", True)
            for made in schema("sqlite"):
                connection.execute(made)
            for site in (HERE, THERE) if both else (HERE,):
                for table, row in rows_of(site):
                    marks = ", ".join("?" * len(row))
                    connection.execute(
                        f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({marks})",
                        tuple(row.values()),
                    )
            for code, name, place in REGION_ROWS:
                connection.execute("INSERT INTO shop_regions VALUES (?, ?, ?)", (code, name, place))

    def outcome(self, sql: str, args: Any, both: bool) -> Outcome:
        connection = self.databases[both]
        connection.execute("BEGIN")
        try:
            returned: Any = sort(connection.execute(sql, args).fetchall())
        except apsw.ConstraintError as error:
            returned = str(error)
        here = [sort(connection.execute(look.format("="))) for look in LOOKS]
        here.append(sort(connection.execute(REGIONS)))
        there = [sort(connection.execute(look.format("<>"))) for look in LOOKS]
        connection.execute("ROLLBACK")
        return returned, here, there


REGION_ROWS = [("p0", "h1", 1), ("p1", "Here 1", 2), ("eu", "There 1", 1000)]


class PostgresEngine:
    dialect: Dialect = "postgresql"

    def __init__(self, dsn: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.databases: dict[bool, asyncpg.Connection[Any]] = {}
        for both in (True, False):
            self.databases[both] = self.wait(self._open(dsn, both))

    def wait(self, awaited: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(awaited)

    async def _open(self, dsn: str, both: bool) -> "asyncpg.Connection[Any]":
        name = "both" if both else "alone"
        connection = await asyncpg.connect(dsn, server_settings={"search_path": name, "jit": "off"})
        await connection.execute(f"CREATE SCHEMA {name}")
        for made in schema("postgresql"):
            await connection.execute(made)
        for site in (HERE, THERE) if both else (HERE,):
            for table, row in rows_of(site):
                marks = ", ".join(f"${place + 1}" for place in range(len(row)))
                await connection.execute(
                    f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({marks})", *row.values()
                )
        for region in REGION_ROWS:
            await connection.execute("INSERT INTO shop_regions VALUES ($1, $2, $3)", *region)
        return connection

    def outcome(self, sql: str, args: Any, both: bool) -> Outcome:
        found: Outcome = self.wait(self._outcome(self.databases[both], sql, args))
        return found

    async def _outcome(self, connection: Any, sql: str, args: Any) -> Outcome:
        transaction = connection.transaction()
        await transaction.start()
        try:
            async with connection.transaction():
                returned: Any = sort(await connection.fetch(sql, *args))
        except asyncpg.IntegrityConstraintViolationError as error:
            returned = f"{type(error).__name__} {error.constraint_name}"
        here = [sort(await connection.fetch(look.format("="))) for look in LOOKS]
        here.append(sort(await connection.fetch(REGIONS)))
        there = [sort(await connection.fetch(look.format("<>"))) for look in LOOKS]
        await transaction.rollback()
        return returned, here, there

    def close(self) -> None:
        for connection in self.databases.values():
            self.wait(connection.close())
        self.loop.close()


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "sqlite":
        yield SqliteEngine()
        return
    dsns: Dsns = request.getfixturevalue("postgres_dsns")
    opened = PostgresEngine(dsns.superuser)
    yield opened
    opened.close()


def leak(engine: Engine, compiler: Statements, statement: Any) -> str:
    """What a statement of HERE shows or changes of THERE; nothing where all is well."""
    compiled = compiler.find(statement, None, "shop")
    args = compiled.arguments({SITE_PARAMETER: HERE})
    returned, here, there = engine.outcome(compiled.sql, args, both=True)
    alone, here_alone, _ = engine.outcome(compiled.sql, args, both=False)
    _, _, untouched = engine.outcome("SELECT 1", (), both=True)
    found = [
        name
        for name, one, two in (
            ("returned", returned, alone), ("here", here, here_alone), ("there", there, untouched)
        )
        if one != two
    ]  # fmt: skip
    return f"{found}: {compiled.sql}" if found else ""


# ---- the tests


def test_nothing_accepted_reaches_the_other_site(engine: Engine) -> None:
    compiler = Statements(engine.dialect)

    @settings(max_examples=EXAMPLES)
    @given(statements())
    def check(statement: Any) -> None:
        assert leak(engine, compiler, statement) == ""

    check()


@pytest.mark.parametrize("kind", ["reads", "writes"])
def test_without_scoping_the_same_statements_leak(engine: Engine, kind: str) -> None:
    compiler = Statements(engine.dialect)
    compiler.scoped = False
    assert found_leak(engine, compiler, kind)


def found_leak(engine: Engine, compiler: Statements, kind: str) -> Any:
    try:
        return find(
            statements(kind),
            lambda statement: leak(engine, compiler, statement) != "",
            settings=settings(max_examples=EXAMPLES, phases=NO_SHRINKING, database=None),
        )
    except NoSuchExample:
        return None


# Scoping that forgets one position each. The statements above must tell.
POSITIONS: dict[str, Callable[[Any, Any, dict[str, Any]], bool]] = {
    "aliases": lambda compiler, table, options: options.get("enclosing_alias") is not None,
    "nested selects": lambda compiler, table, options: len(compiler.stack) > 1,
    "common tables": lambda compiler, table, options: bool(options.get("visiting_cte")),
    "the right of a join": lambda compiler, table, options: table is lines,
    "subqueries of writes": lambda compiler, table, options: (
        not isinstance(compiler.stack[0]["selectable"], type(select()))
    ),
}


@pytest.mark.parametrize("position", POSITIONS)
def test_scoping_that_forgets_a_position_is_found(
    position: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scoping._SqliteScoped.visit_table

    def forgetful(self: Any, table: Any, *args: Any, **options: Any) -> str:
        if POSITIONS[position](self, table, options):
            return str(scoping._SqliteOpen.visit_table(self, table, *args, **options))
        return whole(self, table, *args, **options)

    monkeypatch.setattr(scoping._SqliteScoped, "visit_table", forgetful)
    assert found_leak(SqliteEngine(), Statements("sqlite"), "")
