"""Collections: what there is to search, its schema, and other names for it."""

from datetime import date, datetime
from typing import Annotated, Final

from msgspec import Meta
from sqlalchemy import and_, func

from hansa.kernel.compiler import delete, param, select, update, upsert
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL
from hansa.kernel.problems import Conflict, Fault, NotFound, Unprocessable
from hansa.kernel.structs import Struct
from hansa.platform.search import filters, tables
from hansa.platform.search import search as service
from hansa.platform.search.analysis import UnknownLocale, language_of
from hansa.platform.search.api.events import CollectionChanged
from hansa.platform.search.curation import Curation
from hansa.platform.search.documents import InvalidSchema, check_schema
from hansa.platform.search.request import FILTER_LETTERS_MAX
from hansa.platform.search.schema import Schema

COLLECTIONS_MAX: Final = 100
"""Collections of a site, and names for them."""
READ: Final = "search.collections:read"
WRITE: Final = "search.collections:write"
PURGE_MAX: Final = 1_000

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,62}$")]
OpenFilter = Annotated[str, Meta(max_length=FILTER_LETTERS_MAX)]


class CollectionForm(Struct):
    """What a collection is to be. `open_filter` lets visitors without a key search what it lets
    through (``""``: everything); without it searching takes a key."""

    schema: Schema
    open_filter: OpenFilter | None = None


class Collection(Struct):
    """A collection. `generation` counts its schemas; `projection` names the service and the
    projection that write it, where the API does not; `last_change` is the number of the newest
    change of a document, and `is_filled` is false until all that a projection has was
    brought once."""

    id: ID
    name: str
    schema: Schema
    open_filter: str | None
    projection: str
    projection_version: int
    is_filled: bool
    generation: int
    revision: int
    last_change: int
    forgotten_change: int
    created_at: datetime
    changed_at: datetime


class Whole(Struct):
    """A collection with its curation, as a process needs it to search."""

    id: ID
    name: str
    schema: Schema
    curation: Curation
    open_filter: str | None
    projection: str
    projection_version: int
    is_filled: bool
    generation: int
    revision: int
    last_change: int
    forgotten_change: int


class Alias(Struct):
    """Another name for a collection."""

    name: str
    collection: str


class Target(Struct):
    """The collection that a name is to stand for."""

    collection: Name


_c, _a, _d = tables.collections.c, tables.aliases.c, tables.documents.c
_q, _k = tables.queries.c, tables.clicks.c
_shown = [_c[name] for name in Collection.__struct_fields__]
_whole = [_c[name] for name in Whole.__struct_fields__]
_every = select(*_shown).where(_c.state == "active").order_by(_c.name)
_by_name = select(*_shown).where(_c.name == param("name"), _c.state == "active")
_whole_by_name = select(*_whole).where(_c.name == param("name"), _c.state == "active")
_whole_by_id = select(*_whole).where(_c.id == param("id"), _c.state == "active")
_alias = select(_a.collection_id).where(_a.name == param("name"))
_aliases = (
    select(_a.name, _c.name.label("collection"))
    .join(tables.collections, _c.id == _a.collection_id)
    .order_by(_a.name)
)
_names_of = select(_a.name).where(_a.collection_id == param("id"))
_change = (
    update(tables.collections)
    .where(_c.id == param("id"))
    .values(
        schema=param("schema"),
        open_filter=param("open_filter"),
        projection_version=param("version"),
        generation=param("generation"),
        revision=param("revision"),
        changed_at=param("now"),
    )
)
_touch = (
    update(tables.collections)
    .where(_c.id == param("id"))
    .values(revision=_c.revision + 1, changed_at=param("now"))
    .returning(_c.id, _c.name, _c.revision)
)
_remove = (
    update(tables.collections)
    .where(_c.id == param("id"))
    .values(state="removed", name=_c.id, revision=_c.revision + 1, changed_at=param("now"))
)
_set_alias = upsert(
    tables.aliases,
    key=("name",),
    values={"name": param("name"), "collection_id": param("collection")},
    change={"collection_id": param("collection")},
)
_drop_alias = delete(tables.aliases).where(_a.name == param("name"))


async def whole_of(ctx: Context, name: str) -> Whole | None:
    """Return the collection that a name or an alias stands for, None if there is none."""
    found = await ctx.db.first(_whole_by_name, Whole, name=name)
    if found is not None:
        return found
    target = await ctx.db.value(_alias, str, name=name)
    return None if target is None else await ctx.db.first(_whole_by_id, Whole, id=target)


def unknown(name: str) -> NotFound:
    """Return the refusal of a collection that is not there."""
    return NotFound(
        f"There is no collection {name[:64]} on this site; PUT /search/collections/{name[:64]}"
        " makes it.",
        slug="unknown-collection",
    )


@service.query(needs=INTERNAL)
async def read_collection(ctx: Context, name: str) -> Whole | None:
    """Return what a process needs to search a collection, by its name or an alias."""
    return await whole_of(ctx, name)


@service.query(needs=INTERNAL)
async def read_collection_by_id(ctx: Context, id: ID) -> Whole | None:
    """Return what a process needs to search a collection; None where it was removed."""
    return await ctx.db.first(_whole_by_id, Whole, id=id)


@service.query("GET /collections", needs=READ)
async def list_collections(ctx: Context) -> list[Collection]:
    """List the site's collections by name."""
    return await ctx.db.all(_every, Collection)


@service.query("GET /collections/{name}", needs=READ)
async def get_collection(ctx: Context, name: str) -> Collection:
    """Return a collection, by its name. Raises NotFound."""
    found = await ctx.db.first(_by_name, Collection, name=name)
    if found is None:
        raise unknown(name)
    return found


def check_form(schema: Schema, open_filter: str | None) -> None:
    """Raise Unprocessable for a schema or an open filter that says what cannot be."""
    try:
        check_schema(schema)
    except InvalidSchema as wrong:
        faults = tuple(Fault(f"/schema{one.pointer}", one.detail) for one in wrong.errors)
        raise InvalidSchema(wrong.detail, errors=faults) from None
    try:
        language_of(schema.locale)
    except UnknownLocale as unknown:
        fault = Fault("/schema/locale", str(unknown))
        raise InvalidSchema(str(unknown), errors=(fault,)) from None
    if open_filter:
        filters.check(filters.parse(open_filter), schema)


@service.command("PUT /collections/{name}", needs=WRITE)
async def put_collection(ctx: Context, name: Name, body: CollectionForm) -> Collection:
    """Make a collection, or change it. With another schema its index is made anew from its
    documents, and until that is done it is searched by the old one; documents of which a field does
    not fit the new schema are found by the others. What an open filter hides is hidden as soon as
    processes hear of it. Raises Conflict for one that a service writes and for the name of an
    alias, and Unprocessable for a schema or an open filter that cannot be, and for more than 100
    collections and aliases."""
    check_form(body.schema, body.open_filter)
    before = await ctx.db.first(_by_name, Collection, name=name)
    if before is not None and before.projection:
        raise written_by(before.projection)
    return await write_collection(ctx, name, before, body.schema, body.open_filter)


async def write_collection(
    ctx: Context,
    name: str,
    before: Collection | None,
    schema: Schema,
    open_filter: str | None,
    projection: str = "",
    version: int = 0,
) -> Collection:
    """Make a collection, or change what it was `before`."""
    if before is None:
        return await _create(ctx, name, schema, open_filter, projection, version)
    renewed = before.schema != schema
    if not renewed and (before.open_filter, before.projection_version) == (open_filter, version):
        return before
    await ctx.db.run(
        _change,
        id=before.id,
        schema=schema,
        open_filter=open_filter,
        version=version,
        generation=before.generation + renewed,
        revision=before.revision + 1,
        now=ctx.now,
    )
    ctx.emit(CollectionChanged(before.id, name, before.revision + 1))
    return await ctx.db.one(_by_name, Collection, name=name)


async def _create(
    ctx: Context,
    name: str,
    schema: Schema,
    open_filter: str | None,
    projection: str,
    version: int,
) -> Collection:
    taken = await ctx.db.all(_every, Collection)
    others = await ctx.db.all(_aliases, Alias)
    if len(taken) + len(others) >= COLLECTIONS_MAX:
        raise Unprocessable(
            f"A site has at most {COLLECTIONS_MAX} collections and aliases.",
            slug="too-many-collections",
        )
    if any(one.name == name for one in others):
        raise Conflict(f"{name} is an alias; choose another name.", slug="name-taken")
    made = await ctx.db.insert(
        tables.collections,
        into=Collection,
        name=name,
        state="active",
        schema=schema,
        curation=Curation(),
        open_filter=open_filter,
        projection=projection,
        projection_version=version,
        is_filled=not projection,
        generation=1,
        revision=1,
        last_change=0,
        forgotten_change=0,
        created_at=ctx.now,
        changed_at=ctx.now,
    )
    ctx.emit(CollectionChanged(made.id, name, 1))
    return made


def written_by(projection: str) -> Conflict:
    """Return the refusal to write what a service writes."""
    return Conflict(
        f"The documents and the schema of this collection are written by {projection}.",
        slug="projected-collection",
    )


@service.command("DELETE /collections/{name}", needs=WRITE, status=204)
async def remove_collection(ctx: Context, name: str) -> None:
    """Remove a collection with its documents and aliases. Its name is free at once. Raises
    NotFound, and Conflict for one that a service writes."""
    found = await ctx.db.first(_by_name, Collection, name=name)
    if found is None:
        raise unknown(name)
    if found.projection:
        raise written_by(found.projection)
    for alias in await ctx.db.all(_names_of, str, id=found.id):
        await ctx.db.run(_drop_alias, name=alias)
    await ctx.db.run(_remove, id=found.id, now=ctx.now)
    ctx.emit(CollectionChanged(found.id, name, found.revision + 1))
    ctx.schedule(purge, at=ctx.now, id=f"purge:{found.id}", collection=found.id)


_some = select(_d.id).where(_d.collection_id == param("collection")).limit(PURGE_MAX)
_purge_documents = delete(tables.documents).where(
    _d.collection_id == param("collection"), _d.id.in_(param("ids"))
)
_some_clicks = (
    select(_k["at"])
    .where(_k.collection_id == param("collection"))
    .order_by(_k["at"])
    .limit(PURGE_MAX)
)
_purge_clicks = delete(tables.clicks).where(
    _k.collection_id == param("collection"), _k["at"] <= param("upto")
)
_first_day = select(func.min(_q.day)).where(_q.collection_id == param("collection"))
_of_day = and_(_q.collection_id == param("collection"), _q.day == param("day"))
_some_queries = select(_q.q).where(_of_day).limit(PURGE_MAX)
_purge_queries = delete(tables.queries).where(_of_day, _q.q.in_(param("qs")))
_purge_learned = delete(tables.learned).where(tables.learned.c.collection_id == param("collection"))


@service.due("search.purge")
async def purge(ctx: Context, collection: ID) -> None:
    """Take away the documents of a removed collection and what visitors did there, some at a time,
    and then itself."""
    ids = await ctx.db.all(_some, str, collection=collection)
    if ids:
        await ctx.db.run(_purge_documents, collection=collection, ids=ids)
    clicks = await ctx.db.all(_some_clicks, datetime, collection=collection)
    if clicks:
        await ctx.db.run(_purge_clicks, collection=collection, upto=clicks[-1])
    day = await ctx.db.value(_first_day, date, collection=collection)
    if day is not None:
        qs = await ctx.db.all(_some_queries, str, collection=collection, day=day)
        await ctx.db.run(_purge_queries, collection=collection, day=day, qs=qs)
    if ids or clicks or day is not None:
        ctx.schedule(purge, at=ctx.now, id=f"purge:{collection}", collection=collection)
        return
    await ctx.db.run(_purge_learned, collection=collection)  # at most `learning.LEARNED_MAX`
    await ctx.db.delete(tables.collections, collection)


# ---- other names


@service.query("GET /aliases", needs=READ)
async def list_aliases(ctx: Context) -> list[Alias]:
    """List the other names of the site's collections."""
    return await ctx.db.all(_aliases, Alias)


@service.command("PUT /aliases/{name}", needs=WRITE)
async def put_alias(ctx: Context, name: Name, body: Target) -> Alias:
    """Have a name stand for a collection from now on, whatever it stood for before; so a collection
    that was filled anew takes the place of another without a search in between that fails."""
    target = await ctx.db.first(_by_name, Collection, name=body.collection)
    if target is None:
        raise unknown(body.collection)
    if await ctx.db.first(_by_name, Collection, name=name) is not None:
        raise Conflict(f"{name} is a collection; choose another name.", slug="name-taken")
    before = await ctx.db.value(_alias, str, name=name)
    if before is None and len(await ctx.db.all(_aliases, Alias)) >= COLLECTIONS_MAX:
        raise Unprocessable(f"At most {COLLECTIONS_MAX} aliases.", slug="too-many-collections")
    await ctx.db.run(_set_alias, name=name, collection=target.id)
    await touch(ctx, target.id)
    if before not in (None, target.id):
        await touch(ctx, str(before))
    return Alias(name, target.name)


@service.command("DELETE /aliases/{name}", needs=WRITE, status=204)
async def remove_alias(ctx: Context, name: str) -> None:
    """Take a name away. Raises NotFound."""
    before = await ctx.db.value(_alias, str, name=name)
    if before is None:
        raise NotFound(f"There is no alias {name[:64]} on this site.")
    await ctx.db.run(_drop_alias, name=name)
    await touch(ctx, before)


class _Touched(Struct):
    id: ID
    name: str
    revision: int


async def touch(ctx: Context, collection: ID) -> None:
    """Have every process read anew what is said of a collection."""
    touched = await ctx.db.one(_touch, _Touched, id=collection, now=ctx.now)
    ctx.emit(CollectionChanged(touched.id, touched.name, touched.revision))
