"""Real products are imported, killed in the middle, resumed to the same rows, found and bought."""

import asyncio
import gzip
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansa.assembly import Cell, Place
from hansa.business.commerce import api as shop
from hansa.cli.main import main
from hansa.kernel.problems import Conflict
from tests.business.commerce.market import Market, Shifted, opened

LINES = 2_000
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def catalogue(electronics: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first lines of the real file."""
    file = tmp_path_factory.mktemp("catalogue") / "products.ndjson"
    with gzip.open(electronics / "products.ndjson.gz") as lines, file.open("wb") as out:
        for _, line in zip(range(LINES), lines, strict=False):
            out.write(line)
    return file


def rows(folder: Path) -> list[Any]:
    """What an import leaves, but for identifiers and times."""
    connection = apsw.Connection(str(folder / "hansa.db"))
    found = list(connection.execute(
        """SELECT p.handle, p.title, p.attributes, v.sku, v.price_minor, s.on_hand
        FROM commerce_products p JOIN commerce_variants v ON v.product_id = p.id
        JOIN commerce_stock s ON s.variant_id = v.id ORDER BY p.handle"""
    ))  # fmt: skip
    types = "SELECT count(*) FROM hansa_events WHERE type = 'commerce.product_created'"
    found += list(connection.execute(types))
    found += list(connection.execute("SELECT sum(quantity), count(*) FROM commerce_stock_moves"))
    connection.close()
    return found


def imported(folder: Path, file: Path) -> int:
    return main(["import", "--folder", str(folder), "--stock", "3", str(file)])


def test_a_killed_import_resumes_to_the_same_rows(tmp_path: Path, catalogue: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        assert main(["sites", "--folder", str(folder), "create", "shop"]) == 0
    assert imported(whole, catalogue) == 0

    command = [sys.executable, "-m", "hansa.cli", "import", "--folder", str(killed), "--stock", "3"]
    with subprocess.Popen([*command, str(catalogue)], cwd=ROOT) as child:
        connection = apsw.Connection(str(killed / "hansa.db"), flags=apsw.SQLITE_OPEN_READONLY)
        made = 0
        while made < LINES // 4 and child.poll() is None:
            made = next(connection.execute("SELECT count(*) FROM commerce_products"))[0]
        connection.close()
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert LINES // 4 <= made < LINES
    assert imported(killed, catalogue) == 0
    expected = rows(whole)
    assert rows(killed) == expected
    assert len(expected) == LINES + 2
    assert imported(killed, catalogue) == 0, "a third time changes nothing"
    assert rows(killed) == expected
    asyncio.run(buy(killed, expected[7][3]))


async def buy(folder: Path, sku: str) -> None:
    clock = Shifted()
    cell = Cell(Place(folder), clock=clock, testpay=True)
    await cell.open()
    try:
        market = Market(cell, clock)
        sites = await market.rows("SELECT id FROM sites_sites")
        market.site = sites[0][0]
        variant = await market.visit(shop.find_variant, sku=sku)
        order = await market.pay(await market.cart((variant.id, 2)))
        assert order.paid_minor == 2 * variant.price.minor
        assert await market.level(variant.id) == (1, 0)
    finally:
        await cell.close()


def test_a_batch_has_effect_once_and_in_its_place(place: Place) -> None:
    async def test() -> None:
        async with opened(place) as market:
            form = shop.NewVariant("a", (await product_price(market)), stock=1)
            first = shop.ImportBatch("file", 1, 3, (shop.NewProduct("a", "A", (form,)),))
            done = await market.run(shop.import_products, body=first)
            assert done == await market.run(shop.import_products, body=first)
            assert done == await market.run(shop.get_import, source="file")
            assert (done.next_line, done.products) == (3, 1)
            with pytest.raises(Conflict) as refused:
                await market.run(shop.import_products, body=shop.ImportBatch("file", 9, 10, ()))
            assert (refused.value.slug, refused.value.more["next_line"]) == ("import-elsewhere", 3)

    asyncio.run(test())


async def product_price(market: Market) -> Any:
    found = await market.visit(shop.get_product, handle="mug")
    return found.variants[0].price
