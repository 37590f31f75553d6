"""Sites that wait for the same thing take turns, on both engines, and the wait is measured."""

import asyncio
from time import monotonic
from typing import Any

import pytest
import uvloop

from hansa.kernel.problems import Overloaded
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Session, Storage
from tests.kernel.test_load import Noting

FLOOD = 1_000


def waits_of(storage: Storage) -> Noting:
    """Have a storage that is not open yet note how long writes wait."""
    noting = Noting()
    storage.writing = noting
    if storage.dialect == "postgresql":
        storage.reading = noting
    return noting


def test_a_site_does_not_wait_for_the_flood_of_another(storage: Storage) -> None:
    order: list[str] = []

    async def write(site: str) -> None:
        async def body(session: Session) -> None:
            order.append(site)
            await session.fetch("SELECT 1")

        await storage.write(body, site=site, deadline=monotonic() + 60)

    async def test() -> None:
        noting = waits_of(storage)
        await storage.open()
        try:
            flood = [asyncio.create_task(write("site_flood")) for _ in range(FLOOD)]
            await asyncio.sleep(0)
            await write("site_quiet")
            await asyncio.gather(*flood)
        finally:
            await storage.close()
        assert order.index("site_quiet") < FLOOD / 2
        assert len(order) == FLOOD + 1
        assert noting.noted and min(noting.noted) >= 0

    uvloop.run(test())


def test_reads_take_turns_when_all_connections_are_taken(storage: Storage) -> None:
    order: list[str] = []

    async def read(site: str) -> None:
        async def body(session: Session) -> None:
            await session.fetch("SELECT 1")
            order.append(site)
            await asyncio.sleep(0.001)  # it has its connection meanwhile

        await storage.read(body, site=site, deadline=monotonic() + 60)

    async def test() -> None:
        await storage.open()
        try:
            flood = [asyncio.create_task(read("site_flood")) for _ in range(FLOOD)]
            await asyncio.sleep(0)
            await read("site_quiet")
            await asyncio.gather(*flood)
        finally:
            await storage.close()
        assert order.index("site_quiet") < FLOOD / 2

    uvloop.run(test())


def test_a_full_queue_has_room_for_another_site(tmp_path: Any) -> None:
    storage = SqliteStorage(tmp_path / "cell.db", synchronous="OFF", queue_max=10)

    async def body(session: Session) -> None:
        await session.fetch("SELECT 1")

    async def test() -> None:
        await storage.open()
        try:

            async def write(site: str) -> None:
                await storage.write(body, site=site, deadline=monotonic() + 60)

            flood = [asyncio.create_task(write("site_flood")) for _ in range(12)]
            quiet = asyncio.create_task(write("site_quiet"))
            ended = await asyncio.gather(*flood, return_exceptions=True)
            await quiet
            refused = [one for one in ended if one is not None]
            assert len(refused) == 3, "two found no room, and the last gave its place"
            with pytest.raises(Overloaded):
                raise next(one for one in refused if isinstance(one, Exception))
        finally:
            await storage.close()

    uvloop.run(test())
