"""Of every instant of a schedule a site gets one, in the cell that it leaves or in the other."""

import asyncio

import pytest

from hansa.kernel import residence, ticks
from hansa.kernel.context import Context
from hansa.kernel.moving.protocol import Row
from hansa.kernel.service import Service
from hansa.kernel.storage import PLATFORM, Body, Session, Storage
from hansa.testing.looking import soon
from tests.kernel.cells import REAL, HandClock, Sites, TestCell, opened

clockwork = Service("clockwork", owner="kernel", package=__name__)
DUE = "SELECT id FROM hansa_due ORDER BY run_at_us"
MINUTE_US = 60_000_000


@clockwork.every("* * * * *")
async def strike(ctx: Context) -> None:
    """Nothing but an instant."""


async def write(cell: TestCell, body: Body[None]) -> None:
    await cell.storage.write(body, site=PLATFORM, deadline=soon(), across=True)


async def instants(cell: TestCell) -> list[int]:
    """Return the instants that were written, as minutes of the hand clock."""
    start_us = HandClock().at_us
    return [
        (int(row[0].rpartition(":")[2]) - start_us) // MINUTE_US for row in await cell.rows(DUE)
    ]


@pytest.mark.parametrize(("after_s", "owed"), [(30, []), (60, [1]), (200, [3])])
def test_who_leaves_is_given_what_was_due_until_then(
    storage: Storage, after_s: int, owed: list[int]
) -> None:
    async def go() -> None:
        clock = HandClock()
        sites = Sites({REAL.id: REAL})
        async with opened(
            storage, clockwork, directory=sites, clock=clock, background=False
        ) as cell:
            await cell.runtime.ticker.tick()  # it begins
            clock.add(after_s)
            for _ in range(2):  # and once more finds nothing to do

                async def fence(session: Session) -> None:
                    row, _, _ = await residence.read(session, REAL.id)
                    if row is None:
                        await ticks.hand_over(session, cell.runtime, REAL, clock.now_us())
                        await residence.write(session, REAL.id, Row("moving", 2), clock.now_us())

                await write(cell, fence)
            assert await instants(cell) == owed
            cell.runtime.shares_sites = True
            clock.add(120)
            await cell.runtime.ticker.tick()
            assert await instants(cell) == owed  # the rest is the other cell's

    asyncio.run(go())


@pytest.mark.parametrize(("left_s", "owed"), [(0, [4]), (190, [4]), (250, [])])
def test_who_comes_is_given_what_has_been_due_since(
    storage: Storage, left_s: int, owed: list[int]
) -> None:
    async def go() -> None:
        clock = HandClock()
        async with opened(
            storage, clockwork, directory=Sites({REAL.id: REAL}), clock=clock, background=False
        ) as cell:
            left_us = clock.now_us() + left_s * 1_000_000
            clock.add(245)

            async def begin(session: Session) -> None:
                tick_us = HandClock().at_us + 4 * MINUTE_US
                text = f"""INSERT INTO hansa_ticks (schedule, zone, tick_us, after_site)
                VALUES ('clockwork.strike', '{REAL.zone}', {tick_us}, '')"""
                await session.run(text)

            await write(cell, begin)

            async def arrive(session: Session) -> None:
                await residence.write(session, REAL.id, Row("here", 2), left_us)
                await ticks.take_over(session, cell.runtime, REAL, left_us)

            await write(cell, arrive)
            assert await instants(cell) == owed

    asyncio.run(go())


def test_what_was_due_before_a_site_came_is_not_done_again(storage: Storage) -> None:
    async def go() -> None:
        clock = HandClock()
        sites = Sites({REAL.id: REAL})
        async with opened(
            storage, clockwork, directory=sites, clock=clock, background=False
        ) as cell:
            await cell.runtime.ticker.tick()
            cell.runtime.shares_sites = True
            left_us = clock.now_us() + 2 * MINUTE_US + 1

            async def arrive(session: Session) -> None:
                await residence.write(session, REAL.id, Row("here", 2), left_us)

            await write(cell, arrive)
            clock.add(125)
            await cell.runtime.ticker.tick()  # the second minute: before it left
            assert await instants(cell) == []
            clock.add(60)
            await cell.runtime.ticker.tick()
            assert await instants(cell) == [3]

    asyncio.run(go())
