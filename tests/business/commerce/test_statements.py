"""How many statements an operation makes is bounded: a page of a shop never asks row by row."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from hansa.assembly import SERVICES, Place
from hansa.business.commerce import api as shop
from hansa.kernel.schema import differences
from hansa.kernel.storage import Row, Session
from hansa.kernel.structs import PageRequest
from tests.business.commerce.market import Market, opened


class Counting:
    """A session that notes the statements on the shop's own tables."""

    def __init__(self, session: Session, seen: list[str]) -> None:
        self._session = session
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_session", "_seen"):
            object.__setattr__(self, name, value)
        else:
            setattr(self._session, name, value)

    def fetch(self, sql: str, args: Sequence[Any] = ()) -> Awaitable[Sequence[Row]]:
        self._note(sql)
        return self._session.fetch(sql, args)

    def run(self, sql: str, args: Sequence[Any] = ()) -> Awaitable[int]:
        self._note(sql)
        return self._session.run(sql, args)

    def _note(self, sql: str) -> None:
        if "commerce_" in sql:
            self._seen.append(sql)


def counting(market: Market) -> list[str]:
    """Count from here on: the list grows by each statement."""
    seen: list[str] = []
    storage: Any = market.runtime.storage
    for verb in ("read", "write"):
        original = getattr(storage, verb)

        def wrapped(body: Any, *, _original: Any = original, **more: Any) -> Any:
            async def counted(session: Session) -> Any:
                return await body(Counting(session, seen))

            return _original(counted, **more)

        setattr(storage, verb, wrapped)
    return seen


def test_statements_are_bounded(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            for number in range(30):
                await market.product(f"product-{number}")
            await market.runtime.dispatcher.rest()
            variant = await market.product("another")
            seen = counting(market)

            # An engine learns by the first run of a query how many statements it makes.
            for _ in range(2):
                await market.visit(shop.get_product, handle="mug")
                await market.visit(shop.get_cart, id=(await market.cart()).id)

            async def count(call: Callable[[], Awaitable[Any]]) -> tuple[int, Any]:
                seen.clear()
                value = await call()
                return len(seen), value

            made, page = await count(lambda: market.visit(shop.list_products, page=PageRequest(30)))
            assert (made, len(page.items)) == (1, 30)
            made, _ = await count(lambda: market.visit(shop.get_product, handle="mug"))
            assert made <= 2
            made, cart = await count(lambda: market.cart((market.variant, 1), (variant, 2)))
            assert made <= 2
            more = (shop.Line(variant, 5), shop.Line(market.variant, 1))
            made, cart = await count(
                lambda: market.visit(shop.change_cart, id=cart.id, body=shop.CartChange(1, more))
            )
            assert made <= 3
            made, _ = await count(lambda: market.visit(shop.get_cart, id=cart.id))
            assert made <= 2
            made, order = await count(lambda: market.pay(cart))
            assert isinstance(order, shop.Order)
            assert made <= 40, "two lines: reserve, settle, and the counts of the subscriber"

    asyncio.run(test())


def test_what_is_declared_is_what_the_revisions_make(
    storage: Any, tmp_path: Path, request: Any
) -> None:
    async def test() -> None:
        if storage.dialect == "sqlite":
            place, empty = Place(tmp_path / "a", synchronous="OFF"), storage
        else:
            cluster = request.getfixturevalue("postgres_cluster")
            dsns = cluster.new_database()
            place, empty = Place(tmp_path / "a", dsns.application, dsns.owner), storage
        async with opened(place) as market:
            await empty.open()
            try:
                assert await differences(market.runtime.storage, empty, SERVICES) == []
            finally:
                await empty.close()

    asyncio.run(test())
