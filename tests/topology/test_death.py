"""Processes die in the midst of it, all at once; what was begun is finished, once."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.topology.fleet import Fleet, Process
from tests.topology.person import undaunted, until
from tests.topology.shopping import STOCK, Shop
from tests.topology.test_shop import check_books

BUYERS = 3
FEW = 2


def test_what_dies_takes_nothing_with_it(shop: Shop, fleet: Fleet) -> None:
    for person in (shop.visitor, shop.keeper):
        undaunted(person)
    bought: list[int] = []
    killed = threading.Event()

    def buy(_: int) -> None:
        for _ in range(FEW):
            if bought:
                killed.wait(30)  # so that some is under way then, and some comes after
            reply = shop.complete(shop.cart())
            assert reply.status < 300, reply.body
            bought.append(reply.status)

    with ThreadPoolExecutor(BUYERS) as crowd:
        buying = [crowd.submit(buy, number) for number in range(BUYERS)]
        until(lambda: bought)
        victims = [several[0] for several in fleet.processes.values()]
        killed.set()
        fleet.at_once(Process.kill, victims)
        fleet.at_once(Process.start, victims)
        for one in buying:
            one.result()
    assert len(bought) == BUYERS * FEW <= STOCK
    check_books(shop, sold=BUYERS * FEW)
    for order in shop.orders():
        path = f"/steward/receipts/{order['id']}"
        until(lambda path=path: shop.keeper.ask("GET", path).status == 200)  # type: ignore[misc]
        assert shop.keeper.get(path)["times"] == 1
