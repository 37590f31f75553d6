"""What somebody on duty does by hand: it is checked, has effect once, and stands in the log."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hansa.kernel.caller import Caller
from hansa.kernel.interventions import (
    cancel_due,
    carry_out,
    interventions,
    replay_delivery,
    retry_due,
    skip_delivery,
)
from hansa.kernel.problems import Conflict, Denied, NotFound, Problem, Unprocessable
from hansa.kernel.storage import Storage
from tests.kernel import ledger as L
from tests.kernel.cells import OTHER, OWNER, REAL, HandClock, TestCell, key_of, opened
from tests.kernel.ledger import Plan, Step, Trouble, ledger

LEFT = "SELECT state, attempt FROM hansa_deliveries ORDER BY position"
DUE = "SELECT id, state, attempt FROM hansa_due ORDER BY id"
SEEN = "SELECT value FROM ledger_notes WHERE subscriber = 'stumble' AND name = 'a'"
TOLD = """SELECT type, principal, data FROM hansa_events
WHERE type LIKE 'interventions.%' ORDER BY seq, type"""
DUTY = key_of(REAL.id, "platform.log:write", name="key_duty")


@pytest.fixture(autouse=True)
def _no_trouble() -> None:
    Trouble.reset()


@asynccontextmanager
async def on_duty(storage: Storage) -> AsyncIterator[tuple[TestCell, HandClock]]:
    clock = HandClock()
    async with opened(storage, ledger, interventions, clock=clock) as cell:
        yield cell, clock


async def _park(cell: TestCell, clock: HandClock) -> dict[str, str]:
    """Have the first of two events parked; return what names its delivery."""
    Trouble.failing = {"a:1"}
    for _ in range(2):
        await cell.runtime.do(L.step, OWNER, {"body": Step("a")})
    await cell.runtime.dispatcher.rest()
    for attempt, wait_s in enumerate(L.BACKOFF_S, 1):
        await cell.until_rows([("waiting", attempt), ("queued", 0)], LEFT)
        clock.add(wait_s)
        cell.runtime.dispatcher.wake_retry()
    await cell.until_rows([("parked", len(L.BACKOFF_S) + 1), ("queued", 0)], LEFT)
    event = (await cell.rows("SELECT event FROM hansa_deliveries WHERE state = 'parked'"))[0][0]
    Trouble.failing = set()
    return {"subscriber": "ledger.stumble", "event": event}


async def _told(cell: TestCell) -> list[tuple[str, str, Any]]:
    found = await cell.rows(TOLD)
    return [(kind, who, json.loads(bytes(data))) for kind, who, data in found]


def test_an_edited_event_reaches_one_subscriber_and_the_log_stays(storage: Storage) -> None:
    async def go() -> None:
        async with on_duty(storage) as (cell, clock):
            named = await _park(cell, clock)
            before = await cell.rows("SELECT data FROM hansa_events ORDER BY position")
            data = json.loads(bytes(before[0][0]))
            edited = json.dumps({**data, "value": 41})
            await carry_out(cell.runtime, replay_delivery, DUTY, **named, data=edited)
            await cell.until_rows([], LEFT)
            assert sorted(await cell.rows(SEEN)) == [(2,), (41,)]
            await cell.runtime.dispatcher.rest()
            after = await cell.rows("SELECT data FROM hansa_events ORDER BY position")
            assert after[: len(before)] == before
            told = {"event": named["event"], "subscriber": "ledger.stumble", "edited": True}
            assert await _told(cell) == [("interventions.delivery_replayed", "key_duty", told)]

    asyncio.run(go())


def test_what_is_no_such_event_changes_nothing(storage: Storage) -> None:
    async def go() -> None:
        async with on_duty(storage) as (cell, clock):
            named = await _park(cell, clock)
            for data in ("", "{", "[]", '{"value": 1}', '{"name": "a", "value": 1, "more": 2}'):
                with pytest.raises(Unprocessable):
                    await carry_out(cell.runtime, replay_delivery, DUTY, **named, data=data)
            for caller, expected in (
                (key_of(REAL.id, "platform.log:read"), Denied),
                (Caller(OTHER.id, OWNER.principal), NotFound),
            ):
                error: type[Problem] = expected
                for operation in (replay_delivery, skip_delivery):
                    with pytest.raises(error):
                        await carry_out(cell.runtime, operation, caller, **named)
            assert [row[0] for row in await cell.rows(LEFT)] == ["parked", "queued"]
            assert await _told(cell) == []

    asyncio.run(go())


def test_a_skipped_event_lets_later_ones_go_on(storage: Storage) -> None:
    async def go() -> None:
        async with on_duty(storage) as (cell, clock):
            named = await _park(cell, clock)
            await carry_out(cell.runtime, skip_delivery, DUTY, **named)
            await cell.until_rows([("skipped", 0)], LEFT)
            assert await cell.rows(SEEN) == [(2,)]
            assert [kind for kind, _, _ in await _told(cell)] == ["interventions.delivery_skipped"]

    asyncio.run(go())


async def _plan(cell: TestCell, name: str, after_s: float = 0) -> None:
    await cell.runtime.do(L.plan, OWNER, {"body": Plan(name, after_s, "r")})


def test_due_work_is_retried_at_once_with_other_arguments(storage: Storage) -> None:
    async def go() -> None:
        async with on_duty(storage) as (cell, _):
            Trouble.failing = {"a"}
            await _plan(cell, "a")
            await cell.until_rows([("r", "waiting", 1)], DUE)
            for arguments in ("", "[]", "{}", '{"name": 3}', '{"name": "b", "more": 1}'):
                with pytest.raises(Unprocessable):
                    await carry_out(cell.runtime, retry_due, DUTY, id="r", arguments=arguments)
            edited = json.dumps({"name": "b"})
            await carry_out(cell.runtime, retry_due, DUTY, id="r", arguments=edited)
            await cell.until_rows([], DUE)
            assert [Trouble.calls.count(f"ring:{name}") for name in "ab"] == [1, 1]
            told = {"due": "r", "name": "ledger.ring", "edited": True}
            assert await _told(cell) == [("interventions.due_retried", "key_duty", told)]

    asyncio.run(go())


def test_due_work_is_cancelled_but_not_what_finishes_an_attempt(storage: Storage) -> None:
    async def go() -> None:
        async with on_duty(storage) as (cell, _):
            await _plan(cell, "a", 1000)
            with pytest.raises(NotFound):  # it has not failed, and its time has not come
                await carry_out(cell.runtime, retry_due, DUTY, id="r")
            await cell.run(
                "INSERT INTO hansa_due SELECT 'x', site, 'kernel.resume:ledger', version,"
                " arguments, run_at_us, ready_at_us, state, attempt, holder, lease_until_us,"
                " error, principal, trace FROM hansa_due"
            )
            with pytest.raises(Conflict):
                await carry_out(cell.runtime, cancel_due, DUTY, id="x")
            await carry_out(cell.runtime, cancel_due, DUTY, id="r")
            with pytest.raises(NotFound):
                await carry_out(cell.runtime, cancel_due, DUTY, id="r")
            assert [row[0] for row in await cell.rows(DUE)] == ["x"]
            told = {"due": "r", "name": "ledger.ring"}
            assert await _told(cell) == [("interventions.due_cancelled", "key_duty", told)]

    asyncio.run(go())
