"""Deliveries: events taking effect at their subscribers, in transactions (rules: `delivery`).

The effects, the subscriber's position, and the receipt move in one transaction; an event that fails
moves into `hansa_deliveries` in the transaction that moves the position past it. What must never
happen here: a position that moves without the effect, an effect without its receipt, or a later
event of an aggregate before an earlier one.
"""

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from hansa.kernel import delivery, log
from hansa.kernel.caller import SYSTEM
from hansa.kernel.commands import deadline_in, submit, work_in
from hansa.kernel.contracts import ContractUnknown, VersionUnknown
from hansa.kernel.fence import CLOSED
from hansa.kernel.log import LogEvent
from hansa.kernel.observe.recorder import work
from hansa.kernel.problems import (
    DeadlineExceeded,
    NotFound,
    Overloaded,
    StorageFailed,
    StorageFull,
)
from hansa.kernel.relations import sql
from hansa.kernel.run import Run
from hansa.kernel.storage import Session

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime
    from hansa.kernel.service import Subscription

DEADLINE_S = 30.0
MACHINE_TROUBLE = (StorageFailed, StorageFull, Overloaded)
"""What is no fault of a handler: the same events are tried again as they are."""
ERROR_LENGTH_MAX = 8_000
RELEASE_WAIT_S = 60.0
"""How often to look whether a release that knows a stored row has come."""

_CURSOR = "SELECT position FROM hansa_cursors WHERE subscriber = ?1 AND slot = ?2"
# On PostgreSQL other processes may be at the same lane: who does not get it leaves it to them.
_CURSOR_ALONE = """SELECT coalesce((SELECT position FROM hansa_cursors
  WHERE subscriber = $1 AND slot = $2), 0),
  pg_try_advisory_xact_lock(hashtextextended($1 || '@' || $2::text, 0))"""
_MOVE = """INSERT INTO hansa_cursors (subscriber, slot, epoch, position) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (subscriber, slot) DO UPDATE SET epoch = excluded.epoch, position = excluded.position"""
_ASIDE = """SELECT event, aggregate, state FROM hansa_deliveries
WHERE subscriber = ?1 AND site = ?2"""
_BEFORE = """SELECT 1 FROM hansa_deliveries
WHERE subscriber = ?1 AND site = ?2 AND aggregate = ?3 AND state <> 'skipped' LIMIT 1"""
_RECEIPT = """INSERT INTO hansa_receipts (subscriber, event, site, at_us) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO NOTHING"""
_RECEIPTS = """INSERT INTO hansa_receipts (subscriber, event, site, at_us)
SELECT $1::text, event, $3::text, $4::bigint FROM unnest($2::text[]) AS new (event)
ON CONFLICT DO NOTHING RETURNING event"""
_FAIL = """INSERT INTO hansa_deliveries (subscriber, event, site, aggregate, position, state,
attempt, ready_at_us, error, trace, failed_at_us)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"""
_TAKE = """DELETE FROM hansa_deliveries
WHERE subscriber = ?1 AND event = ?2 AND state = 'waiting' AND attempt = ?3 RETURNING data"""
_AGAIN = """UPDATE hansa_deliveries SET state = ?3, attempt = ?4, ready_at_us = ?5, error = ?6,
failed_at_us = ?7 WHERE subscriber = ?1 AND event = ?2 AND state = 'waiting' AND attempt = ?8"""
_PROMOTE = """UPDATE hansa_deliveries SET state = 'waiting', ready_at_us = ?4
WHERE subscriber = ?1 AND site = ?2 AND aggregate = ?3 AND state = 'queued' AND position = (
  SELECT min(position) FROM hansa_deliveries
  WHERE subscriber = ?1 AND site = ?2 AND aggregate = ?3 AND state <> 'skipped')"""


class LaneBusy(Exception):
    """Another process is delivering the same slot to the same subscriber."""


class HandlerFailed(Exception):
    """The handler of the event at `index` of a batch raised; nothing of the batch was kept."""

    def __init__(self, index: int, error: BaseException) -> None:
        super().__init__(f"event {index} of the batch failed")
        self.index = index
        self.error = error


def error_text(error: BaseException) -> str:
    """Return the type, text and traceback of an error, bounded, for people to read."""
    lines = traceback.format_exception(error, limit=-12)
    return "".join(lines)[-ERROR_LENGTH_MAX:]


def is_of_newer_release(error: BaseException) -> bool:
    """Tell whether a stored row is only for a release that this process is not: it waits for that
    one and is never parked."""
    if isinstance(error, VersionUnknown):
        return error.newer
    return isinstance(error, ContractUnknown)


def after_failure(
    error: BaseException, attempt: int, now_us: int, backoff_s: Sequence[float]
) -> tuple[delivery.State, int, int]:
    """Return state, attempt and time of the next try of what failed with `error`."""
    if is_of_newer_release(error):
        return delivery.postponed(attempt, now_us, RELEASE_WAIT_S)
    if isinstance(error, DeadlineExceeded):
        backoff_s = delivery.patient(backoff_s)
    return delivery.failed(attempt, now_us, backoff_s)


async def move_cursor(
    session: Session, subscriber: str, slot: int, epoch: int, position: int
) -> None:
    """Move a subscriber's position, in the transaction of the effects up to it."""
    await session.run(sql(session, _MOVE), (subscriber, slot, epoch, position))


async def deliver(
    runtime: "Runtime", subscription: "Subscription", events: Sequence[LogEvent]
) -> None:
    """Give events of one site to a subscriber, in order. Those that fail end in `deliveries`."""
    while events:
        try:
            await _deliver_batch(runtime, subscription, events)
            return
        except HandlerFailed as failure:
            if failure.index:
                await deliver(runtime, subscription, events[: failure.index])
            await _put_aside(runtime, subscription, events[failure.index], failure.error)
            events = events[failure.index + 1 :]


async def _deliver_batch(
    runtime: "Runtime", subscription: "Subscription", events: Sequence[LogEvent]
) -> None:
    run = await _run_for(runtime, subscription, events[0])
    name, slot = subscription.name, events[0].slot
    reached = 0

    async def body(session: Session) -> None:
        nonlocal reached
        done = await _position(session, name, slot)
        rows = await session.fetch(sql(session, _ASIDE), (name, run.site.id))
        blocked = {aggregate for _, aggregate, state in rows if state != "skipped"}
        # With a site that came from another cell come its events, and those that were put aside.
        aside = {row[0] for row in rows}
        verdicts = {
            event.id: delivery.admit(event.aggregate in blocked)
            for event in events
            if event.position > done and event.id not in aside
        }
        fresh = await _receive_all(
            session, runtime, name, run.site.id, [i for i, do in verdicts.items() if do == "run"]
        )
        for index, event in enumerate(events):
            reached = index
            if verdicts.get(event.id) == "queue":
                await _insert(session, runtime, name, event, ("queued", 0, 0), "")
            elif event.id in fresh:
                await effect(runtime, subscription, event, run, session)
        if events[-1].position > done:
            await move_cursor(session, name, slot, events[-1].epoch, events[-1].position)

    try:
        await submit(runtime, run, body)
    except (*MACHINE_TROUBLE, *CLOSED, LaneBusy):
        raise
    except Exception as error:
        raise HandlerFailed(reached, error) from error


async def _position(session: Session, name: str, slot: int) -> int:
    """Return a subscriber's position. Raises LaneBusy where another process moves it now."""
    if session.dialect == "sqlite":
        rows = await session.fetch(_CURSOR, (name, slot))
        return rows[0][0] if rows else 0
    position, alone = (await session.fetch(_CURSOR_ALONE, (name, slot)))[0]
    if not alone:
        raise LaneBusy
    return int(position)


async def _receive_all(
    session: Session, runtime: "Runtime", name: str, site: str, events: list[str]
) -> set[str]:
    """Write the receipts of events; return those that have not had their effect before."""
    now_us = runtime.clock.now_us()
    if session.dialect == "postgresql":
        rows = await session.fetch(_RECEIPTS, (name, events, site, now_us))
        return {row[0] for row in rows}
    return {
        event
        for event in events
        if await session.run(sql(session, _RECEIPT), (name, event, site, now_us)) == 1
    }


async def _receive(session: Session, runtime: "Runtime", name: str, event: LogEvent) -> bool:
    """Write the receipt of an event; False when it has already had its effect."""
    arguments = (name, event.id, event.site, runtime.clock.now_us())
    return await session.run(sql(session, _RECEIPT), arguments) == 1


async def effect(
    runtime: "Runtime",
    subscription: "Subscription",
    event: LogEvent,
    run: Run,
    session: Session,
) -> None:
    """Run a subscriber's handler for one event inside an open transaction."""
    value = event if subscription.event is None else runtime.stored.event_value(event)
    recorder = runtime.recorder
    name, service = subscription.name, subscription.service
    with work(recorder, "delivery", name, service, event.site, event.trace) as segment:
        trace = event.trace
        if recorder is not None and segment is not None:
            trace = segment.trace.parent
            recorder.edge(event.type.partition(".")[0], service, event.type)
            if recorder.payloads:
                segment.arguments = {event.type: value}
        own = Run(run.site, SYSTEM, name, service, trace, run.deadline, trigger=event.id)
        await work_in(runtime, own, session, lambda context: subscription.fn(context, value))


async def _insert(
    session: Session,
    runtime: "Runtime",
    name: str,
    event: LogEvent,
    verdict: tuple[str, int, int],
    error: str,
) -> None:
    state, attempt, ready_at_us = verdict
    await session.run(
        sql(session, _FAIL),
        (name, event.id, event.site, event.aggregate, event.position, state, attempt,
         ready_at_us, error, event.trace, runtime.clock.now_us()),
    )  # fmt: skip


async def _put_aside(
    runtime: "Runtime", subscription: "Subscription", event: LogEvent, error: BaseException
) -> None:
    run = await _run_for(runtime, subscription, event)
    now_us = runtime.clock.now_us()
    verdict = after_failure(error, 0, now_us, subscription.backoff_s)
    if is_of_newer_release(error):
        verdict = delivery.postponed(0, now_us, 0)  # a process of that release takes it at once
    text = error_text(error)
    name = subscription.name

    async def body(session: Session) -> None:
        if await _position(session, name, event.slot) >= event.position:
            return
        # Between the try and now another process may have put an earlier one of it aside.
        arguments = (name, event.site, event.aggregate)
        if await session.fetch(sql(session, _BEFORE), arguments):
            await _insert(session, runtime, name, event, ("queued", 0, 0), "")
        else:
            await _insert(session, runtime, name, event, verdict, text)
        await move_cursor(session, name, event.slot, event.epoch, event.position)

    await submit(runtime, run, body)
    runtime.retry_pending(verdict[2])


async def retry(
    runtime: "Runtime", subscription: "Subscription", position: int, attempt: int
) -> bool:
    """Try the event at a position again, which waits at the head of its aggregate and has failed
    `attempt` times. Of several processes that try it at once only one counts. Return False where it
    is left to a newer release."""
    event = await runtime.storage.read(
        lambda session: log.at(session, position),
        site="platform", deadline=deadline_in(DEADLINE_S), across=True,
    )  # fmt: skip
    if event is None:
        raise NotFound(f"The log has nothing at {position} any more.")
    if subscription.event is not None and runtime.stored.is_newer(event):
        return False
    run = await _run_for(runtime, subscription, event)
    name = subscription.name

    async def body(session: Session) -> None:
        taken = await session.fetch(sql(session, _TAKE), (name, event.id, attempt))
        if not taken:
            return
        if await _receive(session, runtime, name, event):
            edited = taken[0][0]  # by hand, and for this subscriber alone
            own = event if edited is None else msgspec.structs.replace(event, data=edited)
            await effect(runtime, subscription, own, run, session)
        await promote(session, runtime, name, event.site, event.aggregate)

    try:
        await submit(runtime, run, body)
    except (*MACHINE_TROUBLE, *CLOSED):
        raise
    except Exception as error:
        await _fail_again(runtime, subscription, run, event, attempt, error)
    runtime.retry_pending(0)
    return True


async def promote(
    session: Session, runtime: "Runtime", name: str, site: str, aggregate: str
) -> None:
    """Let the next event of an aggregate be tried, now that what it queued behind is gone."""
    arguments = (name, site, aggregate, runtime.clock.now_us())
    await session.run(sql(session, _PROMOTE), arguments)


async def _fail_again(
    runtime: "Runtime",
    subscription: "Subscription",
    run: Run,
    event: LogEvent,
    before: int,
    error: BaseException,
) -> None:
    text = error_text(error)

    async def body(session: Session) -> int:
        now_us = runtime.clock.now_us()
        state, attempt, ready = after_failure(error, before, now_us, subscription.backoff_s)
        await session.run(
            sql(session, _AGAIN),
            (subscription.name, event.id, state, attempt, ready, text, now_us, before),
        )
        return ready

    committed = await submit(runtime, run, body)
    runtime.retry_pending(committed.value)


async def _run_for(runtime: "Runtime", subscription: "Subscription", event: LogEvent) -> Run:
    return Run(
        await runtime.site(event.site), SYSTEM, subscription.name, subscription.service,
        event.trace, deadline_in(DEADLINE_S), serial_by=f"{subscription.name}@{event.slot}",
    )  # fmt: skip
