"""Documents: put, read and delete what is searched.

Each change of a document takes the next number of its collection, in the transaction that makes it.
So the documents are a log of themselves, compacted: whoever has an index asks for what has a higher
number than the last that it knows.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hansa.kernel.compiler import delete, param, select, update, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Fault, NotFound, TooLarge
from hansa.kernel.schedule import from_us
from hansa.kernel.structs import Page, PageRequest, RawBody, Struct
from hansa.platform.search import search as service
from hansa.platform.search import tables
from hansa.platform.search.api.collections import Whole, unknown, whole_of, written_by
from hansa.platform.search.api.events import DocumentsChanged
from hansa.platform.search.documents import InvalidDocument, Line, lines, written
from hansa.platform.search.schema import Schema

READ: Final = "search.documents:read"
WRITE: Final = "search.documents:write"
BATCH_BYTES_MAX: Final = 4 << 20
BATCH_MAX: Final = 1_000
KEPT: Final = timedelta(days=7)
"""How long a deletion is kept for indexes that have not heard of it; an older one is made anew."""

Id = Annotated[str, Meta(min_length=1, max_length=120)]


class Refused(Struct):
    """A line that was not taken, counted from 1, and the problem that it would be by itself."""

    line: int
    problem: dict[str, Any]


class Taken(Struct):
    """What came of many documents: how many were taken, and the lines that were not. A search sees
    them once the index has come to `change`."""

    taken: int
    refused: tuple[Refused, ...]
    change: int


class Deleted(Struct):
    """How many documents were deleted."""

    deleted: int
    change: int


class Written(Struct):
    """A document was put, as this change of its collection."""

    id: str
    change: int


class Ids(Struct):
    """Documents by their ids."""

    ids: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=BATCH_MAX)]


class _Advanced(Struct):
    id: ID
    schema: Schema
    projection: str
    last_change: int


class _Body(Struct):
    id: str
    body: bytes


class _Known(Struct):
    id: str
    popularity: float


_c, _d = tables.collections.c, tables.documents.c
_advance = (
    update(tables.collections)
    .where(_c.id == param("id"), _c.state == "active")
    .values(last_change=_c.last_change + param("count"))
    .returning(_c.id, _c.schema, _c.projection, _c.last_change)
)
_put = upsert(
    tables.documents,
    key=("collection_id", "id"),
    values={
        "collection_id": param("collection"),
        "id": param("id"),
        "change": param("change"),
        "body": param("body"),
        "popularity": 0.0,
        "at": param("at"),
    },
    change={"change": param("change"), "body": param("body"), "at": param("at")},
)
_of = _d.collection_id == param("collection")
_body = select(_d.body).where(_of, _d.id == param("id"), _d.body.is_not(None))
_bodies = select(_d.id, _d.body).where(_of, _d.body.is_not(None))
_known = select(_d.id, _d.popularity).where(_of, _d.id.in_(param("ids")))
_there = select(_d.id).where(_of, _d.id.in_(param("ids")), _d.body.is_not(None))
_clear = delete(tables.documents).where(_of, _d.id.in_(param("ids")))
_dead = select(_d.change).where(
    _of, _d.body.is_(None), _d.at < param("before")
).order_by(_d.change.desc()).limit(1)  # fmt: skip
_bury = delete(tables.documents).where(
    _of, _d.body.is_(None), _d.at < param("before"), _d.change <= param("upto")
)
_forget = (
    update(tables.collections)
    .where(_c.id == param("collection"), _c.forgotten_change < param("upto"))
    .values(forgotten_change=param("upto"))
)
_active = select(_c.id).where(_c.state == "active")


def _by_name(name: str) -> str:
    """Queue what is written under one name, instead of having PostgreSQL abort all but one. Under
    an alias it stands in another queue: whose it is, is not known before the transaction, which
    then is tried again; none is lost."""
    return name


def _now(ctx: Context) -> datetime:
    """Return the time by the machine's clock, by which indexes keep up, whatever the site's is."""
    return from_us(ctx.runtime.clock.now_us())


async def find_collection(ctx: Context, name: str) -> Whole:
    """Return a collection that documents may be put into. Raises NotFound, and Conflict for one
    that a service writes."""
    found = await whole_of(ctx, name)
    if found is None:
        raise unknown(name)
    if found.projection:
        raise written_by(found.projection)
    return found


async def write(ctx: Context, collection: ID, bodies: Mapping[str, bytes | None]) -> int:
    """Put documents, or delete those without a body; return the number of the last change. A few
    statements on PostgreSQL, however many they are. The collection's row is changed first, so what
    others put meanwhile comes after."""
    moved = await ctx.db.one(_advance, _Advanced, id=collection, count=len(bodies))
    await keep(ctx, collection, moved.last_change, bodies)
    return moved.last_change


async def keep(ctx: Context, collection: ID, last: int, bodies: Mapping[str, bytes | None]) -> None:
    """Keep changes of documents of which `last` is the number of the last one."""
    first = last - len(bodies) + 1
    if len(bodies) <= 2 or ctx.session.dialect == "sqlite":
        for change, (id, body) in enumerate(bodies.items(), first):
            await ctx.db.run(
                _put, collection=collection, id=id, change=change, body=body, at=_now(ctx)
            )
    else:
        await _write_many(ctx, collection, bodies, first)
    ctx.emit(DocumentsChanged(collection, last))


async def _write_many(
    ctx: Context, collection: ID, bodies: Mapping[str, bytes | None], first: int
) -> None:
    known = await ctx.db.all(_known, _Known, collection=collection, ids=list(bodies))
    popularity = {one.id: one.popularity for one in known}
    await ctx.db.run(_clear, collection=collection, ids=list(popularity))
    rows = [
        {"collection_id": collection, "id": id, "change": change, "body": body,
         "popularity": popularity.get(id, 0.0), "at": _now(ctx)}
        for change, (id, body) in enumerate(bodies.items(), first)
    ]  # fmt: skip
    await ctx.db.insert_all(tables.documents, rows)


@service.command("PUT /collections/{name}/documents/{id}", needs=WRITE, serial_by=_by_name)
async def put_document(ctx: Context, name: str, id: str, body: dict[str, Any]) -> Written:
    """Put a document, in place of the one with its id if there is one. Raises Unprocessable for
    what the schema does not allow, with a pointer to each such place."""
    found = await find_collection(ctx, name)
    if body.setdefault("id", id) != id:
        fault = Fault("/id", f"expected {id[:64]!r}, as in the path")
        raise InvalidDocument("The document has another id than the path.", errors=(fault,))
    return Written(id, await write(ctx, found.id, {id: written(body, found.schema)}))


@service.command(
    "POST /collections/{name}/documents", needs=WRITE, serial_by=_by_name,
    body_bytes_max=BATCH_BYTES_MAX, deadline_s=30,
)  # fmt: skip
async def put_documents(ctx: Context, name: str, raw: RawBody) -> Taken:
    """Put many documents, one JSON object a line (NDJSON), at most 1,000. A line that is refused is
    told with its number and does not keep back the others; of lines with one id the last counts."""
    found = await find_collection(ctx, name)
    every = list(islice(lines(raw.body, found.schema), BATCH_MAX + 1))
    if len(every) > BATCH_MAX:
        raise TooLarge(f"At most {BATCH_MAX} documents go into one request; send the rest next.")
    bodies = {line.id: line.body for line in every if line.refused is None}
    refused = tuple(_refused(line) for line in every if line.refused is not None)
    change = await write(ctx, found.id, bodies) if bodies else found.last_change
    return Taken(len(every) - len(refused), refused, change)


def _refused(line: Line) -> Refused:
    assert line.refused is not None
    return Refused(line.number, line.refused.document())


@service.query("GET /collections/{name}/documents", needs=READ)
async def list_documents(ctx: Context, name: str, page: PageRequest) -> Page[msgspec.Raw]:
    """List all documents of a collection as they were put, by their ids: to copy them, or to look
    at what no search finds. Raises NotFound."""
    found = await whole_of(ctx, name)
    if found is None:
        raise unknown(name)
    bodies: Page[_Body] = await ctx.db.page(
        _bodies, _Body, page, order=(_d.id,), collection=found.id
    )
    return Page([msgspec.Raw(one.body) for one in bodies.items], bodies.next)


@service.query("GET /collections/{name}/documents/{id}", needs=READ)
async def get_document(ctx: Context, name: str, id: str) -> msgspec.Raw:
    """Return a document as it was put. Raises NotFound."""
    found = await whole_of(ctx, name)
    if found is None:
        raise unknown(name)
    body = await ctx.db.value(_body, bytes, collection=found.id, id=id)
    if body is None:
        raise NotFound(f"There is no document {id[:64]} in {name[:64]}.")
    return msgspec.Raw(body)


@service.command("DELETE /collections/{name}/documents/{id}", needs=WRITE, serial_by=_by_name)
async def delete_document(ctx: Context, name: str, id: str) -> Deleted:
    """Delete a document. Raises NotFound."""
    return await delete_documents(ctx, name, Ids((id,)))


@service.command("POST /collections/{name}/documents/delete", needs=WRITE, serial_by=_by_name)
async def delete_documents(ctx: Context, name: str, body: Ids) -> Deleted:
    """Delete documents by their ids; those that are not there are not counted. To delete by a
    filter, search with it first. Raises NotFound where none of them is there."""
    found = await find_collection(ctx, name)
    there = await ctx.db.all(_there, str, collection=found.id, ids=list(body.ids))
    if not there:
        raise NotFound(f"No such document is in {name[:64]}.")
    return Deleted(len(there), await write(ctx, found.id, dict.fromkeys(there)))


# ---- keeping


@service.every("47 2 * * *", spread_s=3600)
async def forget_deletions(ctx: Context) -> None:
    """Forget deletions that every index must have heard of."""
    before = _now(ctx) - KEPT
    for collection in await ctx.db.all(_active, str):
        upto = await ctx.db.value(_dead, int, collection=collection, before=before)
        if upto is None:
            continue
        await ctx.db.run(_bury, collection=collection, before=before, upto=upto)
        await ctx.db.run(_forget, collection=collection, upto=upto)
