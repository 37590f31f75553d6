"""Due work: done once, at its time, by whoever comes first, on both engines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hansa.kernel import due
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.interventions import carry_out, interventions, retry_due
from hansa.kernel.problems import NotFound
from hansa.kernel.storage import PLATFORM, Storage
from tests.kernel import ledger as L
from tests.kernel import lifted
from tests.kernel.cells import (
    ANYBODY,
    OTHER,
    OWNER,
    REAL,
    HandClock,
    TestCell,
    opened,
    runtime_on,
)
from tests.kernel.ledger import Plan, Step, Trouble, ledger
from tests.kernel.lifted import shelf

STATES = "SELECT id, state, attempt FROM hansa_due ORDER BY id"


@pytest.fixture(autouse=True)
def _no_trouble() -> None:
    Trouble.reset()


@asynccontextmanager
async def by_hand(storage: Storage) -> AsyncIterator[tuple[TestCell, HandClock]]:
    clock = HandClock()
    async with opened(storage, ledger, interventions, clock=clock) as cell:
        yield cell, clock


async def later(cell: TestCell, clock: HandClock, seconds: float) -> None:
    clock.add(seconds)
    cell.runtime.due.wake()


async def value(cell: TestCell, name: str) -> int:
    return (await cell.runtime.do(L.get_value, ANYBODY, {"name": name})).value


async def plan(cell: TestCell, name: str, after_s: float, id: str = "") -> None:
    await cell.runtime.do(L.plan, OWNER, {"body": Plan(name, after_s, id)})


async def one_round(cell: TestCell) -> None:
    """Return when the runner has looked at what is due now: a row of no delay has been done."""
    before = await value(cell, "probe")
    await plan(cell, "probe", 0)

    async def holds() -> bool:
        return await value(cell, "probe") == before + 1

    await cell.until(holds)


def test_a_row_is_done_once_and_not_before_its_time(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            await plan(cell, "a", 10, id="r")
            await one_round(cell)
            await later(cell, clock, 9.9)
            await one_round(cell)
            assert await value(cell, "a") == 0
            await later(cell, clock, 0.1)
            await cell.until_rows([], STATES)
            assert await value(cell, "a") == 1
            await later(cell, clock, 1e6)
            await one_round(cell)
            assert await value(cell, "a") == 1

    asyncio.run(go())


def test_a_row_of_the_same_name_replaces_the_first(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            await plan(cell, "a", 10, id="r")
            await plan(cell, "b", 20, id="r")
            await later(cell, clock, 15)
            await one_round(cell)
            await later(cell, clock, 15)
            await cell.until_rows([], STATES)
            assert (await value(cell, "a"), await value(cell, "b")) == (0, 1)
            await plan(cell, "b", 0, id="r")  # a name is free again when its row is done
            await cell.until_rows([], STATES)
            assert await value(cell, "b") == 2

    asyncio.run(go())


def test_a_row_is_cancelled(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            await plan(cell, "a", 10, id="r")
            await cell.runtime.do(L.cancel, OWNER, {"body": Plan("a", 0, "r")})
            await cell.runtime.do(L.cancel, OWNER, {"body": Plan("a", 0, "unknown")})
            await later(cell, clock, 20)
            await one_round(cell)
            assert await value(cell, "a") == 0

    asyncio.run(go())


def test_a_failing_row_is_tried_again_parked_and_replayed(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            Trouble.failing = {"a"}
            await plan(cell, "a", 0, id="r")
            for attempt, wait_s in enumerate(L.BACKOFF_S, 1):
                await cell.until_rows([("r", "waiting", attempt)], STATES)
                await later(cell, clock, wait_s)
            await cell.until_rows([("r", "parked", 3)], STATES)
            error = (await cell.rows("SELECT error FROM hansa_due"))[0][0]
            assert "RuntimeError: no ring for a" in error
            await later(cell, clock, 1e6)
            await one_round(cell)
            assert Trouble.calls.count("ring:a") == 3
            assert await value(cell, "a") == 0
            Trouble.failing = set()
            with pytest.raises(NotFound):
                await carry_out(cell.runtime, retry_due, OWNER, id="unknown")
            await carry_out(cell.runtime, retry_due, OWNER, id="r")
            await cell.until_rows([], STATES)
            assert await value(cell, "a") == 1

    asyncio.run(go())


def test_scheduled_operations_run_once_each_time(storage: Storage) -> None:
    """The same name again is another time, though both run under keys made of it."""

    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            for count in (1, 2, 3):
                body = {"body": Plan("a", 10, "r")}
                await cell.runtime.do(L.plan_step, OWNER, body)
                await later(cell, clock, 10)
                await cell.until_rows([], STATES)
                assert await value(cell, "a") == count

    asyncio.run(go())


def test_a_site_cannot_schedule_what_is_of_the_platform(storage: Storage) -> None:
    """It is refused at once, with all that the command did, not when it would be done."""

    async def go() -> None:
        async with opened(storage, ledger, background=False) as cell:
            with pytest.raises(TypeError, match=r"ledger\.of_platform is of the platform"):
                await cell.runtime.do(L.plan_for_platform, OWNER, {})
            assert await cell.rows("SELECT name FROM ledger_counters") == []
            await cell.runtime.do(L.plan_by_platform, Caller(PLATFORM, SYSTEM), {})
            scheduled = await cell.rows("SELECT site, name FROM hansa_due")
            assert scheduled == [(PLATFORM, "ledger.of_platform")]

    asyncio.run(go())


def test_a_scheduled_operation_that_was_done_is_not_done_again(storage: Storage) -> None:
    """A process that died between the command and the row's deletion."""

    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            await cell.runtime.do(L.plan_step, OWNER, {"body": Plan("a", 10, "r")})
            rows = await cell.rows(f"SELECT {due.COLUMNS} FROM hansa_due")
            await due.do(cell.runtime, due.DueRow(*rows[0]), "somebody else's lease")
            assert await cell.rows(STATES) == [("r", "waiting", 0)]
            await later(cell, clock, 10)
            await cell.until_rows([], STATES)
            assert await value(cell, "a") == 1

    asyncio.run(go())


def test_a_dead_holder_is_replaced_after_its_lease(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            await plan(cell, "a", 10, id="r")
            until_us = clock.at_us + int((10 + due.LEASE_S) * 1_000_000)
            await cell.run("UPDATE hansa_due SET holder = 'dead', lease_until_us = ?1", until_us)
            await later(cell, clock, 10)
            await one_round(cell)
            assert await value(cell, "a") == 0
            await later(cell, clock, due.LEASE_S)
            await cell.until_rows([], STATES)
            assert await value(cell, "a") == 1

    asyncio.run(go())


def test_a_holder_that_comes_back_too_late_has_no_effect(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, _):
            await plan(cell, "a", 10, id="r")
            rows = await cell.rows(f"SELECT {due.COLUMNS} FROM hansa_due")
            row = due.DueRow(*rows[0])
            await cell.run("UPDATE hansa_due SET holder = 'new'")
            await due.do(cell.runtime, row, "old")
            await due.fail(cell.runtime, row, "old", RuntimeError())
            assert await cell.rows(STATES) == [("r", "waiting", 0)]
            assert await value(cell, "a") == 0

    asyncio.run(go())


async def _store(cell: TestCell, id: str, name: str, version: int, arguments: bytes) -> None:
    await cell.run(
        "INSERT INTO hansa_due (id, site, name, version, arguments, run_at_us, ready_at_us, state,"
        " attempt, holder, lease_until_us, error, principal, trace)"
        " VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 'waiting', 0, '', 0, '', '', '')",
        id, REAL.id, name, version, arguments,
    )  # fmt: skip
    cell.runtime.due.wake()


def test_old_rows_are_lifted_and_newer_ones_wait(storage: Storage) -> None:
    async def go() -> None:
        lifted.SEEN.clear()
        clock = HandClock()
        async with opened(storage, shelf, clock=clock) as cell:
            await _store(cell, "old", "shelf.dust", 1, b'{"name":"a"}')
            await _store(cell, "same", "shelf.dust", 2, b'{"name":"b","room":"hall"}')
            await _store(cell, "newer", "shelf.dust", 3, b'{"name":"c","floor":1}')
            await _store(cell, "unknown", "shelf.polish", 1, b"{}")
            ready = "SELECT id, state, attempt, ready_at_us FROM hansa_due ORDER BY id"
            for _ in range(8):
                at_us = clock.at_us + 60_000_000
                await cell.until_rows(
                    [("newer", "waiting", 0, at_us), ("unknown", "waiting", 0, at_us)], ready
                )
                await later(cell, clock, 60)
            assert sorted(lifted.SEEN) == [("a", "cellar"), ("b", "hall")]

    asyncio.run(go())


def test_two_runtimes_do_each_row_once(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            twin = runtime_on(storage, [ledger], clock=clock)
            await twin.start()
            for n in range(30):
                await plan(cell, f"n{n % 3}", 5)
            clock.add(5)
            cell.runtime.due.wake()
            twin.due.wake()
            await cell.until_rows([], STATES)
            assert [await value(cell, f"n{n}") for n in range(3)] == [10, 10, 10]
            await twin.stop()

    asyncio.run(go())


def test_a_site_does_not_wait_for_all_that_is_due_of_another(storage: Storage) -> None:
    rows = 4 * due.RUNNING_MAX

    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            await asyncio.gather(*(plan(cell, f"flood{n % 50}", 5) for n in range(rows)))
            late = {"body": Plan("quiet", 6)}
            await cell.runtime.do(L.plan, Caller(OTHER.id, SYSTEM), late)
            await later(cell, clock, 10)
            await cell.until_rows([], STATES)

    asyncio.run(go())
    done = [call for call in Trouble.calls if call == "ring:quiet" or call.startswith("ring:flood")]
    assert len(done) >= rows + 1
    assert done.index("ring:quiet") < 2.5 * due.RUNNING_MAX


def test_what_fell_due_while_nothing_ran_is_done_at_the_start(storage: Storage) -> None:
    async def go() -> None:
        clock = HandClock()
        async with opened(storage, ledger, clock=clock, background=False) as cell:
            await cell.runtime.do(L.plan, OWNER, {"body": Plan("a", 5)})
            clock.add(1e6)
            late = runtime_on(storage, [ledger], clock=clock)
            await late.start()
            await cell.until_rows([], STATES)
            assert await value(cell, "a") == 1
            await late.stop()
            assert (await cell.runtime.do(L.step, OWNER, {"body": Step("a")})).value == 2

    asyncio.run(go())
