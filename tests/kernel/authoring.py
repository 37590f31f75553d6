"""Authoring: statements of every accepted shape over a small shop, as Hypothesis draws them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
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

from hansa.kernel.columns import boolean, build_table, integer, text
from hansa.kernel.compiler import upsert

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
        inner = self.query(depth - 1).subquery() if depth else None
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
                lambda: one.in_(select(inner.c.t)),
                lambda: n.not_in(select(inner.c.n)),
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
            taken = self.query(depth).subquery()
            n = select(func.max(taken.c.n)).scalar_subquery()
            made = insert(lines).values(
                id=self.pick("l1", "l9"), product=self.pick("p1", "p3"),
                n=self.pick(n, 5),
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
