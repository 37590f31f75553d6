"""A shop in process: one cell with one site that sells, and a buyer's few moves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from hansa.assembly import OPERATOR, Cell, Place
from hansa.business.commerce import api as shop
from hansa.business.commerce.payments import Notice, Outcome
from hansa.business.commerce.testpay import Testpay
from hansa.kernel.actions import Unknown
from hansa.kernel.caller import PUBLIC_PRINCIPAL, SYSTEM, Caller
from hansa.kernel.clock import MachineClock
from hansa.kernel.problems import Problem
from hansa.kernel.storage import Session
from hansa.kernel.structs import Money, PageRequest, RawBody
from hansa.platform.sites import api as sites

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
PRICE = 1_500
WAIT_S = 30


class Shifted(MachineClock):
    """The machine's clock, which a test may put forward, so that nothing has to be waited for."""

    __slots__ = ("ahead_s",)

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_s * 1_000_000


class Market:
    """A site, who keeps it, who visits it, and a product with one variant."""

    def __init__(self, cell: Cell, clock: Shifted) -> None:
        self.cell = cell
        self.clock = clock
        self.runtime = cell.runtime
        self.site = ""
        self.variant = ""

    @property
    def keeper(self) -> Caller:
        return Caller(self.site, SYSTEM)

    @property
    def testpay(self) -> Testpay:
        """The provider, to look into its books."""
        assert self.cell.provider is not None
        return self.cell.provider

    @property
    def visitor(self) -> Caller:
        return Caller(self.site, PUBLIC_PRINCIPAL)

    async def make(self, *, stock: int = 10, test_clock: bool = False) -> None:
        """Make the site and its product."""
        clock = sites.TestClock(START) if test_clock else None
        site = await self.runtime.do(
            sites.create_site, OPERATOR, {"body": sites.NewSite("shop", clock=clock)}
        )
        self.site = site.id
        self.variant = await self.product("mug", stock=stock)

    async def product(self, handle: str, *, stock: int = 10, price: int = PRICE) -> str:
        """Make a product with one variant, and return the variant's id."""
        form = shop.NewVariant(f"{handle}-1", Money(price, "EUR"), stock=stock)
        made = await self.run(shop.create_product, body=shop.NewProduct(handle, handle, (form,)))
        return str(made.variants[0].id)

    async def run(self, operation: Any, *, key: str | None = None, **arguments: Any) -> Any:
        """Run an operation as the keeper."""
        return await self.runtime.do(operation, self.keeper, arguments, key=key)

    async def visit(self, operation: Any, *, key: str | None = None, **arguments: Any) -> Any:
        """Run an operation as a visitor."""
        return await self.runtime.do(operation, self.visitor, arguments, key=key)

    async def cart(self, *lines: tuple[str, int]) -> shop.Cart:
        """Make a cart, of one mug if nothing else is said."""
        wanted = tuple(shop.Line(*line) for line in lines or ((self.variant, 1),))
        made: shop.Cart = await self.visit(
            shop.create_cart, body=shop.NewCart(wanted, "a@b.example")
        )
        return made

    async def pay(self, cart: shop.Cart, token: str = "tok_ok", key: str | None = None) -> Any:
        """Complete a cart: the order, a refusal's slug, or the open attempt's error."""
        body = shop.Complete(cart.version, Money(cart.priced.total_minor, "EUR"), token)
        try:
            return await self.visit(shop.complete, key=key, id=cart.id, body=body)
        except Problem as problem:
            return problem.slug
        except Unknown as unknown:
            return unknown

    async def buy(self, token: str = "tok_ok", quantity: int = 1, key: str | None = None) -> Any:
        """Make a cart and complete it."""
        return await self.pay(await self.cart((self.variant, quantity)), token, key)

    async def level(self, variant: str = "") -> tuple[int, int]:
        """Return what is on hand and what of it is promised."""
        found = await self.run(shop.get_stock, variant=variant or self.variant)
        return found.on_hand, found.reserved

    async def orders(self) -> list[shop.Order]:
        """Return all orders."""
        found: list[shop.Order] = []
        cursor = None
        while True:
            page = await self.run(shop.list_orders, page=PageRequest(100, cursor))
            found += page.items
            cursor = page.next
            if cursor is None:
                return found

    # ---- the provider

    def quiet(self) -> None:
        """Have the provider send no webhooks by itself: the test sends them."""
        pump = self.cell._pump
        assert pump is not None
        pump.cancel()

    async def tell(self, key: str, purpose: Any, outcome: Outcome, identity: str = "") -> Any:
        """Bring a webhook, signed by the provider."""
        notice = Notice(identity or f"{purpose}:{key}", key, purpose, outcome)
        body = msgspec.json.encode(notice)
        raw = RawBody(body, self.testpay.headers_for(notice.id, body))
        return await self.visit(shop.receive_webhook, raw=raw)

    def kept_money(self) -> int:
        """Return what the provider has taken and not given back."""
        moves = self.testpay.ledger()
        return sum(m["amount"] if m["purpose"] == "charge" else -m["amount"] for m in moves)

    async def due_now(self, ahead_s: int) -> None:
        """Put the machine's clock forward and have what is due then done."""
        self.clock.ahead_s += ahead_s
        self.runtime.due.wake()

    # ---- the log

    async def events(self, kind: str) -> list[tuple[str, bytes]]:
        """Return the committed events of a type: their aggregate and data, in order."""
        rows = await self.rows(
            "SELECT aggregate, data FROM hansa_events WHERE site = $1 AND type = $2 ORDER BY id",
            self.site, kind,
        )  # fmt: skip
        return [(row[0], bytes(row[1])) for row in rows]

    async def rows(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Return rows past all services, to look at what is kept."""
        text = (
            statement if self.runtime.storage.dialect != "sqlite" else statement.replace("$", "?")
        )

        async def body(session: Session) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await session.fetch(text, arguments)]

        deadline = asyncio.get_running_loop().time() + WAIT_S
        return await self.runtime.storage.read(
            body, site="platform", deadline=deadline, across=True
        )

    async def until(self, check: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return what a check finds, as soon as it finds something."""
        async with asyncio.timeout(WAIT_S):
            while not (found := await check()):
                self.runtime.due.wake()
                await self.turn()
            return found

    async def turn(self) -> None:
        """Let others run for one committed round trip."""
        await self.rows("SELECT 1")
        await asyncio.to_thread(int)


@asynccontextmanager
async def opened(
    place: Place, *, stock: int = 10, test_clock: bool = False, as_if_remote: bool = True
) -> AsyncIterator[Market]:
    """Open a cell with a market on it, and close it."""
    clock = Shifted()
    cell = Cell(place, as_if_remote=as_if_remote, clock=clock, testpay=True)
    await cell.open()
    try:
        market = Market(cell, clock)
        await market.make(stock=stock, test_clock=test_clock)
        yield market
    finally:
        await cell.close()
