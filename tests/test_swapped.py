"""Every endpoint with the ids of one site and the keys of another: nothing is shown or changed.

On PostgreSQL the same holds with the compiler's scoping switched off: row security stands alone.
"""

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from hansa.assembly import OPERATOR, Cell, Place
from hansa.business.commerce import api as shop
from hansa.business.commerce import commerce
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.commands import deadline_in
from hansa.kernel.compiler import Statements
from hansa.kernel.http.asgi import AsgiHeaders
from hansa.kernel.http.endpoint import Endpoint
from hansa.kernel.http.message import Request, Response
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.structs import Money
from hansa.platform.sites.api import (
    NewKey,
    NewSite,
    NewValue,
    create_key,
    create_site,
    set_setting,
)

MARK: Final = "ONLY-OF-THE-FIRST"
PRICE: Final = 31_415_926
MANY: Final = {"per_s": 100_000, "burst": 100_000}
OPEN: Final = {"site": MANY, "key": MANY, "address": MANY, "reads": MANY}


async def _shop(cell: Cell, name: str, mark: str) -> dict[str, str]:
    """Make a site with one of everything; return the ids of all that."""
    runtime = cell.runtime
    site = await runtime.do(
        create_site, OPERATOR, {"body": NewSite(name, hosts=(f"{name}.example",))}
    )
    # Who is turned away at the door sees nothing anyway.
    said = {"site": site.id, "name": "sites.limits", "body": NewValue(OPEN)}
    await runtime.do(set_setting, OPERATOR, said)
    key = await runtime.do(create_key, OPERATOR, {"site": site.id, "body": NewKey("all", ("*",))})
    caller = Caller(site.id, SYSTEM)
    form = shop.NewVariant(f"sku-{name}", Money(PRICE, "EUR"), title=mark, stock=9)
    body = shop.NewProduct(f"handle-{name}", f"Title {mark}", (form,), description=mark)
    made = await runtime.do(shop.create_product, caller, {"body": body})
    variant = made.variants[0].id
    lines = (shop.Line(variant, 1),)
    open_cart = await runtime.do(
        shop.create_cart, caller, {"body": shop.NewCart(lines, f"{mark}@example.com")}
    )
    cart = await runtime.do(
        shop.create_cart, caller, {"body": shop.NewCart(lines, f"{mark}@example.com")}
    )
    pay = shop.Complete(cart.version, Money(PRICE, "EUR"), "tok_ok")
    order = await runtime.do(shop.complete, caller, {"id": cart.id, "body": pay})
    source = shop.NewProduct(
        f"imported-{name}", mark, (shop.NewVariant(f"i-{name}", Money(1, "EUR")),)
    )
    batch = shop.ImportBatch(f"source-{name}", 1, 2, (source,))
    await runtime.do(shop.import_products, caller, {"body": batch})
    attempt = (await _rows(cell, f"SELECT id FROM hansa_attempts WHERE site = '{site.id}'"))[0][0]
    return {
        "site": site.id, "key": str(key.key), "key_id": key.id, "product": made.product.id,
        "variant": variant, "cart": open_cart.id, "order": order.id, "attempt": attempt,
        "handle": f"handle-{name}", "sku": f"sku-{name}", "source": f"source-{name}",
    }  # fmt: skip


async def _rows(cell: Cell, statement: str) -> list[tuple[Any, ...]]:
    async def body(session: Session) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await session.fetch(statement)]

    return await cell.storage.read(body, site=PLATFORM, deadline=deadline_in(30), across=True)


async def _settled(cell: Cell) -> None:
    """Return when every webhook has come and every event is delivered."""
    async with asyncio.timeout(30):
        while len(await _rows(cell, "SELECT id FROM commerce_payment_events")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await cell.runtime.dispatcher.rest()


async def _books(cell: Cell, site: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that a site keeps in the shop."""
    return {
        table.name: sorted(
            await _rows(cell, f"SELECT * FROM {table.name} WHERE site = '{site}'"), key=repr
        )
        for table in commerce.tables.values()
    }


def _paths(endpoint: Endpoint, ids: dict[str, str]) -> Iterator[str]:
    """Yield an endpoint's path with every id of the first site in every place."""
    parts = endpoint.path.split("/")
    places = [place for place, part in enumerate(parts) if part.startswith("{")]
    for chosen in itertools.product(sorted(set(ids.values())), repeat=len(places)):
        for place, value in zip(places, chosen, strict=True):
            parts[place] = value
        yield "/".join(parts)


def _bodies(ids: dict[str, str]) -> list[dict[str, Any]]:
    """Return bodies that would act on the first site's rows, if they could."""
    line = {"variant_id": ids["variant"], "quantity": 1}
    return [
        {"version": 1, "title": "Changed", "status": "archived"},
        {"version": 1, "lines": [line]},
        {"lines": [line], "email": "x@example.com"},
        {"version": 1, "expected_total": {"minor": PRICE, "currency": "EUR"}, "payment": "tok_ok"},
        {"kind": "adjust", "quantity": -1},
        {"amount_minor": 1},
        {"name": "Changed", "permissions": ["commerce.*"]},
        {"to": "2030-01-01T00:00:00Z"},
        {},
    ]


class Intruder:
    """Sends requests in the second site's name."""

    def __init__(self, cell: Cell, mine: dict[str, str], theirs: dict[str, str]) -> None:
        self.cell = cell
        self.headers: list[dict[str, str]] = [
            {"authorization": f"Bearer {mine['key']}"},
            {"hansa-site": mine["site"]},
            {"authorization": f"Bearer {mine['key']}", "hansa-site": theirs["site"]},
            {"authorization": f"Bearer {mine['key']}", "host": "first.example"},
        ]

    async def send(self, method: str, path: str, query: str, body: bytes, place: int) -> Response:
        """Send one request with one of the ways to say who and where."""
        headers = {**self.headers[place], "content-type": "application/json"}

        async def read(_length: int, _most: int) -> bytes:
            return body

        return await self.cell.app.respond(
            Request(
                method=method, path=path, query=query, host=headers.get("host", "second.example"),
                headers=AsgiHeaders([(one.encode(), headers[one].encode()) for one in headers]),
                read=read, length=len(body),
            )
        )  # fmt: skip


async def _try_everything(place: Path, dsns: Any, scoped: bool) -> int:
    where = Place(place, dsns.application, dsns.owner) if dsns else Place(place, synchronous="OFF")
    cell = Cell(where, testpay=True)
    await cell.open()
    count = 0
    try:
        theirs = await _shop(cell, "first", MARK)
        mine = await _shop(cell, "second", "mine")
        await _settled(cell)
        cell.runtime.statements = Statements(cell.storage.dialect)  # none is compiled yet
        cell.runtime.statements.scoped = scoped
        before = await _books(cell, theirs["site"])
        intruder = Intruder(cell, mine, theirs)
        ids = {name: value for name, value in theirs.items() if name != "key"}
        for endpoint in cell.app.endpoints:
            method = endpoint.operation.method
            bodies = [b""] if endpoint.reads else [json.dumps(one).encode() for one in _bodies(ids)]
            query = f"sku={theirs['sku']}" if endpoint.path.endswith("/variants") else ""
            for path, body in itertools.product(_paths(endpoint, ids), bodies):
                who = count % len(intruder.headers)
                async with asyncio.timeout(30):
                    while True:
                        response = await intruder.send(method, path, query, body, who)
                        if b"problems/overloaded" not in response.body:
                            break
                        await asyncio.sleep(0.05)  # the machine has too much to do: ask again
                count += 1
                shown = response.body.decode()
                assert MARK not in shown, (method, path, shown)
                assert str(PRICE) not in shown or "mine" in shown, (method, path, shown)
                assert response.status not in (429, 500), (method, path, shown)
        await cell.runtime.dispatcher.rest()
        assert await _books(cell, theirs["site"]) == before
        return count
    finally:
        await cell.close()


@pytest.mark.parametrize("engine", ["sqlite", "postgres", "postgres without the compiler"])
def test_nothing_of_another_site_is_shown_or_changed(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    dsns = None if engine == "sqlite" else request.getfixturevalue("postgres_dsns")
    scoped = engine != "postgres without the compiler"
    assert asyncio.run(_try_everything(tmp_path, dsns, scoped)) > 1_000


def test_the_check_can_fail(tmp_path: Path) -> None:
    """On SQLite there is no second wall: without the compiler's scoping the rows are found."""
    with pytest.raises(AssertionError):
        asyncio.run(_try_everything(tmp_path, None, scoped=False))
