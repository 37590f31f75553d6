"""A token of chance behaves as one of the others: the same for one key, all of them in turn."""

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hansa.assembly import Place
from hansa.business.commerce import api as shop
from hansa.business.commerce.testpay import BEHAVIOURS, drawn
from tests.business.commerce.market import PRICE, Market, opened


@given(st.integers(0, 10_000), st.text(max_size=40))
def test_a_seed_and_a_key_draw_the_same_behaviour(seed: int, key: str) -> None:
    token = f"tok_chance_{seed}"
    assert drawn(token, key) == drawn(token, key)
    assert drawn(token, key) in BEHAVIOURS
    assert all(drawn(other, key) == other for other in (*BEHAVIOURS, "tok_anything"))


def test_every_behaviour_is_drawn() -> None:
    assert {drawn("tok_chance_1", f"key-{n}") for n in range(200)} == set(BEHAVIOURS)


def test_whatever_is_drawn_money_and_orders_agree(tmp_path: Path) -> None:
    async def test() -> None:
        async with opened(Place(tmp_path, synchronous="OFF"), stock=100) as market:
            await asyncio.gather(*(market.buy(f"tok_chance_{seed}") for seed in range(20)))
            await market.due_now(15)
            await market.until(lambda: _settled(market))
            orders: list[shop.Order] = await market.orders()
            assert market.kept_money() == PRICE * len(orders)
            assert await market.level() == (100 - len(orders), 0)

    async def _settled(market: Market) -> Any:
        return not await market.rows(
            "SELECT id FROM hansa_attempts WHERE site = $1 AND status = 0", market.site
        )

    asyncio.run(test())
