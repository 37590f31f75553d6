"""Endpoints: where a site's events are sent, which ones, and the keys that they are signed with."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from hansa.kernel import codec
from hansa.kernel.compiler import param, select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Conflict, Fault, NotFound, Unprocessable
from hansa.kernel.structs import Secret, Struct
from hansa.platform.webhooks import signing, tables
from hansa.platform.webhooks import webhooks as service
from hansa.platform.webhooks.address import check_url
from hansa.platform.webhooks.api.events import EndpointChanged, EndpointCreated, EndpointRemoved
from hansa.platform.webhooks.message import check_patterns
from hansa.platform.webhooks.posting import Poster
from hansa.platform.webhooks.process import keys_opened, keys_sealed

ENDPOINTS_MAX: Final = 16
"""Endpoints of a site."""
OVERLAP_S_MAX: Final = 7 * 86_400

State = Literal["active", "paused", "disabled"]
Description = Annotated[str, Meta(max_length=200)]


class NewEndpoint(Struct):
    """An endpoint to be made: its https address, which events it wants (`commerce.order_placed`,
    `commerce.*`, none for all), and how they are signed."""

    url: str
    events: tuple[str, ...] = ()
    description: Description = ""
    scheme: signing.Scheme = "v1"


class EndpointChange(Struct):
    """What of an endpoint is to be otherwise; null leaves it as it is."""

    url: str | None = None
    events: tuple[str, ...] | None = None
    description: Description | None = None
    state: Literal["active", "paused"] | None = None


class Endpoint(Struct):
    """An endpoint. `reason` tells why it is disabled; `public_key` checks what `v1a` signs."""

    id: ID
    url: str
    events: tuple[str, ...]
    description: str
    scheme: signing.Scheme
    state: State
    reason: str
    public_key: str
    failing_since: datetime | None
    created_at: datetime
    changed_at: datetime


class CreatedEndpoint(Struct):
    """An endpoint with what its receiver checks signatures with, which is shown this once."""

    endpoint: Endpoint
    key: Secret


class Rotate(Struct):
    """A new key; for so many seconds both the old and the new one sign."""

    overlap_s: Annotated[int, Meta(ge=0, le=OVERLAP_S_MAX)] = 86_400


class SigningKey(Struct):
    """A key and until when it signs; the newest has no end."""

    key: Secret
    until: datetime | None = None


class Kept(Struct):
    """The parts of an endpoint that sending needs."""

    url: str
    state: str
    keys: bytes
    failing_since: datetime | None


_e = tables.endpoints.c
_shown = [_e[name] for name in Endpoint.__struct_fields__]
_every = select(*_shown).where(_e.state != "removed").order_by(_e.id)
_by_id = select(*_shown).where(_e.id == param("id"), _e.state != "removed")
_kept = select(_e.url, _e.state, _e["keys"], _e.failing_since).where(_e.id == param("id"))


async def find_endpoint(ctx: Context, id: ID) -> Endpoint:
    """Return an endpoint of the site. Raises NotFound."""
    found = await ctx.db.first(_by_id, Endpoint, id=id)
    if found is None:
        raise NotFound(f"There is no endpoint {id[:64]} on this site.")
    return found


async def kept_of(ctx: Context, id: ID) -> Kept | None:
    """Return what sending needs of an endpoint, None where it is gone."""
    return await ctx.db.first(_kept, Kept, id=id)


async def signing_keys(ctx: Context, kept: Kept) -> list[SigningKey]:
    """Return the keys that sign now, the newest first."""
    known = codec.decode(keys_opened(ctx, kept.keys), tuple[SigningKey, ...])
    return [one for one in known if one.until is None or one.until > ctx.now]


def _seal(ctx: Context, keys: Sequence[SigningKey]) -> bytes:
    return keys_sealed(ctx, codec.encode(tuple(keys)))


@service.query("GET /endpoints", needs="webhooks.endpoints:read")
async def list_endpoints(ctx: Context) -> list[Endpoint]:
    """List the site's endpoints, the oldest first."""
    return await ctx.db.all(_every, Endpoint)


@service.query("GET /endpoints/{id}", needs="webhooks.endpoints:read")
async def get_endpoint(ctx: Context, id: ID) -> Endpoint:
    """Return an endpoint. Raises NotFound."""
    return await find_endpoint(ctx, id)


@service.command("POST /endpoints", needs="webhooks.endpoints:write", status=201)
async def create_endpoint(ctx: Context, body: NewEndpoint) -> CreatedEndpoint:
    """Have events sent to an address from now on. The signing key is in this answer only.

    Raises Unprocessable for an address or an event type that is none, and Conflict
    (`too-many-endpoints`) above 16 of them.
    """
    if len(await ctx.db.all(_every, Endpoint)) >= ENDPOINTS_MAX:
        raise Conflict(f"A site has at most {ENDPOINTS_MAX} endpoints.", slug="too-many-endpoints")
    url, events = _checked(ctx, body.url, body.events)
    key = signing.new_key(body.scheme)
    public = signing.public_key(key)
    made = Endpoint(
        ctx.new_id("whe"), url, events, body.description, body.scheme, "active", "", public, None,
        ctx.now, ctx.now,
    )  # fmt: skip
    sealed = _seal(ctx, [SigningKey(Secret(key))])
    await ctx.db.insert(tables.endpoints, made, keys=sealed, since=0)
    ctx.emit(EndpointCreated(made.id, made.url, made.events))
    return CreatedEndpoint(made, Secret(public or key))


def _checked(ctx: Context, url: str, events: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    faults: list[Fault] = []
    checked: tuple[str, tuple[str, ...]] = ("", ())
    try:
        checked = (check_url(url, ctx.get(Poster).allowed), ())
    except ValueError as error:
        faults.append(Fault("/url", str(error)))
    try:
        checked = (checked[0], check_patterns(events))
    except ValueError as error:
        faults.append(Fault("/events", str(error)))
    if faults:
        raise Unprocessable("Some values are refused.", errors=tuple(faults))
    return checked


@service.command("PATCH /endpoints/{id}", needs="webhooks.endpoints:write")
async def change_endpoint(ctx: Context, id: ID, body: EndpointChange) -> Endpoint:
    """Change an endpoint. One that is made `active` is sent what waited for it, at once.

    Raises NotFound, and Unprocessable for values that are none.
    """
    from hansa.platform.webhooks.api.sending import wake_all  # it needs what is here

    before = await find_endpoint(ctx, id)
    url, events = _checked(
        ctx,
        before.url if body.url is None else body.url,
        before.events if body.events is None else body.events,
    )
    after = msgspec.structs.replace(
        before, url=url, events=events, state=body.state or before.state, changed_at=ctx.now,
        description=before.description if body.description is None else body.description,
    )  # fmt: skip
    if body.state == "active":
        after = msgspec.structs.replace(after, reason="", failing_since=None)
    changes = {
        name: getattr(after, name)
        for name in (
            "url", "events", "description", "state", "reason", "failing_since", "changed_at",
        )
    }  # fmt: skip
    await ctx.db.update(tables.endpoints, id, **changes)
    if body.state == "active":
        await wake_all(ctx, id)
    ctx.emit(EndpointChanged(id, after.url, after.events, after.state))
    return after


@service.command("POST /endpoints/{id}/rotate", needs="webhooks.endpoints:write")
async def rotate_key(ctx: Context, id: ID, body: Rotate) -> CreatedEndpoint:
    """Make a new signing key; meanwhile messages carry a signature of the old one too. The key is
    in this answer only. Raises NotFound."""
    endpoint = await find_endpoint(ctx, id)
    kept = await kept_of(ctx, id)
    old = await signing_keys(ctx, kept) if kept is not None else []
    until = ctx.now + timedelta(seconds=body.overlap_s)
    new = signing.new_key(endpoint.scheme)
    public = signing.public_key(new)
    ending = [SigningKey(old[0].key, until)] if old and body.overlap_s else []
    await ctx.db.update(
        tables.endpoints, id, keys=_seal(ctx, [SigningKey(Secret(new)), *ending]),
        public_key=public, changed_at=ctx.now,
    )  # fmt: skip
    changed = msgspec.structs.replace(endpoint, public_key=public, changed_at=ctx.now)
    ctx.emit(EndpointChanged(id, endpoint.url, endpoint.events, endpoint.state))
    return CreatedEndpoint(changed, Secret(public or new))


@service.command("DELETE /endpoints/{id}", needs="webhooks.endpoints:write", status=204)
async def remove_endpoint(ctx: Context, id: ID) -> None:
    """Take an endpoint away, and what is kept for it. Raises NotFound."""
    from hansa.platform.webhooks.api.keeping import purge_endpoint

    await find_endpoint(ctx, id)
    await ctx.db.update(tables.endpoints, id, state="removed", keys=b"", changed_at=ctx.now)
    ctx.schedule(purge_endpoint, at=ctx.now, id=f"purge:{id}", endpoint=id)
    ctx.emit(EndpointRemoved(id))
