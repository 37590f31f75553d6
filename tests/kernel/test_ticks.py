"""Ticks: an instant of a schedule reaches each site of its zone once, whatever is interrupted."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, upsert
from hansa.kernel.context import Context
from hansa.kernel.service import Service
from hansa.kernel.site import PLATFORM_SITE, SiteInfo, slot_of
from hansa.kernel.storage import PLATFORM, Storage
from hansa.kernel.ticks import SITES_MAX
from tests.kernel.cells import DAWN, HandClock, Sites, TestCell, opened, runtime_on

rota = Service("rota", owner="kernel", package=__name__)

turns = rota.table("turns", text("at", primary=True), integer("count"))
_turn = upsert(
    turns, key=("at",), values={"at": param("at"), "count": 1},
    change={"count": turns.c.count + 1},
)  # fmt: skip
PLATFORM_TURNS: list[str] = []

COUNT = 600
MANY = {
    f"site_{n:03}": SiteInfo(f"site_{n:03}", slot_of(f"site_{n:03}"), zone="Europe/Berlin")
    for n in range(COUNT)
}
DUE = "SELECT site, id FROM hansa_due"
TURNS = "SELECT site, at, count FROM rota_turns"


@rota.every("0 3 * * *", spread_s=60)
async def turn(ctx: Context) -> None:
    await ctx.db.run(_turn, at=ctx.due_at.date().isoformat())


@rota.every("0 4 * * *", scope="platform")
async def of_platform(ctx: Context) -> None:
    PLATFORM_TURNS.append(f"{ctx.site} {ctx.due_at.isoformat()}")


class Interrupted(Exception):
    pass


@dataclass
class Faltering(Sites):
    """A directory that fails once, before the batch of that number."""

    fail_at: int = -1
    asked: int = 0

    async def in_zone(self, zone: str, after: str, limit: int) -> list[SiteInfo]:
        self.asked += 1
        if self.asked == self.fail_at:
            raise Interrupted
        return list(await super().in_zone(zone, after, limit))


async def first_look(cell: TestCell) -> None:
    """See the schedules for the first time: they start now, not in the past."""
    await cell.runtime.ticker.tick()
    assert await cell.rows(DUE) == []


def sites_of(rows: list[tuple[str, str]]) -> list[str]:
    return sorted(site for site, id in rows if "rota.turn" in id)


def test_an_instant_reaches_each_site_once(storage: Storage) -> None:
    async def go() -> None:
        clock, sites = HandClock(), Sites(dict(MANY))
        async with opened(storage, rota, directory=sites, clock=clock, background=False) as cell:
            await first_look(cell)
            clock.add(86_400)
            for _ in range(3):
                await cell.runtime.ticker.tick()
            rows = await cell.rows("SELECT site, id, run_at_us FROM hansa_due")
            assert sites_of([(site, id) for site, id, _ in rows]) == sorted(MANY)
            at = {run_at_us for _, id, run_at_us in rows if "rota.turn" in id}
            assert max(at) - min(at) <= 60_000_000
            assert len(at) > 1  # they are spread

            clock.add(5 * 86_400)  # after a stop of days only the newest instant runs
            await cell.runtime.ticker.tick()
            assert sites_of(await cell.rows(DUE)) == sorted([*MANY, *MANY])

    asyncio.run(go())


def test_an_interrupted_instant_goes_on_where_it_was(storage: Storage) -> None:
    async def go() -> None:
        clock = HandClock()
        broken = Faltering(dict(MANY), fail_at=2)
        async with opened(storage, rota, directory=broken, clock=clock, background=False) as cell:
            await first_look(cell)
            clock.add(86_400)
            try:
                await cell.runtime.ticker.tick()
            except Interrupted:
                pass
            assert len(sites_of(await cell.rows(DUE))) == SITES_MAX
            fresh = runtime_on(storage, [rota], directory=Sites(dict(MANY)), clock=clock)
            await fresh.ticker.tick()
            assert sites_of(await cell.rows(DUE)) == sorted(MANY)
            await cell.runtime.ticker.tick()  # the first comes back and finds it done
            assert sites_of(await cell.rows(DUE)) == sorted(MANY)

    asyncio.run(go())


def test_two_runtimes_share_an_instant(storage: Storage) -> None:
    async def go() -> None:
        clock, sites = HandClock(), Sites(dict(MANY))
        async with opened(storage, rota, directory=sites, clock=clock, background=False) as cell:
            await first_look(cell)
            twin = runtime_on(storage, [rota], directory=sites, clock=clock)
            for day in (1, 2):
                clock.add(86_400)
                await asyncio.gather(cell.runtime.ticker.tick(), twin.ticker.tick())
                wanted = sorted(list(MANY) * day)
                assert sites_of(await cell.rows(DUE)) == wanted

    asyncio.run(go())


def test_the_rows_of_an_instant_are_done(storage: Storage) -> None:
    async def go() -> None:
        PLATFORM_TURNS.clear()
        few = {id: MANY[id] for id in sorted(MANY)[:20]}
        clock, sites = HandClock(), Sites({**few, PLATFORM: PLATFORM_SITE})
        del sites.sites[PLATFORM]
        async with opened(storage, rota, directory=sites, clock=clock) as cell:
            await cell.runtime.ticker.tick()
            clock.add(86_400)
            await cell.runtime.ticker.tick()
            clock.add(60)
            cell.runtime.due.wake()
            await cell.until_rows([], DUE)
            day = (DAWN + timedelta(days=0)).date().isoformat()
            assert sorted(await cell.rows(TURNS)) == [(id, day, 1) for id in sorted(few)]
            assert [f"{PLATFORM} {day}T04:00:00+00:00"] == PLATFORM_TURNS

    asyncio.run(go())


def test_a_schedule_has_a_name_of_its_own() -> None:
    service = Service("twice", owner="kernel", package=__name__)

    async def daily(ctx: Context) -> None:
        """Do nothing."""

    service.every("0 3 * * *")(daily)
    with pytest.raises(ValueError, match=r"already"):
        service.every("0 4 * * *")(daily)
    with pytest.raises(ValueError, match=r"only once"):
        service.due("twice.daily")(daily)
