"""Test clocks: one step of a year makes the same rows as 365 steps of a day, on both engines."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from hansa.kernel.columns import integer, text
from hansa.kernel.compiler import param, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.problems import Conflict, Invalid
from hansa.kernel.schedule import to_us
from hansa.kernel.service import Service
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Storage
from hansa.kernel.structs import Event, Struct
from hansa.testing.postgres import Dsns
from tests.kernel.cells import (
    DAWN,
    OWNER,
    TESTED,
    TESTER,
    HandClock,
    TestCell,
    opened,
    runtime_on,
)

calendar = Service("calendar", owner="kernel", package=__name__)
NEEDS = "calendar.all:write"

entries = calendar.table(
    "entries", text("kind"), text("at"), text("due"), integer("number"), prefix="entry"
)
totals = calendar.table("totals", text("kind", primary=True), integer("count"))
_total = upsert(
    totals, key=("kind",), values={"kind": param("kind"), "count": 1},
    change={"count": totals.c.count + 1}, returning=(totals.c.count,),
)  # fmt: skip


class Noted(Event, aggregate="kind"):
    kind: str
    entry: ID
    number: int


class Echoed(Event, aggregate="kind"):
    kind: str
    entry: ID


class Start(Struct):
    name: str
    every_s: int


async def note(ctx: Context, kind: str) -> int:
    """Write an entry, count it and say so."""
    number = await ctx.db.value(_total, int, kind=kind) or 0
    made = ctx.new_id("entry")
    await ctx.db.insert(
        entries, id=made, kind=kind, at=ctx.now.isoformat(), due=ctx.due_at.isoformat(),
        number=number,
    )  # fmt: skip
    ctx.emit(Noted(kind, made, number))
    return number


@calendar.command("POST /starts", needs=NEEDS)
async def start(ctx: Context, body: Start) -> Start:
    await note(ctx, "start")
    ctx.schedule(renew, at=ctx.now + timedelta(seconds=body.every_s), id="renew", body=body)
    ctx.schedule(remind, at=ctx.now + timedelta(days=3), name=body.name, left=40)
    return body


@calendar.command("POST /renewals", needs=NEEDS)
async def renew(ctx: Context, body: Start) -> Start:
    """A scheduled command that schedules itself, always under the same name."""
    await note(ctx, "renew")
    at = ctx.due_at + timedelta(seconds=body.every_s)
    ctx.schedule(renew, at=at, id="renew", body=body)
    return body


@calendar.due("calendar.remind")
async def remind(ctx: Context, name: str, left: int) -> None:
    await note(ctx, "remind")
    if left:
        ctx.schedule(remind, at=ctx.due_at + timedelta(days=5), name=name, left=left - 1)


@calendar.every("30 2 * * *", spread_s=7200)
async def daily(ctx: Context) -> None:
    await note(ctx, "daily")


@calendar.every("30 2 * * 1")
async def weekly(ctx: Context) -> None:
    await note(ctx, "weekly")


@calendar.on(Noted)
async def echo(ctx: Context, event: Noted) -> None:
    await ctx.db.run(_total, kind=f"echo of {event.kind}")
    ctx.emit(Echoed(f"echo of {event.kind}", event.entry))
    if event.kind == "weekly":
        ctx.schedule(remind, at=ctx.now + timedelta(hours=30), name="later", left=0)


@calendar.on(Echoed)
async def hear(ctx: Context, event: Echoed) -> None:
    """Hears at the instant of the echo, before the clock goes on."""
    await ctx.db.insert(
        entries, kind="heard", at=ctx.now.isoformat(), due=ctx.due_at.isoformat(), number=0
    )


ROWS = {
    "entries": "SELECT id, kind, at, due, number FROM calendar_entries",
    "totals": "SELECT kind, count FROM calendar_totals",
    "events": "SELECT id, aggregate, seq, type, version, at_us, cause, data FROM hansa_events",
    "due": "SELECT id, name, arguments, run_at_us, state, attempt FROM hansa_due",
    "deliveries": "SELECT event, state FROM hansa_deliveries",
    "clock": "SELECT now_us, target_us, ticked_us FROM hansa_clocks",
}


async def _life(storage: Storage, days: int, step_days: Sequence[int]) -> dict[str, list[Any]]:
    """Return all rows after a life of so many days, moved in these steps."""
    assert sum(step_days) == days
    async with opened(storage, calendar) as cell:
        body = {"body": Start("x", 10 * 86_400)}
        await cell.runtime.do(start, TESTER, body, key="first")
        at = DAWN
        for step in step_days:
            at += timedelta(days=step)
            assert await cell.runtime.advance(TESTED.id, at) == at
        return await _rows(cell)


async def _rows(cell: TestCell) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for name, sql in ROWS.items():
        rows = await cell.rows(f"{sql} WHERE site = ?1", TESTED.id)
        plain = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows]
        found[name] = sorted(plain)
    return found


@pytest.mark.parametrize("days", [365])
def test_a_year_in_one_step_is_365_steps(tmp_path: Path, days: int) -> None:
    one = asyncio.run(_life(SqliteStorage(tmp_path / "one.db", synchronous="OFF"), days, [days]))
    many = asyncio.run(
        _life(SqliteStorage(tmp_path / "many.db", synchronous="OFF"), days, [1] * days)
    )
    assert one == many
    counts = dict(one["totals"])
    assert counts["daily"] == 365
    assert counts["weekly"] == 52
    assert counts["renew"] == 36
    assert counts["remind"] == 41 + counts["weekly"]
    for kind in ("start", "daily", "weekly", "renew", "remind"):
        assert counts[f"echo of {kind}"] == counts[kind]
    heard = [row for row in one["entries"] if row[1] == "heard"]
    assert len(heard) == sum(counts[k] for k in ("start", "daily", "weekly", "renew", "remind"))
    assert one["deliveries"] == []


def test_both_engines_make_the_same_rows(tmp_path: Path, postgres_dsns: Dsns) -> None:
    days = 40
    here = asyncio.run(_life(SqliteStorage(tmp_path / "one.db", synchronous="OFF"), days, [days]))
    postgres = PostgresStorage(postgres_dsns.application, owner_dsn=postgres_dsns.owner)
    assert asyncio.run(_life(postgres, days, [7, 3, *([1] * 10), 20])) == here


def test_effects_happen_at_their_instants(storage: Storage) -> None:
    """An entry's time is its row's, and what hears of it hears before the clock goes on."""

    async def go() -> None:
        rows = await _life(storage, 20, [20])
        entered = [row for row in rows["entries"] if row[1] != "heard"]
        heard = sorted(row[2] for row in rows["entries"] if row[1] == "heard")
        assert sorted(row[2] for row in entered) == heard
        assert all(row[2] == row[3] for row in entered)
        daily = [datetime.fromisoformat(row[2]) for row in entered if row[1] == "daily"]
        assert len(daily) == 20
        for at in daily:
            local = at.astimezone(ZoneInfo(TESTED.zone))
            assert (
                timedelta(hours=2.5)
                <= timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
                <= timedelta(hours=4.5, seconds=1)
            )

    asyncio.run(go())


def test_schedules_survive_changes_of_the_clocks(storage: Storage) -> None:
    """30 2 * * 1 in Berlin, over both changes of 2026; see test_schedule for the vectors."""

    async def go() -> None:
        async with opened(storage, calendar) as cell:
            await cell.runtime.advance(TESTED.id, datetime(2026, 12, 31, tzinfo=UTC))
            rows = await cell.rows("SELECT at FROM calendar_entries WHERE kind = 'weekly'")
            hours = sorted((row[0][:10], row[0][11:16]) for row in rows)
            assert len(hours) == 52
            summer = [hour for day, hour in hours if "2026-03-30" <= day < "2026-10-25"]
            winter = [hour for day, hour in hours if not "2026-03-30" <= day < "2026-10-25"]
            assert set(summer) == {"00:30"}
            assert set(winter) == {"01:30"}

    asyncio.run(go())


def test_a_clock_that_died_on_its_way_goes_on(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, calendar) as cell:
            target = DAWN + timedelta(days=10)
            await cell.run("UPDATE hansa_clocks SET target_us = ?1", to_us(target))
            with pytest.raises(Conflict):
                await cell.runtime.advance(TESTED.id, DAWN + timedelta(days=5))
            assert await cell.runtime.advance(TESTED.id, target) == target
            days = await cell.rows("SELECT count FROM calendar_totals WHERE kind = 'daily'")
            assert days == [(10,)]

    asyncio.run(go())


def test_what_a_clock_does_not_do(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, calendar) as cell:
            with pytest.raises(Conflict) as caught:
                await cell.runtime.advance(OWNER.site, DAWN + timedelta(days=1))
            assert caught.value.slug == "no-test-clock"
            with pytest.raises(Invalid):
                await cell.runtime.advance(TESTED.id, DAWN - timedelta(days=1))
            with pytest.raises(Invalid):
                await cell.runtime.advance(TESTED.id, DAWN + timedelta(days=3661))
            assert await cell.runtime.advance(TESTED.id, DAWN) == DAWN

    asyncio.run(go())


def test_a_row_that_fails_does_not_stop_the_clock(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    async def go() -> None:
        async with opened(storage, calendar) as cell:
            await cell.runtime.do(start, TESTER, {"body": Start("x", 86_400)})
            await cell.run("UPDATE hansa_due SET arguments = ?1 WHERE name = 'calendar.remind'",
                           b'{"name": 5, "left": 1}')  # fmt: skip
            at = DAWN + timedelta(days=10)
            assert await cell.runtime.advance(TESTED.id, at) == at
            rows = await cell.rows(
                "SELECT name, attempt FROM hansa_due WHERE ready_at_us IS NOT NULL"
            )
            assert rows[0][0] == "calendar.remind"
            assert rows[0][1] >= 1

    asyncio.run(go())


def test_one_process_moves_a_clock_while_others_look_on(
    tmp_path: Path, postgres_dsns: Dsns
) -> None:
    async def go() -> None:
        storage = PostgresStorage(postgres_dsns.application, owner_dsn=postgres_dsns.owner)
        async with opened(storage, calendar) as cell:
            await cell.runtime.do(start, TESTER, {"body": Start("x", 10 * 86_400)}, key="first")
            twin = runtime_on(storage, [calendar])
            await twin.start()
            try:
                target = DAWN + timedelta(days=20)
                both = await asyncio.gather(
                    cell.runtime.advance(TESTED.id, target), twin.advance(TESTED.id, target)
                )
                assert list(both) == [target, target]
            finally:
                await twin.stop()
            rows = await _rows(cell)
        alone = SqliteStorage(tmp_path / "alone.db", synchronous="OFF")
        assert rows == await _life(alone, 20, [20])

    asyncio.run(go())


def test_a_clock_in_other_hands_is_left_there_until_its_lease_is_over(
    postgres_dsns: Dsns,
) -> None:
    async def go() -> None:
        clock = HandClock()
        storage = PostgresStorage(postgres_dsns.application, owner_dsn=postgres_dsns.owner)
        async with opened(storage, calendar, clock=clock) as cell:
            target = DAWN + timedelta(days=2)
            await cell.run(
                "UPDATE hansa_clocks SET holder = 'another', lease_until_us = ?1",
                clock.now_us() + 60_000_000,
            )
            moving = asyncio.create_task(cell.runtime.advance(TESTED.id, target))
            aimed = "SELECT target_us, now_us FROM hansa_clocks WHERE site = ?1"
            await cell.until_rows([(to_us(target), to_us(DAWN))], aimed, TESTED.id)
            for _ in range(3):
                await cell.runtime.dispatcher.rest()
            assert not moving.done()
            clock.add(61)
            assert await moving == target

    asyncio.run(go())
