"""Many buyers of few units: exactly as many are sold as there are, whatever happens at once."""

import asyncio
import subprocess
import sys
from pathlib import Path

from hansa.assembly import Place
from hansa.business.commerce import api as shop
from hansa.testing.postgres import Dsns
from tests.business.commerce.market import PRICE, Market, opened

ROOT = Path(__file__).parents[3]


async def check_ten_sold(market: Market) -> None:
    """Ten orders with their money, nothing on the shelf, and a ledger that adds up to it."""
    orders = await market.orders()
    assert len(orders) == 10
    assert sorted(one.number for one in orders) == list(range(1, 11))
    assert await market.level() == (0, 0)
    assert market.kept_money() == 10 * PRICE
    moves = await market.rows("SELECT kind, sum(quantity) FROM commerce_stock_moves GROUP BY kind")
    found = {kind: int(units) for kind, units in moves}
    assert found["claim"] == 10
    assert found["reserve"] - found.get("release", 0) == 10


async def crowd(place: Place, buyers: int) -> None:
    async with opened(place, as_if_remote=False) as market:
        carts = [await market.cart() for _ in range(buyers)]
        answers = await asyncio.gather(*(market.pay(cart) for cart in carts))
        bought = [one for one in answers if isinstance(one, shop.Order)]
        assert len(bought) == 10
        assert {one for one in answers if not isinstance(one, shop.Order)} == {"out-of-stock"}
        await check_ten_sold(market)


def test_200_buyers_of_10_units(place: Place) -> None:
    asyncio.run(crowd(place, 200))


def test_1000_buyers_of_10_units(tmp_path: Path) -> None:
    asyncio.run(crowd(Place(tmp_path, synchronous="OFF"), 1_000))


def started(command: list[str]) -> "subprocess.Popen[str]":
    """Start a process that is talked to by its input and output."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


def test_three_processes_sell_10_units_once(tmp_path: Path, postgres_dsns: Dsns) -> None:
    place = Place(tmp_path, postgres_dsns.application, postgres_dsns.owner)

    async def test() -> None:
        async with opened(place) as market:
            where = (str(tmp_path), place.database, place.owner_database)
            command = [
                sys.executable, "-m", "tests.business.commerce.crowd", *where, market.site,
                market.variant, "30",
            ]  # fmt: skip
            children = [started(command) for _ in range(3)]
            try:
                for child in children:
                    assert child.stdout is not None
                    ready = await asyncio.to_thread(child.stdout.readline)
                    assert ready == "ready\n", child.communicate()[1]
                both = [asyncio.to_thread(child.communicate, "go\n", 120) for child in children]
                said = await asyncio.gather(*both)
            finally:
                for child in children:
                    child.kill()
                    child.wait()
            assert [child.returncode for child in children] == [0, 0, 0], said
            assert sum(int(out) for out, _ in said) == 10, said
            await check_ten_sold(market)

    asyncio.run(test())
