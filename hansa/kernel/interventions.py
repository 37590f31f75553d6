"""Interventions: what somebody on duty does by hand to a delivery or to due work that hangs.

Each is an ordinary command of the site that it touches, so the site's log says what was done, to
what, and with whose key. What must never happen here: an effect that no event tells of, an attempt
at the world that nobody will ask about again, or data that a handler cannot read.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import msgspec

from hansa.kernel import actions, codec, deliveries, log
from hansa.kernel.caller import Caller
from hansa.kernel.context import Context
from hansa.kernel.contracts import Unliftable
from hansa.kernel.due import COLUMNS, DueRow
from hansa.kernel.ids import ID
from hansa.kernel.operation import Operation, Parameter
from hansa.kernel.problems import Conflict, NotFound, Unprocessable
from hansa.kernel.relations import sql
from hansa.kernel.service import Service
from hansa.kernel.storage import Session
from hansa.kernel.structs import Event

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

P = ParamSpec("P")

interventions = Service("interventions", owner="kernel", package=__name__)

WRITE = "platform.log:write"
"""What it takes to skip, replay, edit, retry and cancel by hand."""


class DeliveryReplayed(Event, aggregate="event"):
    """A delivery is tried anew; `edited` is whether with other data than the log has."""

    event: ID
    subscriber: str
    edited: bool


class DeliverySkipped(Event, aggregate="event"):
    """A subscriber will not get an event."""

    event: ID
    subscriber: str


class DueRetried(Event, aggregate="due"):
    """Due work is tried anew; `edited` is whether with other arguments."""

    due: ID
    name: str
    edited: bool


class DueCancelled(Event, aggregate="due"):
    """Due work will not be done."""

    due: ID
    name: str


_DELIVERY = """SELECT position, aggregate FROM hansa_deliveries
WHERE subscriber = ?1 AND event = ?2 AND site = ?3"""
_BY_HAND = """UPDATE hansa_deliveries SET state = ?4, attempt = 0, ready_at_us = ?5,
data = coalesce(?6, data)
WHERE subscriber = ?1 AND event = ?2 AND site = ?3 AND state IN ('parked', 'waiting')"""
_DUE = f"SELECT {COLUMNS} FROM hansa_due WHERE site = ?1 AND id = ?2"
_RETRY = """UPDATE hansa_due SET state = 'waiting', attempt = 0, ready_at_us = ?3, holder = '',
lease_until_us = 0, arguments = coalesce(?4, arguments), version = coalesce(?5, version)
WHERE site = ?1 AND id = ?2 AND (state = 'parked' OR (attempt > 0 AND lease_until_us <= ?3))"""
_CANCEL = "DELETE FROM hansa_due WHERE site = ?1 AND id = ?2 AND lease_until_us <= ?3"


async def carry_out(
    runtime: "Runtime", operation: Operation[P, None], caller: Caller, **arguments: Any
) -> None:
    """Run one of the commands below and have this process look at once for what it has freed.
    Raises Problem."""
    await runtime.do(operation, caller, arguments)
    runtime.retry_pending(0)
    runtime.due.wake()


@interventions.command(needs=WRITE)
async def replay_delivery(
    ctx: Context, subscriber: str, event: ID, data: str | None = None
) -> None:
    """Try an event anew that waits or is parked. With `data`, JSON, this subscriber is given that
    in place of what the log has, which stays as it is.

    Raises NotFound, and Unprocessable for data that is none of this event's type.
    """
    position, _ = await _delivery(ctx, subscriber, event)
    edited = None if data is None else data.encode()
    if edited is not None:
        await _check_data(ctx, position, edited)
    await _set_delivery(ctx, subscriber, event, "waiting", edited)
    ctx.emit(DeliveryReplayed(event, subscriber, edited is not None))


@interventions.command(needs=WRITE)
async def skip_delivery(ctx: Context, subscriber: str, event: ID) -> None:
    """Leave an event out that waits or is parked, so that later ones of its aggregate go on.
    Raises NotFound."""
    _, aggregate = await _delivery(ctx, subscriber, event)
    await _set_delivery(ctx, subscriber, event, "skipped", None)
    await deliveries.promote(ctx.session, ctx.runtime, subscriber, ctx.site, aggregate)
    ctx.emit(DeliverySkipped(event, subscriber))


@interventions.command(needs=WRITE)
async def retry_due(ctx: Context, id: ID, arguments: str | None = None) -> None:
    """Try due work again now that is parked or has failed, with other `arguments`, JSON, if there
    are any. Raises NotFound, and Unprocessable for arguments that its handler does not take."""
    row = await _due(ctx, id)
    edited = None if arguments is None else arguments.encode()
    version = None if edited is None else _version_taking(ctx.runtime, row.name, edited)
    given = (ctx.site, id, ctx.runtime.clock.now_us(), edited, version)
    if not await ctx.session.run(sql(ctx.session, _RETRY), given):
        raise NotFound(f"The due work {id[:80]} of this site has not failed.")
    ctx.emit(DueRetried(id, row.name, edited is not None))


@interventions.command(needs=WRITE)
async def cancel_due(ctx: Context, id: ID) -> None:
    """Take due work away, so that it is never done. Raises NotFound, and Conflict (`attempt-open`)
    for what finishes an attempt: the world has been asked, so somebody must hear the answer. Raises
    Conflict (`due-running`) while it is being done."""
    row = await _due(ctx, id)
    if actions.is_resume(row.name):
        raise Conflict("It finishes an attempt at the world and cannot be cancelled.",
                       slug="attempt-open")  # fmt: skip
    given = (ctx.site, id, ctx.runtime.clock.now_us())
    if not await ctx.session.run(sql(ctx.session, _CANCEL), given):
        raise Conflict("It is being done right now. Try again in a moment.", slug="due-running")
    ctx.emit(DueCancelled(id, row.name))


async def _delivery(ctx: Context, subscriber: str, event: ID) -> tuple[int, str]:
    rows = await _fetch(ctx.session, _DELIVERY, subscriber, event, ctx.site)
    if not rows:
        raise NotFound(f"{subscriber[:80]} has no open delivery of {event[:80]} on this site.")
    return rows[0][0], rows[0][1]


async def _set_delivery(
    ctx: Context, subscriber: str, event: ID, state: str, data: bytes | None
) -> None:
    given = (subscriber, event, ctx.site, state, ctx.runtime.clock.now_us(), data)
    if not await ctx.session.run(sql(ctx.session, _BY_HAND), given):
        raise NotFound(f"{subscriber} has no open delivery of {event} at the head of its line.")


async def _check_data(ctx: Context, position: int, data: bytes) -> None:
    """Raise Unprocessable unless data may stand in the place of the event at a position."""
    found = await log.at(ctx.session, position)
    if found is None:
        raise NotFound("The log has this event no more.")
    known = {name: cls for one in ctx.runtime.services for name, cls in one.events.items()}
    cls = known.get(found.type)
    try:
        if cls is not None and found.version == cls.event_version:
            codec.decode(data, cls)  # strictly: reading what is stored lets unknown fields pass
        else:
            ctx.runtime.stored.event_value(msgspec.structs.replace(found, data=data))
    except (ValueError, Unliftable) as error:
        raise Unprocessable(f"This is no {found.type}: {error}") from None


async def _due(ctx: Context, id: ID) -> DueRow:
    rows = await _fetch(ctx.session, _DUE, ctx.site, id)
    if not rows:
        raise NotFound(f"There is no due work {id[:80]} on this site.")
    return DueRow(*rows[0])


def _version_taking(runtime: "Runtime", name: str, arguments: bytes) -> int:
    """Return under which version arguments are stored for a handler. Raises Unprocessable for
    what it does not take."""
    parameters, version = _parameters_of(runtime, name)
    wanted = {one.name for one in parameters}
    required = {one.name for one in parameters if one.required}
    try:
        values = msgspec.json.decode(arguments, type=dict[str, Any])
        for one in parameters:
            if one.name in values:
                codec.convert(values[one.name], one.type)
    except (ValueError, TypeError) as error:
        raise Unprocessable(f"{name} does not take these arguments: {error}") from None
    if not required <= values.keys() <= wanted:
        raise Unprocessable(f"{name} takes {', '.join(sorted(wanted)) or 'nothing'}.")
    return version


def _parameters_of(runtime: "Runtime", name: str) -> tuple[Sequence[Parameter], int]:
    work = runtime.due_work.get(name)
    if work is not None:
        return work.parameters, work.version
    operation = runtime.by_id.get(name)
    if operation is not None:
        return operation.parameters, 1
    raise Unprocessable(f"No service here declares {name}, so its arguments cannot be checked.")


async def _fetch(session: Session, statement: str, *arguments: Any) -> Sequence[Sequence[Any]]:
    return await session.fetch(sql(session, statement), arguments)
