"""Deliveries: what became of each message at an endpoint, and sending it again by hand."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Raw

from hansa.kernel import codec
from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Invalid, NotFound
from hansa.kernel.structs import Page, PageRequest, Struct
from hansa.platform.webhooks import tables
from hansa.platform.webhooks import webhooks as service
from hansa.platform.webhooks.api.endpoints import find_endpoint
from hansa.platform.webhooks.api.sending import promote, wake
from hansa.platform.webhooks.message import Body, lane_of

REPLAY_MAX = 500
FEED_MAX = 100
NUMBER_MAX = 2**62 - 1

DeliveryState = Literal["queued", "waiting", "sending", "delivered", "failed", "skipped"]


class Delivery(Struct):
    """A message on its way to an endpoint. `queued` waits for an earlier one of its object,
    `waiting` for `next_at`; `failed` and `skipped` are not tried any more. `attempts` counts all
    that were ever made."""

    number: int
    id: str
    type: str
    object: str
    sequence: int
    at: datetime
    state: DeliveryState
    attempts: int
    next_at: datetime


class Attempt(Struct):
    """One request: its status (0 where there was no answer), how long it took, and the first KiB of
    the answer, or why there is none."""

    attempt: int
    at: datetime
    status: int
    ms: int
    excerpt: str
    error: str


class DeliverySeen(Struct):
    """A delivery with what is sent and each attempt at it."""

    delivery: Delivery
    body: Raw
    attempts: list[Attempt]


class Replay(Struct):
    """Which messages are to be sent again: those numbered `first` to `last`, at most 500 of them;
    with `failed_only` those of them that were given up or skipped."""

    first: Annotated[int, Meta(ge=1)]
    last: Annotated[int, Meta(ge=1)]
    failed_only: bool = False


class Replayed(Struct):
    """How many messages are sent again. `next` is where to go on, null at the end."""

    count: int
    next: int | None


class Feed(Struct):
    """Messages that an endpoint wants, in order, each as it is sent. Ask again after `last`."""

    items: list[Body]
    last: int


_m, _d, _a = tables.messages.c, tables.deliveries.c, tables.attempts.c
_joined = tables.deliveries.join(tables.messages, _m.number == _d.number)
_listed = (
    select(
        _d.number, _m.id, _m.type, _m.object, _m.sequence, _m["at"], _d.state, _d.attempts,
        _d.next_at,
    )
    .select_from(_joined)
    .where(_d.endpoint_id == param("endpoint"))
)  # fmt: skip
_in_state = _listed.where(_d.state == param("state"))
_one = _listed.where(_d.number == param("number"))
_body = select(_m.body).where(_m.number == param("number"))
_attempts = (
    select(_a.attempt, _a["at"], _a.status, _a.ms, _a.excerpt, _a.error)
    .where(_a.endpoint_id == param("endpoint"), _a.number == param("number"))
    .order_by(_a.attempt)
)
_feed = (
    select(_m.body)
    .select_from(_joined)
    .where(_d.endpoint_id == param("endpoint"), _d.number > param("after"))
    .order_by(_d.number)
    .limit(param("limit", int))
)


@service.query("GET /endpoints/{endpoint}/deliveries", needs="webhooks.deliveries:read")
async def list_deliveries(
    ctx: Context, endpoint: ID, page: PageRequest, state: DeliveryState | None = None
) -> Page[Delivery]:
    """List an endpoint's deliveries, the newest first. Raises NotFound."""
    await find_endpoint(ctx, endpoint)
    order = (_d.number.desc(),)
    found: Page[Delivery]
    if state is None:
        found = await ctx.db.page(_listed, Delivery, page, order=order, endpoint=endpoint)
    else:
        found = await ctx.db.page(
            _in_state, Delivery, page, order=order, endpoint=endpoint, state=state
        )
    return found


@service.query("GET /endpoints/{endpoint}/deliveries/{number}", needs="webhooks.deliveries:read")
async def get_delivery(ctx: Context, endpoint: ID, number: int) -> DeliverySeen:
    """Return a delivery, what is sent, and all attempts at it. Raises NotFound."""
    await find_endpoint(ctx, endpoint)
    found = await ctx.db.one(_one, Delivery, endpoint=endpoint, number=number)
    body = await ctx.db.one(_body, bytes, number=number)
    attempts = await ctx.db.all(_attempts, Attempt, endpoint=endpoint, number=number)
    return DeliverySeen(found, Raw(body), attempts)


@service.query("GET /endpoints/{endpoint}/events", needs="webhooks.deliveries:read")
async def read_feed(
    ctx: Context,
    endpoint: ID,
    after: Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": NUMBER_MAX})] = 0,
    limit: Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": FEED_MAX})] = 50,
) -> Feed:
    """Return what an endpoint was sent or is to be sent, after the message of a number, for a
    receiver that was away. Messages are kept for thirty days. Raises NotFound."""
    if not (0 <= after <= NUMBER_MAX and 1 <= limit <= FEED_MAX):
        raise Invalid(f"`after` is a message's number, `limit` 1 to {FEED_MAX}.")
    await find_endpoint(ctx, endpoint)
    found = await ctx.db.all(_feed, bytes, endpoint=endpoint, after=after, limit=limit)
    items = [codec.decode(body, Body) for body in found]
    return Feed(items, items[-1].number if items else after)


# ---- by hand

_again = (
    update(tables.deliveries)
    .where(_d.endpoint_id == param("endpoint"), _d.number == param("number"))
    .values(state="queued", tries=0, next_at=param("now"))
)
_range = (
    select(_d.number, _d.object, _d.state)
    .where(
        _d.endpoint_id == param("endpoint"),
        _d.number >= param("first"),
        _d.number <= param("last"),
    )
    .order_by(_d.number)
    .limit(REPLAY_MAX + 1)
)
_ahead = (
    select(_d.number)
    .where(
        _d.endpoint_id == param("endpoint"),
        _d.object == param("object"),
        _d.state.in_(("waiting", "sending")),
    )
    .limit(1)
)
_skip = (
    update(tables.deliveries)
    .where(
        _d.endpoint_id == param("endpoint"),
        _d.number == param("number"),
        _d.state.in_(("waiting", "queued")),
    )
    .values(state="skipped")
)


class _Known(Struct):
    number: int
    object: str
    state: DeliveryState


@service.command("POST /endpoints/{endpoint}/replay", needs="webhooks.deliveries:write")
async def replay(ctx: Context, endpoint: ID, body: Replay) -> Replayed:
    """Send messages again, those of one object in their order; what is still to be sent stays as
    it is. The receiver knows them by their webhook-id. Raises NotFound."""
    await find_endpoint(ctx, endpoint)
    found = await ctx.db.all(_range, _Known, endpoint=endpoint, first=body.first, last=body.last)
    more = found[REPLAY_MAX].number if len(found) > REPLAY_MAX else None
    wanted = ("failed", "skipped") if body.failed_only else ("failed", "skipped", "delivered")
    again = [one for one in found[:REPLAY_MAX] if one.state in wanted]
    for one in again:
        await ctx.db.run(_again, endpoint=endpoint, number=one.number, now=ctx.now)
    for object in dict.fromkeys(one.object for one in again):
        await _set_off(ctx, endpoint, object)
    return Replayed(len(again), more)


async def _set_off(ctx: Context, endpoint: ID, object: str) -> None:
    """Give the first of an object its turn, unless one has it, and have its lane looked at."""
    if await ctx.db.first(_ahead, int, endpoint=endpoint, object=object) is None:
        await promote(ctx, endpoint, object)
    wake(ctx, endpoint, lane_of(object), ctx.now)


@service.command(
    "POST /endpoints/{endpoint}/deliveries/{number}/skip", needs="webhooks.deliveries:write"
)
async def skip(ctx: Context, endpoint: ID, number: int) -> Delivery:
    """Do not send a message that is still to be sent, so that later ones of its object go on; of
    any other nothing changes. Raises NotFound."""
    await find_endpoint(ctx, endpoint)
    before = await ctx.db.first(_one, Delivery, endpoint=endpoint, number=number)
    if before is None:
        raise NotFound(f"The endpoint has no message {number}.")
    if await ctx.db.run(_skip, endpoint=endpoint, number=number):
        await _set_off(ctx, endpoint, before.object)
    return await ctx.db.one(_one, Delivery, endpoint=endpoint, number=number)
