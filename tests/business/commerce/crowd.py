"""One of several processes that buy at once: `python -m tests.business.commerce.crowd`.

Reads where the rows are, the site, the variant and how many buyers from its arguments;
says "ready", waits for a line, buys, and prints how many got an order.
"""

import asyncio
import sys
from pathlib import Path

from hansa.assembly import Cell, Place
from hansa.business.commerce import api as shop
from tests.business.commerce.market import Market, Shifted


async def main(folder: str, application: str, owner: str, site: str, variant: str, n: str) -> None:
    clock = Shifted()
    cell = Cell(Place(Path(folder), application, owner), clock=clock, testpay=True)
    await cell.open(migrate=False)
    try:
        market = Market(cell, clock)
        market.site, market.variant = site, variant
        carts = [await market.cart() for _ in range(int(n))]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        answers = await asyncio.gather(*(market.pay(cart) for cart in carts))
        print(sum(isinstance(one, shop.Order) for one in answers), flush=True)
        print({str(one) for one in answers if not isinstance(one, shop.Order)}, file=sys.stderr)
    finally:
        await cell.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
