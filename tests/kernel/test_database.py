"""What `ctx.db` does on both engines: rows in and out, refusals, pages, plans."""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData, Table, func, or_, select, update

from hansa.kernel.columns import (
    Part,
    binary,
    boolean,
    build_table,
    enum,
    instant,
    integer,
    json,
    money,
    real,
    text,
)  # fmt: skip
from hansa.kernel.columns import date as day
from hansa.kernel.compiler import ROWS_MAX, StatementRefused, Statements, param, upsert
from hansa.kernel.database import Db
from hansa.kernel.migration_sql import declared_statements
from hansa.kernel.paging import CURSOR_LENGTH_MAX, pages_of
from hansa.kernel.problems import Conflict, Invalid, NotFound
from hansa.kernel.row_security import secure
from hansa.kernel.storage import ConstraintFailed, Session, Storage
from hansa.kernel.structs import Money, PageRequest, Struct

HERE, THERE = "site_here", "site_there"
NOON = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=UTC)

metadata = MetaData()


def declare(name: str, *parts: Part, **options: Any) -> Table:
    return build_table(metadata, "shop", name, parts, **options)


products = declare(
    "products",
    text("handle", unique="site"), text("title"), money("price"), money("was", nullable=True),
    json("tags"), boolean("live", default=True), instant("at"), day("on_sale", nullable=True),
    real("weight", nullable=True), binary("image", nullable=True),
    enum("state", ("draft", "open"), default="draft"), integer("stock", check=lambda n: n >= 0),
    prefix="prod", index=[("at", "id"), ("state", "stock", "id")],
)  # fmt: skip
prices = declare(
    "prices", text("product", primary=True), text("zone", primary=True), integer("minor"),
    foreign=[("product", products)],
)  # fmt: skip
regions = declare("regions", text("code", primary=True), text("name"), scope="platform")
TABLES = [products, prices, regions]
c = products.c

by_handle = select(products).where(c.handle == param("handle"))
by_id = select(products).where(c.id == param("id"))
count = select(func.count()).select_from(products)
all_of = select(products)


class Product(Struct):
    id: str
    handle: str
    title: str
    price: Money
    tags: tuple[str, ...]
    at: datetime
    stock: int
    live: bool = True
    was: Money | None = None
    on_sale: date | None = None
    weight: float | None = None
    image: bytes | None = None
    state: str = "draft"


class New(Struct):
    handle: str
    title: str
    price: Money
    stock: int = 1
    tags: tuple[str, ...] = ()
    at: datetime = NOON
    weight: float | msgspec.UnsetType | None = msgspec.UNSET


class Brief(Struct):
    handle: str
    stock: int


def new(number: int = 0, **more: Any) -> New:
    return New(f"h{number}", f"Title {number}", Money(100 + number, "EUR"), **more)


Asked = Callable[[Callable[..., Db]], Awaitable[Any]]


def run(storage: Storage, test: Callable[["Cell"], Awaitable[None]]) -> None:
    """Run `test` with an open cell that has the tables."""

    async def main() -> None:
        await storage.open()
        try:
            await storage.apply(declared_statements(TABLES, storage.dialect))
            if storage.dialect == "postgresql":
                await storage.apply([made for table in TABLES for made in secure(table)])
            await test(Cell(storage))
        finally:
            await storage.close()

    asyncio.run(main())


class Cell:
    """A storage, with its statements and a sequence of identifiers."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.statements = Statements(storage.dialect)
        self.made = 0

    def new_id(self, prefix: str) -> str:
        self.made += 1
        return f"{prefix}_{self.made:05d}"

    async def do(self, work: Callable[..., Awaitable[Any]], *args: Any, site: str = HERE) -> Any:
        """Run ``work(db, *args)`` as a command of `site`."""

        async def body(session: Session) -> Any:
            return await work(Db(session, site, "shop", self.statements, self.new_id), *args)

        return (await self.storage.write(body, site=site, deadline=time.monotonic() + 30)).value

    async def fill(self, many: int, site: str = HERE, **more: Any) -> None:
        await self.do(
            lambda db: db.insert_all(products, [new(n, **more) for n in range(many)]), site=site
        )


def test_rows_go_in_and_come_out_as_they_were(storage: Storage) -> None:
    async def test(cell: Cell) -> None:
        body = new(1, tags=("a", "ü"), weight=0.1)
        made = await cell.do(
            lambda db: db.insert(
                products, body, into=Product, was=Money(-5, "USD"), image=b"\0\xff",
                on_sale=date(2026, 2, 28), live=False,
            )
        )  # fmt: skip
        whole = Product(
            id="prod_00001", handle="h1", title="Title 1", price=Money(101, "EUR"),
            tags=("a", "ü"), at=NOON, stock=1, live=False, was=Money(-5, "USD"),
            on_sale=date(2026, 2, 28), weight=0.1, image=b"\0\xff", state="draft",
        )  # fmt: skip
        assert made == whole
        assert await cell.do(lambda db: db.one(by_handle, Product, handle="h1")) == whole
        assert await cell.do(lambda db: db.insert(products, new(2))) == "prod_00002"
        second = await cell.do(lambda db: db.one(by_handle, Product, handle="h2"))
        assert (second.live, second.was, second.state, second.weight) == (True, None, "draft", None)
        pair = await cell.do(
            lambda db: db.insert(prices, product=whole.id, zone="eu", minor=2**63 - 1)
        )
        assert pair == (whole.id, "eu")
        assert await cell.do(lambda db: db.rows(select(c.at, c.tags, c.live).order_by(c.id))) == [
            (NOON, ["a", "ü"], False), (NOON, [], True)]  # fmt: skip
        largest = select(func.max(prices.c.minor), func.sum(prices.c.minor))
        assert await cell.do(lambda db: db.rows(largest)) == [(2**63 - 1, 2**63 - 1)]

    run(storage, test)


def test_reading_finds_the_site_s_rows_only(storage: Storage) -> None:
    async def test(cell: Cell) -> None:
        await cell.fill(3)
        await cell.fill(5, THERE)
        assert await cell.do(lambda db: db.value(count, int)) == 3
        assert await cell.do(lambda db: db.value(count, int), site=THERE) == 5
        with pytest.raises(NotFound, match="There is no such product on this site"):
            await cell.do(lambda db: db.one(by_handle, Product, handle="h4"))
        assert await cell.do(lambda db: db.first(by_handle, Product, handle="h4")) is None
        one = await cell.do(lambda db: db.one(by_handle, Product, handle="h4"), site=THERE)
        with pytest.raises(NotFound):
            await cell.do(lambda db: db.update(products, one.id, title="mine"))
        with pytest.raises(NotFound):
            await cell.do(lambda db: db.delete(products, one.id))
        wanted = select(products).where(c.handle.in_(param("handles"))).order_by(c.handle)
        found = await cell.do(lambda db: db.all(wanted, Brief, handles=["h2", "h0", "h4", "x"]))
        assert found == [Brief("h0", 1), Brief("h2", 1)]
        assert await cell.do(lambda db: db.all(wanted, Brief, handles=[])) == []
        with pytest.raises(TypeError, match="needs the parameter handles"):
            await cell.do(lambda db: db.all(wanted, Brief, handle="h2"))

        async def across(session: Session) -> Any:
            await session.enter_site("*")
            db = Db(session, HERE, "shop", cell.statements, cell.new_id, across=True)
            with pytest.raises(StatementRefused, match="emit an event"):
                await db.insert(products, new(9))
            return await db.value(count, int)

        reading = storage.read(across, site=HERE, deadline=time.monotonic() + 30, across=True)
        assert await reading == 8

    run(storage, test)


def test_writing_changes_the_site_s_rows_only(storage: Storage) -> None:
    take = (
        update(products)
        .where(c.handle == param("handle"), c.stock >= param("quantity"))
        .values(stock=c.stock - param("quantity"))
    )
    put = upsert(
        products, key=("handle",),
        values={name: param(name) for name in (
            "id", "handle", "title", "price_minor", "price_currency", "tags", "at", "stock")},
        change={"stock": c.stock + param("stock"), "title": param("title")},
        returning=[c.handle, c.stock],
    )  # fmt: skip

    async def test(cell: Cell) -> None:
        for site in (HERE, THERE):
            await cell.fill(2, site)
        assert await cell.do(lambda db: db.run(take, handle="h1", quantity=1)) == 1
        assert await cell.do(lambda db: db.run(take, handle="h1", quantity=1)) == 0
        values = {"title": "New", "price_minor": 1, "price_currency": "EUR", "tags": [], "at": NOON}
        for handle, stock in (("h0", 6), ("h7", 5)):
            put_ = {"id": f"x{handle}", "handle": handle, "stock": 5, **values}
            found = await cell.do(lambda db, v: db.one(put, Brief, **v), put_)
            assert found == Brief(handle, stock)
        one = await cell.do(lambda db: db.one(by_handle, Product, handle="h0"))
        await cell.do(lambda db: db.update(products, one.id, price=Money(7, "JPY"), tags=["b"]))
        again = await cell.do(lambda db: db.one(by_id, Product, id=one.id))
        assert (again.price, again.tags, again.title) == (Money(7, "JPY"), ("b",), "New")
        await cell.do(lambda db: db.insert(prices, product=one.id, zone="eu", minor=1))
        await cell.do(lambda db: db.update(prices, (one.id, "eu"), minor=2))
        await cell.do(lambda db: db.delete(prices, (one.id, "eu")))
        await cell.do(lambda db: db.delete(products, one.id))
        stocks = select(c.handle, c.stock).order_by(c.handle)
        assert await cell.do(lambda db: db.rows(stocks)) == [("h1", 0), ("h7", 5)]
        assert await cell.do(lambda db: db.rows(stocks), site=THERE) == [("h0", 1), ("h1", 1)]

    run(storage, test)


def test_refusals_of_the_database_say_what_is_wrong(storage: Storage) -> None:
    move = update(products).where(c.handle == "h1").values(handle=param("handle"))

    async def test(cell: Cell) -> None:
        await cell.fill(2)
        await cell.do(lambda db: db.insert(regions, code="eu", name="Europe"))
        writes: list[tuple[Callable[[Db], Awaitable[Any]], list[str]]] = [
            (lambda db: db.insert(products, new(0)), ["handle"]),
            (lambda db: db.insert(products, new(0), into=Product), ["handle"]),
            (lambda db: db.insert(products, new(5), id="prod_00001"), ["id"]),
            (lambda db: db.insert_all(products, [new(5), new(1)]), ["handle"]),
            (lambda db: db.update(products, "prod_00002", handle="h0"), ["handle"]),
            (lambda db: db.run(move, handle="h0"), ["handle"]),
            (lambda db: db.insert(regions, code="eu", name="again"), ["code"]),
        ]
        for write, fields in writes:
            with pytest.raises(Conflict) as refused:
                await cell.do(write)
            assert (refused.value.slug, refused.value.more["fields"]) == ("already-exists", fields)
            assert HERE not in str(refused.value.document())
        with pytest.raises(ConstraintFailed) as failed:
            await cell.do(lambda db: db.insert(products, new(8, stock=-1)))
        assert failed.value.kind == "check"
        with pytest.raises(ConstraintFailed) as failed:
            await cell.do(lambda db: db.insert(prices, product="none", zone="eu", minor=1))
        assert failed.value.kind == "foreign"
        odd: list[dict[str, Any]] = [{"colour": "red"}, {"site": THERE}]
        for values in odd:
            with pytest.raises(TypeError, match=r"no column colour|kernel alone"):
                await cell.do(lambda db, v: db.insert(products, new(9), **v), values)
        uneven: list[dict[str, Any]] = [{"product": "a", "zone": "b", "minor": 1}, {"product": "a"}]
        with pytest.raises(TypeError, match="the same columns"):
            await cell.do(lambda db: db.insert_all(prices, uneven))
        assert await cell.do(lambda db: db.insert_all(prices, [])) == 0
        assert await cell.do(lambda db: db.value(count, int)) == 2

    run(storage, test)


def test_too_many_rows_are_refused(storage: Storage) -> None:
    async def test(cell: Cell) -> None:
        with pytest.raises(ValueError, match="at most 10000"):
            await cell.do(lambda db: db.insert_all(products, [new()] * (ROWS_MAX + 1)))
        rows = [{"code": f"r{n}", "name": ""} for n in range(ROWS_MAX)]
        assert await cell.do(lambda db: db.insert_all(regions, rows)) == ROWS_MAX
        assert len(await cell.do(lambda db: db.all(select(regions.c.code), str))) == ROWS_MAX
        await cell.do(lambda db: db.insert(regions, code="one", name="more"))
        with pytest.raises(ValueError, match="read them in pages"):
            await cell.do(lambda db: db.all(select(regions.c.code), str))

    run(storage, test)


# ---- pages

ORDERS: dict[str, Any] = {
    "by id": (c.id,),
    "newest first": (c.at.desc(),),
    "by state and stock": (c.state, c.stock, c.id),
    "mixed": (c.state.asc(), c.stock.desc(), c.id),
    "by text": (c.title.desc(),),
}


def test_pages_hold_every_row_once(storage: Storage) -> None:
    filtered = select(products).where(or_(c.stock < 3, c.state == param("state")))

    async def pages(db: Db, limit: int, order: Any) -> list[Product]:
        found: list[Product] = []
        cursor: str | None = None
        while True:
            request = PageRequest(limit, cursor)
            page = await db.page(filtered, Product, request, order=order, state="open")
            found += page.items
            assert len(page.items) == limit or page.next is None
            cursor = page.next
            if cursor is None:
                return found

    async def test(cell: Cell) -> None:
        for site in (HERE, THERE):
            rows = [
                {**msgspec.structs.asdict(new(n, stock=n % 4, at=NOON + timedelta(days=n % 3))),
                 "state": "open" if n % 5 else "draft", "title": f"t{n % 2}"}
                for n in range(23)
            ]  # fmt: skip
            await cell.do(lambda db, rows: db.insert_all(products, rows), rows, site=site)
        whole = await cell.do(lambda db: db.all(filtered, Product, state="open"))
        for order in ORDERS.values():
            for limit in (1, 7, 100):
                found = await cell.do(pages, limit, order)
                assert len(found) == len(whole) and {row.id for row in found} == {
                    row.id for row in whole
                }
        newest = await cell.do(lambda db: pages(db, 5, ORDERS["newest first"]))
        assert [row.at for row in newest] == sorted((row.at for row in newest), reverse=True)
        mixed = await cell.do(lambda db: pages(db, 5, ORDERS["mixed"]))
        keys = [(row.state, -row.stock, row.id) for row in mixed]
        assert keys == sorted(keys)
        for limit in (0, -1, 101):
            with pytest.raises(Invalid) as refused:
                await cell.do(pages, limit, (c.id,))
            assert refused.value.slug == "invalid-limit"

    run(storage, test)


def cursor_of(*values: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


by_at = pages_of(all_of, [c.at, c.id])
by_title = pages_of(all_of, [c.title])
WRONG = [
    "", "x", "=", "a b", "%00", "é", "A" * (CURSOR_LENGTH_MAX + 1), cursor_of(), cursor_of(1, "x"),
    cursor_of(by_at.mark), cursor_of(by_at.mark, 1), cursor_of(by_at.mark, "1", "x"),
    cursor_of(by_at.mark, 1, 2), cursor_of(by_at.mark, 1, "x", "y"),
    cursor_of(by_at.mark, True, "x"), cursor_of(by_at.mark, 1.5, "x"),
    cursor_of(by_at.mark, 2**63, "x"), cursor_of(by_at.mark, 1, "\0"),
    cursor_of(by_at.mark, None, "x"), cursor_of(by_at.mark, [1], "x"),
    cursor_of(by_title.mark, 1, "x"), by_title.cursor(["t", "x"]),
    base64.urlsafe_b64encode(b"[" * 1200).decode().rstrip("="),
    base64.urlsafe_b64encode(b"\xff\xfe").decode().rstrip("="),
]  # fmt: skip


@pytest.mark.parametrize("cursor", WRONG)
def test_a_wrong_cursor_is_an_invalid_request(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        by_at.parameters(cursor)
    assert refused.value.slug == "invalid-cursor"


@settings(max_examples=100)
@given(
    st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8", exclude_characters="\0"))
)
def test_a_cursor_holds_the_place(at: int, id: str) -> None:
    cursor = by_at.cursor(["ignored", at, id])
    assert by_at.parameters(cursor) == {"hansa_page_0": at, "hansa_page_1": id}


@settings(max_examples=200)
@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_no_text_as_a_cursor_does_harm(text: str) -> None:
    try:
        parameters = by_at.parameters(text)
    except Invalid as refused:
        assert refused.slug == "invalid-cursor"
    else:
        assert isinstance(parameters["hansa_page_0"], int)


def test_pages_need_an_order_that_an_index_can_have() -> None:
    for statement, order in (
        (all_of, ()), (all_of, (c.weight,)), (all_of, (func.lower(c.title),)), (all_of, (c.tags,)),
        (all_of, (c.live,)), (all_of.limit(5), (c.id,)), (all_of.order_by(c.id), (c.id,)),
        (all_of.union_all(all_of), (c.id,)),
    ):  # fmt: skip
        with pytest.raises(StatementRefused, match="pages"):
            pages_of(statement, order)
    assert [column.name for column in by_title.columns] == ["title", "id"]
    assert [column.name for column in pages_of(all_of, [c.handle]).columns] == ["handle"]
    with pytest.raises(ValueError, match="too long"):
        by_title.cursor(["x" * CURSOR_LENGTH_MAX, "id"])


# ---- plans

PLANS: dict[str, tuple[Any, str]] = {
    "by key": (by_id, "shop_products_key"),
    "by a unique column": (by_handle, "shop_products_handle_unique"),
    "by a list of keys": (select(products).where(c.id.in_(param("ids"))), "shop_products_key"),
    "the first page": (pages_of(all_of, [c.at, c.id]).first, "shop_products_at_id_index"),
    "a later page": (pages_of(all_of, [c.at, c.id]).later, "shop_products_at_id_index"),
    "a filtered page": (
        pages_of(all_of.where(c.state == param("state")), [c.stock, c.id]).later,
        "shop_products_state_stock_id_index"),
    "a join": (
        select(products).join(prices, prices.c.product == c.id).where(c.id == param("id")),
        "shop_products_key"),
    "an outer join": (
        select(c.title, prices.c.minor).where(c.id == param("id"))
        .join(prices, prices.c.product == c.id, isouter=True), "shop_prices_key"),
    "exists": (
        select(prices).where(
            prices.c.product == param("id"),
            select(c.id).where(c.id == prices.c.product).exists()), "shop_products_key"),
    "an update": (update(products).where(c.id == param("id")).values(stock=1), "shop_products_key"),
}  # fmt: skip
SQLITE_INDEXES = {
    "shop_products_key": "(site=? AND id=?)",
    "shop_products_handle_unique": "(site=? AND handle=?)",
    "shop_prices_key": "(site=? AND product=?)",
}
"""What stands in SQLite's plans, which has its own names for the indexes of keys."""
VALUES = {"ids": ["x", "y"], "hansa_page_limit": 21, "hansa_page_0": 5, "hansa_page_1": "x"}


def test_the_common_shapes_use_the_index_that_begins_with_the_site(storage: Storage) -> None:
    async def plan_of(cell: Cell, statement: Any) -> str:
        compiled = cell.statements.find(statement, None, "shop")
        given = {n: VALUES.get(n, "x") for n in compiled.names if n not in compiled.own}
        arguments = compiled.arguments(given | {"hansa_site": HERE})
        explain = "EXPLAIN QUERY PLAN " if storage.dialect == "sqlite" else "EXPLAIN "

        async def look(session: Session) -> Any:
            if storage.dialect == "postgresql":  # which likes to scan tables that are this small
                for switch in ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort"):
                    await session.run(f"SET LOCAL enable_{switch} = off")
            return await session.fetch(explain + compiled.sql, arguments)

        done = await storage.write(look, site=HERE, deadline=time.monotonic() + 30)
        return "\n".join(str(row[-1]) for row in done.value)

    async def test(cell: Cell) -> None:
        for site in (HERE, THERE):
            await cell.fill(500, site)
            ids = await cell.do(lambda db: db.all(select(c.id), str), site=site)
            rows = [{"product": id, "zone": zone, "minor": 1} for id in ids for zone in "abcd"]
            await cell.do(lambda db, rows: db.insert_all(prices, rows), rows, site=site)
        await storage.apply([f"ANALYZE {table.name}" for table in TABLES])
        for name, (statement, index) in PLANS.items():
            plan = await plan_of(cell, statement)
            wanted = SQLITE_INDEXES.get(index, index) if storage.dialect == "sqlite" else index
            assert wanted in plan, f"{name}: {plan}"
            assert "SCAN shop_" not in plan and "Seq Scan on shop_" not in plan, f"{name}: {plan}"
            if "page" in name:
                assert "TEMP B-TREE" not in plan and "Sort" not in plan, f"{name}: {plan}"

    run(storage, test)
