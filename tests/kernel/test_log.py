"""The log: gapless per aggregate, in order, with effect once, whatever fails, on both engines."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.context import Context
from hansa.kernel.interventions import carry_out, interventions, replay_delivery, skip_delivery
from hansa.kernel.postgres import PostgresStorage
from hansa.kernel.problems import Conflict, NotFound
from hansa.kernel.pruning import LOG_KEPT_S
from hansa.kernel.service import Service
from hansa.kernel.storage import Storage
from hansa.testing.postgres import Dsns
from tests.kernel import ledger as L
from tests.kernel import lifted
from tests.kernel.cells import OTHER, OWNER, REAL, HandClock, TestCell, key_of, opened, runtime_on
from tests.kernel.ledger import Step, Stepped, Trouble, ledger
from tests.kernel.lifted import shelf

OF = "SELECT value FROM ledger_notes WHERE subscriber = ?1 AND name = ?2 AND site = ?3"
ELSEWHERE = Caller(OTHER.id, SYSTEM)
STATES = "SELECT state, attempt FROM hansa_deliveries ORDER BY position"


@pytest.fixture(autouse=True)
def _no_trouble() -> None:
    Trouble.reset()


async def seen(
    cell: TestCell, subscriber: str = "stumble", name: str = "a", site: str = REAL.id
) -> list[int]:
    """Return what a subscriber has noted, in the order in which it noted it."""
    rows = await cell.rows(OF + " ORDER BY id", subscriber, name, site)
    return [row[0] for row in rows]


async def steps(cell: TestCell, name: str, count: int) -> None:
    for _ in range(count):
        await cell.runtime.do(L.step, OWNER, {"body": Step(name)})


@asynccontextmanager
async def by_hand(storage: Storage) -> AsyncIterator[tuple[TestCell, HandClock]]:
    """Open a cell of the ledger whose machine's time the test moves."""
    clock = HandClock()
    async with opened(storage, ledger, interventions, clock=clock) as cell:
        yield cell, clock


async def replay(cell: TestCell, caller: Caller, event: str) -> None:
    named = {"subscriber": "ledger.stumble", "event": event}
    await carry_out(cell.runtime, replay_delivery, caller, **named)


async def skip(cell: TestCell, caller: Caller, event: str) -> None:
    named = {"subscriber": "ledger.stumble", "event": event}
    await carry_out(cell.runtime, skip_delivery, caller, **named)


async def later(cell: TestCell, clock: HandClock, seconds: float) -> None:
    clock.add(seconds)
    cell.runtime.dispatcher.wake_retry()


# ---- sequences and order


def test_sequences_have_no_gap_under_concurrency(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            other = key_of(OTHER.id, "*")
            async with asyncio.TaskGroup() as tasks:
                for n in range(60):
                    body = {"body": Step(f"n{n % 3}", by=1 if n % 5 else 2000)}
                    caller = OWNER if n % 2 else other
                    tasks.create_task(_tolerant(cell, body, caller))
            await cell.runtime.dispatcher.rest()
            rows = await cell.rows(
                "SELECT site, aggregate, seq FROM hansa_events ORDER BY position"
            )
            by_aggregate: dict[tuple[str, str], list[int]] = {}
            for site, aggregate, seq in rows:
                by_aggregate.setdefault((site, aggregate), []).append(seq)
            assert len(by_aggregate) == 6
            for sequence in by_aggregate.values():
                assert sequence == list(range(1, len(sequence) + 1))
            for site, aggregate in by_aggregate:
                name = aggregate.removeprefix("ledger:")
                wanted = list(range(1, len(by_aggregate[site, aggregate]) + 1))
                for subscriber in ("follow", "stumble"):
                    rows = await cell.rows(OF, subscriber, name, site)
                    assert sorted(row[0] for row in rows) == wanted

    asyncio.run(go())


async def _tolerant(cell: TestCell, body: dict[str, Step], caller: Caller) -> None:
    try:
        await cell.runtime.do(L.hop, caller, body)
    except Conflict:
        assert body["body"].by > 1  # the rule of the table, which leaves no gap either


def test_subscribers_take_an_aggregate_in_order(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            await steps(cell, "a", 30)
            await cell.runtime.dispatcher.rest()
            # a batch that met a conflict runs again from its start
            tried = [o for o in dict.fromkeys(Trouble.calls) if o.startswith("stumble:a")]
            assert tried == [f"stumble:a:{n}" for n in range(1, 31)]
            assert sorted(await seen(cell, "follow")) == list(range(1, 31))

    asyncio.run(go())


# ---- failures


def test_a_failing_event_is_tried_again_and_others_queue_behind(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            Trouble.failing = {"a:2"}
            await steps(cell, "a", 4)
            await steps(cell, "b", 3)
            await cell.runtime.dispatcher.rest()
            assert sorted(await seen(cell)) == [1]
            assert sorted(await seen(cell, name="b")) == [1, 2, 3]
            assert sorted(await seen(cell, "follow")) == [1, 2, 3, 4]
            assert await cell.rows(STATES) == [("waiting", 1), ("queued", 0), ("queued", 0)]
            Trouble.failing = set()
            await steps(cell, "a", 1)
            await cell.runtime.dispatcher.rest()
            assert sorted(await seen(cell)) == [1]  # not before its time, nor around the queue
            await later(cell, clock, L.BACKOFF_S[0])
            await cell.until_rows([], STATES)
            assert sorted(await seen(cell)) == [1, 2, 3, 4, 5]
            done = [one for one in Trouble.calls if one.startswith("stumble:a")][-4:]
            assert done == [f"stumble:a:{n}" for n in (2, 3, 4, 5)]

    asyncio.run(go())


async def _park(cell: TestCell, clock: HandClock) -> str:
    """Bring the event a:1 to be parked; return its identifier."""
    Trouble.failing = {"a:1"}
    await steps(cell, "a", 2)
    await cell.runtime.dispatcher.rest()
    for attempt, wait_s in enumerate(L.BACKOFF_S, 1):
        assert await cell.rows(STATES) == [("waiting", attempt), ("queued", 0)]
        await later(cell, clock, wait_s)
        state = "waiting" if attempt < len(L.BACKOFF_S) else "parked"
        await cell.until_rows([(state, attempt + 1), ("queued", 0)], STATES)
    rows = await cell.rows("SELECT event, error FROM hansa_deliveries WHERE state = 'parked'")
    assert "RuntimeError: stumbled over 1" in rows[0][1]
    assert "Traceback" in rows[0][1]
    await later(cell, clock, 1e6)
    assert await seen(cell) == []
    event: str = rows[0][0]
    return event


def test_a_parked_event_is_replayed_by_hand(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            event = await _park(cell, clock)
            Trouble.failing = set()
            await replay(cell, OWNER, event)
            await cell.until_rows([], STATES)
            assert sorted(await seen(cell)) == [1, 2]
            with pytest.raises(NotFound):
                await replay(cell, OWNER, event)

    asyncio.run(go())


def test_a_parked_event_is_skipped_by_hand(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            event = await _park(cell, clock)
            with pytest.raises(NotFound):
                await skip(cell, ELSEWHERE, event)
            await skip(cell, OWNER, event)
            await cell.until_rows([("skipped", 0)], STATES)
            assert await seen(cell) == [2]

    asyncio.run(go())


# ---- restarts, several processes


def test_a_restart_goes_on_where_each_subscriber_stood(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            await steps(cell, "a", 5)
            await cell.runtime.dispatcher.rest()
            await cell.runtime.stop()
            idle = runtime_on(storage, [ledger])
            await idle.start(background=False)
            for _ in range(3):
                await idle.do(L.step, OWNER, {"body": Step("a")})
            await idle.stop()
            second = runtime_on(storage, [ledger])
            await second.start()
            await second.dispatcher.rest()
            await second.stop()
            # as after a crash: the floor was never written, so all is read again
            await cell.run("UPDATE hansa_subscribers SET floor = 0")
            third = runtime_on(storage, [ledger])
            await third.start()
            await third.dispatcher.rest()
            await third.stop()
            for subscriber in ("follow", "stumble"):
                assert sorted(await seen(cell, subscriber)) == list(range(1, 9))

    asyncio.run(go())


def test_two_processes_deliver_each_event_once(postgres_dsns: Dsns) -> None:
    async def go() -> None:
        here = PostgresStorage(postgres_dsns.application, owner_dsn=postgres_dsns.owner)
        there = PostgresStorage(postgres_dsns.application, owner_dsn=postgres_dsns.owner)
        async with opened(here, ledger) as cell, opened(there, ledger, fresh=False) as twin:
            runtimes = (cell.runtime, twin.runtime)
            Trouble.failing = {"n1:3"}
            await asyncio.gather(
                *(runtimes[n % 2].do(L.hop, OWNER, {"body": Step(f"n{n % 4}")}) for n in range(48))
            )
            await asyncio.gather(*(one.dispatcher.rest() for one in runtimes))
            Trouble.failing = set()
            await cell.until_rows([], STATES)
            for name in ("n0", "n1", "n2", "n3"):
                for subscriber in ("follow", "stumble"):
                    assert sorted(await seen(cell, subscriber, name)) == list(range(1, 13))
                tried = [o for o in Trouble.calls if o.startswith(f"stumble:{name}:")]
                first_tries = list(dict.fromkeys(tried))
                assert first_tries == [f"stumble:{name}:{n}" for n in range(1, 13)]

    asyncio.run(go())


# ---- versions


async def _store_event(cell: TestCell, id: str, version: int, data: object) -> None:
    await cell.run(
        "INSERT INTO hansa_events (id, site, slot, epoch, aggregate, seq, type, version, at_us,"
        " recorded_at_us, trace, cause, principal, data)"
        " VALUES (?1, ?2, ?3, 1, ?4, 1, 'shelf.filed', ?5, 0, 0, '', '', '', ?6)",
        id, REAL.id, REAL.slot, f"shelf:{id}", version, json.dumps(data).encode(),
    )  # fmt: skip
    cell.runtime.dispatcher.wake()


def test_old_events_are_lifted(storage: Storage) -> None:
    async def go() -> None:
        lifted.SEEN.clear()
        async with opened(storage, shelf) as cell:
            await _store_event(cell, "e1", 1, {"name": "a"})
            await _store_event(cell, "e2", 2, {"name": "b", "room": "hall"})
            await cell.runtime.dispatcher.rest()
            assert lifted.SEEN == [("a", "attic"), ("b", "hall")]

    asyncio.run(go())


def test_events_of_a_newer_release_wait_for_it(storage: Storage) -> None:
    async def go() -> None:
        lifted.SEEN.clear()
        clock = HandClock()
        async with opened(storage, shelf, clock=clock) as cell:
            await _store_event(cell, "e1", 3, {"name": "a", "floor": 2})
            await cell.runtime.dispatcher.rest()
            state = "SELECT state, attempt, ready_at_us FROM hansa_deliveries"
            waits = [("waiting", 0, clock.at_us)]  # ready at once, for whoever knows it
            for _ in range(4):
                assert await cell.rows(state) == waits
                await later(cell, clock, 60)
            assert lifted.SEEN == []

    asyncio.run(go())


def test_events_of_an_unknown_service_wait_for_it(storage: Storage) -> None:
    listener = Service("listener", owner="kernel", package="tests.kernel.nowhere")

    @listener.on(Stepped, backoff_s=())
    async def hear(ctx: Context, event: Stepped) -> None:
        raise AssertionError

    async def go() -> None:
        async with opened(storage, ledger, background=False) as cell:
            deaf = runtime_on(storage, [listener])
            await deaf.start()
            await steps(cell, "a", 1)
            await deaf.dispatcher.rest()
            assert await cell.rows(STATES) == [("waiting", 0)]
            await deaf.stop()

    asyncio.run(go())


# ---- pruning


def test_pruning_keeps_what_may_be_asked_for(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            Trouble.failing = {"b:1"}
            for name in ("a", "b"):
                body = {"body": Step(name)}
                await cell.runtime.do(L.step, OWNER, body, key=name)
            await cell.runtime.dispatcher.rest()
            clock.add(LOG_KEPT_S + 1)
            assert (await cell.runtime.pruner.prune())["hansa_events"] == 0  # nobody is past it
            await cell.run("UPDATE hansa_subscribers SET floor = 1000")
            gone = await cell.runtime.pruner.prune()
            assert gone["hansa_events"] == 1
            left = await cell.rows("SELECT aggregate FROM hansa_events")
            assert left == [("ledger:b",)]
            assert await cell.rows("SELECT 1 FROM hansa_keys") == []
            await steps(cell, "a", 1)
            rows = await cell.rows("SELECT seq FROM hansa_events WHERE aggregate = 'ledger:a'")
            assert rows == [(2,)]

    asyncio.run(go())


def test_a_second_try_that_cannot_be_made_holds_up_no_other(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            Trouble.failing = {"a:1", "b:1"}
            for name in ("a", "b"):
                await cell.runtime.do(L.step, OWNER, {"body": Step(name)})
            await cell.runtime.dispatcher.rest()
            Trouble.failing = set()
            await cell.run("DELETE FROM hansa_events WHERE aggregate = 'ledger:a'")
            await later(cell, clock, 3600)
            await cell.until_rows(
                [("ledger:a",)], "SELECT aggregate FROM hansa_deliveries WHERE subscriber = ?1",
                "ledger.stumble",
            )  # fmt: skip

    asyncio.run(go())


def test_a_subscriber_that_no_process_has_any_more_holds_nothing_back(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            await steps(cell, "a", 3)
            await cell.runtime.dispatcher.rest()
            await cell.run("UPDATE hansa_subscribers SET floor = 1000")
            now_us = clock.now_us()
            await cell.run("INSERT INTO hansa_subscribers VALUES ('gone.away', 0, ?1)", now_us)
            clock.add(LOG_KEPT_S - 10)
            assert (await cell.runtime.pruner.prune())["hansa_events"] == 0
            clock.add(20)
            assert (await cell.runtime.pruner.prune())["hansa_events"] == 3

    asyncio.run(go())


def test_a_skipped_delivery_is_kept_as_long_as_the_log(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            event = await _park(cell, clock)
            await skip(cell, OWNER, event)
            clock.add(LOG_KEPT_S - 10)
            assert (await cell.runtime.pruner.prune())["hansa_deliveries"] == 0
            clock.add(20)
            assert (await cell.runtime.pruner.prune())["hansa_deliveries"] == 1

    asyncio.run(go())


def test_the_log_is_cut_between_the_old_and_the_young(storage: Storage) -> None:
    async def go() -> None:
        async with by_hand(storage) as (cell, clock):
            for _ in range(9):
                await steps(cell, "a", 1)
                clock.add(86_400)
            await cell.runtime.dispatcher.rest()
            await cell.run("UPDATE hansa_subscribers SET floor = 1000")
            gone = 0
            clock.add(LOG_KEPT_S - 9 * 86_400 - 1)
            for day in range(10):
                gone += (await cell.runtime.pruner.prune())["hansa_events"]
                assert gone == day
                clock.add(86_400)

    asyncio.run(go())


def test_who_runs_no_events_does_not_wait_for_them(storage: Storage) -> None:
    async def go() -> None:
        async with opened(storage, ledger) as cell:
            idle = runtime_on(storage, [ledger])
            await idle.start(background=False)
            with pytest.raises(RuntimeError, match="without background"):
                await idle.dispatcher.rest()
            await idle.stop()
            assert cell.runtime.ready() == ""

    asyncio.run(go())
