"""Blobs: what there is, links to it, and taking it away. The bytes themselves go through `serving`.

An upload is three steps: `begin_upload` notes that bytes may come, they are written to the store,
`finish_upload` makes them a blob. What is begun and not finished within a day is taken away.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta

from hansa.kernel.actions import Unknown, World
from hansa.kernel.compiler import delete, param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL
from hansa.kernel.problems import Conflict, Fault, NotFound, Unprocessable
from hansa.kernel.structs import Page, PageRequest, Struct
from hansa.platform.blobs import blobs as service
from hansa.platform.blobs import tables
from hansa.platform.blobs.api.events import BlobRemoved, BlobStored
from hansa.platform.blobs.delivery import check_name, check_type
from hansa.platform.blobs.links import EXPIRES_S_MAX, link
from hansa.platform.blobs.process import link_keys
from hansa.platform.blobs.stores import Bytes

MOUNT: Final = "/files"
BYTES_MAX: Final = 1 << 30
ABANDONED: Final = timedelta(days=1)
BATCH: Final = 200


class Blob(Struct):
    """A blob: `size` in bytes, `sha256` in hexadecimal."""

    id: ID
    name: str
    type: str
    size: int
    sha256: str
    created_at: datetime


class Link(Struct):
    """A way to a blob for who has no key: a path on this server, good until `expires_at`."""

    method: str
    path: str
    expires_at: datetime


class Coming(Struct):
    """An upload that has begun."""

    id: ID
    name: str
    type: str


class Arrived(Struct):
    """What has been written to the store."""

    size: int
    sha256: str


class Erase(Struct):
    """Bytes to be taken away."""

    id: ID


_b, _l = tables.blobs.c, tables.loose.c
_shown = select(*[_b[name] for name in Blob.__struct_fields__])
_by_id = _shown.where(_b.id == param("id"))
_coming = select(_l.id, _l.name, _l.type).where(_l.id == param("id"), _l.state == "coming")
_abandoned = (
    select(_l.id)
    .where(_l.state == "coming", _l.since < param("before"))
    .order_by(_l.since)
    .limit(BATCH)
)
_going = update(tables.loose).where(_l.id == param("id")).values(state="going")
_gone = delete(tables.loose).where(_l.id == param("id"))

Expires = Annotated[int, Meta(ge=1, le=EXPIRES_S_MAX)]
Size = Annotated[int, Meta(ge=1, le=BYTES_MAX)]


async def find_blob(ctx: Context, id: ID) -> Blob:
    """Return a blob of the site. Raises NotFound."""
    found = await ctx.db.first(_by_id, Blob, id=id)
    if found is None:
        raise NotFound(f"There is no blob {id[:64]} on this site.")
    return found


@service.query("GET /", needs="blobs.blobs:read")
async def list_blobs(ctx: Context, page: PageRequest) -> Page[Blob]:
    """List the site's blobs, the newest first."""
    found: Page[Blob] = await ctx.db.page(_shown, Blob, page, order=(_b.id.desc(),))
    return found


@service.query("GET /{id}", needs="blobs.blobs:read")
async def get_blob(ctx: Context, id: ID) -> Blob:
    """Return what is known of a blob. Raises NotFound."""
    return await find_blob(ctx, id)


@service.query("GET /{id}/link", needs="blobs.blobs:read")
async def get_link(ctx: Context, id: ID, expires_s: Expires = 3_600) -> Link:
    """Return a link under which anybody can read a blob for a time. Raises NotFound."""
    await find_blob(ctx, id)
    return _link(ctx, "GET", f"{MOUNT}/{ctx.site}/{id}", expires_s, {})


@service.query("GET /upload-link", needs="blobs.blobs:write")
async def get_upload_link(
    ctx: Context,
    name: str,
    type: str = "",
    bytes_max: Size = BYTES_MAX,
    expires_s: Expires = 3_600,
) -> Link:
    """Return a link under which anybody can PUT a file of this name, type and greatest size for a
    time, as often as they like. Raises Unprocessable."""
    name, type = _checked(name, type)
    values = {"name": name, "type": type, "bytes_max": str(bytes_max)}
    return _link(ctx, "PUT", f"{MOUNT}/{ctx.site}", expires_s, values)


def _link(ctx: Context, method: str, path: str, expires_s: int, values: dict[str, str]) -> Link:
    # Links end by the machine's time: their readers are outside, whatever clock the site has.
    until = ctx.runtime.clock.now_us() // 1_000_000 + expires_s
    key = link_keys(ctx.runtime, ctx.site)[0]
    made = link(key, method, path, until, values)
    return Link(method, made, datetime.fromtimestamp(until, UTC))


def _checked(name: str, type: str) -> tuple[str, str]:
    faults: list[Fault] = []
    for pointer, check, value in (("/name", check_name, name), ("/type", check_type, type)):
        try:
            check(value)
        except ValueError as error:
            faults.append(Fault(pointer, str(error)))
    if faults:
        raise Unprocessable("The file is refused.", errors=tuple(faults))
    return check_name(name), check_type(type)


@service.command(needs="blobs.blobs:write")
async def begin_upload(ctx: Context, name: str, type: str) -> Coming:
    """Note that bytes may come into the store. Raises Unprocessable."""
    name, type = _checked(name, type)
    coming = Coming(ctx.new_id("blob"), name, type)
    await ctx.db.insert(tables.loose, coming, state="coming", since=ctx.now)
    return coming


@service.command(needs="blobs.blobs:write")
async def finish_upload(ctx: Context, id: ID, arrived: Arrived) -> Blob:
    """Make what is in the store a blob. Raises Conflict (`upload-over`) for an upload that took too
    long, or was broken off."""
    coming = await ctx.db.first(_coming, Coming, id=id)
    if coming is None:
        raise Conflict("The upload is over; send the file again.", slug="upload-over")
    await ctx.db.run(_gone, id=id)
    blob = Blob(id, coming.name, coming.type, arrived.size, arrived.sha256, ctx.now)
    await ctx.db.insert(tables.blobs, blob)
    ctx.emit(BlobStored(id, blob.name, blob.type, blob.size, blob.sha256))
    return blob


@service.command(needs="blobs.blobs:write")
async def break_off(ctx: Context, id: ID) -> None:
    """Have what came of an upload taken away; one that is finished stays."""
    if await ctx.db.first(_coming, Coming, id=id) is not None:
        await _let_go(ctx, id)


@service.command("DELETE /{id}", needs="blobs.blobs:write", status=204)
async def remove_blob(ctx: Context, id: ID) -> None:
    """Take a blob away; its links lead nowhere from now on. Raises NotFound."""
    blob = await find_blob(ctx, id)
    await ctx.db.delete(tables.blobs, id)
    await ctx.db.insert(
        tables.loose, id=id, state="going", name=blob.name, type=blob.type, since=ctx.now
    )
    await _let_go(ctx, id)
    ctx.emit(BlobRemoved(id))


async def _let_go(ctx: Context, id: ID) -> None:
    await ctx.db.run(_going, id=id)
    ctx.schedule(erase, at=ctx.now, id=f"erase:{id}", blob=id)


@service.action(needs=INTERNAL, request=Erase, outcome=Erase)
async def erase(ctx: Context, blob: ID) -> Erase:
    """Take bytes out of the store, asked again until the store says that they are gone."""
    return Erase(blob)


@erase.outside
async def erase_bytes(world: World, request: Erase) -> Erase:
    """Ask the store."""
    try:
        await world.get(Bytes).store.erase(f"{world.site}/{request.id}")
    except OSError as error:
        raise Unknown(str(error)) from error
    return request


@erase.settle
async def settle_erase(ctx: Context, request: Erase, outcome: Erase) -> None:
    """Forget them."""
    await ctx.db.run(_gone, id=request.id)


@service.every("29 2 * * *", spread_s=3600)
async def take_away_abandoned(ctx: Context) -> None:
    """Have the bytes of uploads that nobody finished within a day taken away."""
    await _take_away(ctx)


@service.due("blobs.take_away_more")
async def take_away_more(ctx: Context) -> None:
    """Go on with it."""
    await _take_away(ctx)


async def _take_away(ctx: Context) -> None:
    """Let go of so many, the oldest first; the rest follows by itself."""
    left = await ctx.db.all(_abandoned, str, before=ctx.now - ABANDONED)
    for id in left:
        await _let_go(ctx, ID(id))
    if len(left) == BATCH:
        ctx.schedule(take_away_more, at=ctx.now, id="take-away-more")
