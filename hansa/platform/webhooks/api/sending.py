"""Sending: an event becomes a message, and a message is sent until it is taken.

Of each lane of an endpoint (see `message.LANES`) one message is out at a time, as an attempt that
due work finishes when the process dies. Whoever takes a message may so see it twice, never not.
"""

from datetime import datetime

from sqlalchemy import func

from hansa.kernel.actions import Done, World
from hansa.kernel.catalog import event_name
from hansa.kernel.compiler import param, select, update, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.log import LogEvent
from hansa.kernel.operation import INTERNAL
from hansa.kernel.schedule import from_us
from hansa.kernel.structs import Secret, Struct
from hansa.platform.webhooks import message, patience, signing, tables
from hansa.platform.webhooks import webhooks as service
from hansa.platform.webhooks.api.endpoints import Kept, kept_of, signing_keys
from hansa.platform.webhooks.api.events import EndpointCreated, EndpointDisabled
from hansa.platform.webhooks.posting import TIMEOUT_S, Outcome, Poster

USER_AGENT = "Hansa-Webhooks/1.0 (Standard Webhooks)"

_e, _m, _d = tables.endpoints.c, tables.messages.c, tables.deliveries.c
_OPEN = ("queued", "waiting", "sending")


class Listener(Struct):
    """An endpoint that may want an event."""

    id: ID
    events: tuple[str, ...]
    state: str


class Next(Struct):
    """The delivery whose turn it is in a lane."""

    number: int
    object: str
    attempts: int
    next_at: datetime


class Under(Struct):
    """A delivery that is being sent."""

    object: str
    lane: int
    tries: int
    attempts: int


class Post(Struct):
    """One attempt: what is sent where. The body of every attempt at a message is the same."""

    endpoint: ID
    number: int
    attempt: int
    url: str
    id: str
    body: bytes
    keys: tuple[Secret, ...]


# ---- events become messages

_begin = update(tables.endpoints).where(_e.id == param("id")).values(since=param("since"))
_listening = select(_e.id, _e.events, _e.state).where(
    _e.since > 0, _e.since < param("position"), _e.state != "removed"
)
_next_number = upsert(
    tables.counters,
    key=("name",),
    values={"name": "messages", "value": 1},
    change={"value": tables.counters.c.value + 1},
    returning=(tables.counters.c.value,),
)
_open = (
    select(_d.number)
    .where(_d.endpoint_id == param("endpoint"), _d.object == param("object"), _d.state.in_(_OPEN))
    .limit(1)
)


@service.on_all(tables.endpoints, opened_by=EndpointCreated)
async def take_event(ctx: Context, event: LogEvent) -> None:
    """Keep an event for the endpoints that want it. An endpoint wants what stands behind its own
    creation in the log, however far behind the log this subscriber was then."""
    if event.type == event_name(EndpointCreated):
        id = event.aggregate.partition(":")[2]
        await ctx.db.run(_begin, id=id, since=event.position)
    listeners = await ctx.db.all(_listening, Listener, position=event.position)
    wanted = [one for one in listeners if message.wants(one.events, event.type)]
    if not wanted:
        return
    number = await ctx.db.value(_next_number, int) or 0
    at = from_us(event.at_us)
    body = message.body_of(
        event.type, at, number, event.aggregate, event.seq, event.version, event.data
    )
    await ctx.db.insert(
        tables.messages, number=number, id=event.id, type=event.type, object=event.aggregate,
        sequence=event.seq, at=at, body=body,
    )  # fmt: skip
    lane = message.lane_of(event.aggregate)
    for one in wanted:
        behind = await ctx.db.first(_open, int, endpoint=one.id, object=event.aggregate)
        await ctx.db.insert(
            tables.deliveries, endpoint_id=one.id, number=number, object=event.aggregate,
            lane=lane, state="waiting" if behind is None else "queued", tries=0, attempts=0,
            next_at=ctx.now,
        )  # fmt: skip
        if behind is None and one.state == "active":
            wake(ctx, one.id, lane, ctx.now)


def wake(ctx: Context, endpoint: ID, lane: int, at: datetime) -> None:
    """Have a lane looked at; it is one row of due work, however much waits in it."""
    ctx.schedule(send, at=at, id=f"lane:{endpoint}:{lane}", endpoint=endpoint, lane=lane)


_all_now = (
    update(tables.deliveries)
    .where(_d.endpoint_id == param("endpoint"), _d.state == "waiting")
    .values(tries=0, next_at=param("now"))
)


async def wake_all(ctx: Context, endpoint: ID) -> None:
    """Have all that waits for an endpoint sent now."""
    await ctx.db.run(_all_now, endpoint=endpoint, now=ctx.now)
    for lane in range(message.LANES):
        wake(ctx, endpoint, lane, ctx.now)


# ---- messages are sent

_in_lane = select(_d.number, _d.object, _d.attempts, _d.next_at).where(
    _d.endpoint_id == param("endpoint"), _d.lane == param("lane"), _d.state == param("state")
)
_head = _in_lane.order_by(_d.next_at, _d.number).limit(1)
_message = select(_m.id, _m.body).where(_m.number == param("number"))
_under = select(_d.object, _d.lane, _d.tries, _d.attempts).where(
    _d.endpoint_id == param("endpoint"), _d.number == param("number"), _d.state == "sending"
)
_first_queued = (
    select(func.min(_d.number))
    .where(
        _d.endpoint_id == param("endpoint"),
        _d.object == param("object"),
        _d.state == "queued",
    )
)  # fmt: skip


class _Body(Struct):
    id: str
    body: bytes


@service.action(needs=INTERNAL, request=Post, outcome=Outcome, outside_s=TIMEOUT_S + 1)
async def send(ctx: Context, endpoint: ID, lane: int) -> Post | Done[None]:
    """Send what is next in a lane, if it is time and nothing of the lane is out already."""
    kept = await kept_of(ctx, endpoint)
    if kept is None or kept.state != "active":
        return Done(None)
    if await ctx.db.first(_head, Next, endpoint=endpoint, lane=lane, state="sending"):
        return Done(None)  # who settles that looks at the lane again
    head = await ctx.db.first(_head, Next, endpoint=endpoint, lane=lane, state="waiting")
    if head is None:
        return Done(None)
    if head.next_at > ctx.now:
        wake(ctx, endpoint, lane, head.next_at)
        return Done(None)
    known = await ctx.db.one(_message, _Body, number=head.number)
    attempt = head.attempts + 1
    await ctx.db.update(
        tables.deliveries, (endpoint, head.number), state="sending", attempts=attempt
    )
    keys = tuple(one.key for one in await signing_keys(ctx, kept))
    return Post(endpoint, head.number, attempt, kept.url, known.id, known.body, keys)


@send.outside
async def post(world: World, request: Post) -> Outcome:
    """Ask the receiver. Whatever it does is an outcome; it is asked again by the lane, not here."""
    signed = signing.headers(request.keys, request.id, int(world.now.timestamp()), request.body)
    fields = {"content-type": "application/json", "user-agent": USER_AGENT, **signed}
    return await world.get(Poster).post(request.url, fields, request.body, world.now)


@send.settle
async def settle_post(ctx: Context, request: Post, outcome: Outcome) -> None:
    """Record what the receiver said, and go on with the lane."""
    under = await ctx.db.first(_under, Under, endpoint=request.endpoint, number=request.number)
    if under is None:
        return  # the endpoint has been removed meanwhile
    await ctx.db.insert(
        tables.attempts, endpoint_id=request.endpoint, number=request.number,
        attempt=request.attempt, status=outcome.status, ms=outcome.ms, excerpt=outcome.excerpt,
        error=outcome.error, at=ctx.now,
    )  # fmt: skip
    await _note(ctx, request, under, outcome)
    kept = await kept_of(ctx, request.endpoint)
    if kept is not None:
        await _judge(ctx, request, kept, outcome)
    following = await ctx.db.first(
        _head, Next, endpoint=request.endpoint, lane=under.lane, state="waiting"
    )
    if following is not None:
        wake(ctx, request.endpoint, under.lane, max(following.next_at, ctx.now))


async def _note(ctx: Context, request: Post, under: Under, outcome: Outcome) -> None:
    """Write what becomes of the delivery; when it is done, the next of its object has its turn."""
    key = (request.endpoint, request.number)
    tries = under.tries + 1
    if not patience.taken(outcome.status):
        at = patience.next_try(request.id, tries, ctx.now, patience.WAITS_S, outcome.retry_after_s)
        if at is not None:
            await ctx.db.update(tables.deliveries, key, state="waiting", tries=tries, next_at=at)
            return
    state = "delivered" if patience.taken(outcome.status) else "failed"
    await ctx.db.update(tables.deliveries, key, state=state, tries=tries)
    await promote(ctx, request.endpoint, under.object)


async def promote(ctx: Context, endpoint: ID, object: str) -> None:
    """Give the earliest of an object's queued messages its turn."""
    number = await ctx.db.value(_first_queued, int, endpoint=endpoint, object=object)
    if number is not None:
        await ctx.db.update(tables.deliveries, (endpoint, number), state="waiting", next_at=ctx.now)


async def _judge(ctx: Context, request: Post, kept: Kept, outcome: Outcome) -> None:
    """Note since when an endpoint fails; give it up when that is too long."""
    if patience.taken(outcome.status):
        if kept.failing_since is not None:
            await ctx.db.update(tables.endpoints, request.endpoint, failing_since=None)
        return
    since = kept.failing_since or ctx.now
    if kept.state == "active" and patience.is_hopeless(outcome.status, since, ctx.now):
        reason = "it answered 410, so it is gone" if outcome.status == 410 else (
            f"it has taken nothing since {since.isoformat(timespec='seconds')}"
        )  # fmt: skip
        await ctx.db.update(
            tables.endpoints, request.endpoint, state="disabled", reason=reason,
            failing_since=since, changed_at=ctx.now,
        )  # fmt: skip
        ctx.emit(EndpointDisabled(request.endpoint, kept.url, reason))
    elif kept.failing_since is None:
        await ctx.db.update(tables.endpoints, request.endpoint, failing_since=since)
