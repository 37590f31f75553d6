"""What stands in a cell is counted for scrapers, at a cost that has a bound."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hansa.kernel.observe import backlog
from hansa.kernel.observe.backlog import Backlog, Counts
from hansa.kernel.observe.observer import Observer
from hansa.kernel.observe.options import Options
from hansa.kernel.problems import StorageFailed
from hansa.kernel.storage import Storage
from tests.kernel.cells import REAL, HandClock, TestCell, opened
from tests.kernel.ledger import ledger

_DELIVERY = """INSERT INTO hansa_deliveries (subscriber, event, site, aggregate, position, state,
attempt, ready_at_us, error, trace, failed_at_us) VALUES ('x.y', ?1, ?2, 'a', 0, ?3, 0, 0, '', '',
0)"""
_DUE = """INSERT INTO hansa_due (id, site, name, version, arguments, run_at_us, ready_at_us, state,
attempt, holder, lease_until_us, error, principal, trace)
VALUES (?1, ?2, 'x.z', 1, ?3, 0, ?4, ?5, 0, '', 0, '', '', '')"""


async def fill(cell: TestCell, clock: HandClock) -> None:
    """Put rows of every state into a cell."""
    states = ("parked", "parked", "waiting", "queued", "skipped")
    for number, state in enumerate(states):
        await cell.run(_DELIVERY, f"evt_{number}", REAL.id, state)
    second = 1_000_000
    late = (
        ("waiting", clock.at_us - 90 * second), ("waiting", clock.at_us - 10 * second),
        ("waiting", clock.at_us - 9 * second), ("waiting", clock.at_us + second),
        ("waiting", None), ("parked", 0),
    )  # fmt: skip
    for number, (state, ready_us) in enumerate(late):
        await cell.run(_DUE, f"due_{number}", REAL.id, b"{}", ready_us, state)


def test_what_stands_is_counted_now_and_then(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        clock = HandClock()
        async with opened(storage, ledger, clock=clock, background=False) as cell:
            monkeypatch.setattr(backlog, "EVERY_S", 3_600.0)
            counting = Backlog(cell.runtime)
            assert await counting.counts() == Counts(0, 0, 0, 0, 0.0)
            await fill(cell, clock)
            asked = await asyncio.gather(*[counting.counts() for _ in range(8)])
            assert asked == [Counts(0, 0, 0, 0, 0.0)] * 8, "not again so soon"
            monkeypatch.setattr(backlog, "EVERY_S", 0.0)
            counting = Backlog(cell.runtime)
            assert await counting.counts() == Counts(2, 1, 1, 2, 90.0)

            async def away(*arguments: Any, **named: Any) -> Any:
                raise StorageFailed("The database is away.")

            monkeypatch.setattr(storage, "read", away)
            assert await counting.counts() is None

    asyncio.run(go())


def test_no_more_entries_are_read_than_are_counted(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an index: on SQLite it is asked for its plan; the statement is the same on PostgreSQL."""

    async def go() -> None:
        clock = HandClock()
        async with opened(storage, ledger, clock=clock, background=False) as cell:
            limited = backlog._COUNTS.replace(f"LIMIT {backlog.COUNT_MAX}", "LIMIT 1")
            monkeypatch.setattr(backlog, "_COUNTS", limited)
            await fill(cell, clock)
            assert await Backlog(cell.runtime).counts() == Counts(1, 1, 1, 1, 90.0)
            if storage.dialect == "sqlite":
                plan = await cell.rows(f"EXPLAIN QUERY PLAN {limited}", 0)
                reading = [row[3] for row in plan if "hansa_" in row[3]]
                assert len(reading) == 5
                assert all("USING COVERING INDEX hansa_" in one for one in reading), reading

    asyncio.run(go())


def test_a_page_has_what_stands_and_the_load(storage: Storage, tmp_path: Path) -> None:
    async def go() -> None:
        clock = HandClock()
        async with opened(storage, ledger, clock=clock, background=False) as cell:
            await fill(cell, clock)
            observer = Observer(Options(tmp_path / "observed.db"), process="here")
            assert b"hansa_load_level" not in await observer.metrics()
            observer.watch(cell.runtime)
            page = (await observer.metrics()).decode()
            for line in (
                "hansa_deliveries_parked 2", "hansa_deliveries_waiting 1", "hansa_due_parked 1",
                "hansa_due_late 2", "hansa_due_late_seconds 90", "hansa_load_level 0",
                "hansa_load_shed_total 0",
            ):  # fmt: skip
                assert f"\n{line}\n" in page

    asyncio.run(go())
