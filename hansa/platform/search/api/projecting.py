"""Projecting: documents that a service makes, kept in the collection of its projection."""

import logging
from collections.abc import Iterable
from typing import Any, Final

from hansa.kernel import codec
from hansa.kernel.compiler import param, select, update
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.problems import Conflict
from hansa.kernel.service import Service
from hansa.kernel.structs import Struct
from hansa.platform.search import tables
from hansa.platform.search.api import documents
from hansa.platform.search.api.collections import Collection, touch, write_collection
from hansa.platform.search.api.events import ProjectionWanted
from hansa.platform.search.documents import InvalidDocument, check_document, pruned
from hansa.platform.search.schema import Schema

logger = logging.getLogger("hansa.search")

ROLLOUT_S: Final = 60
"""How many seconds after a document of an older release all are made once more; each one puts that
off."""
_declared: Final[dict[str, "Projected"]] = {}
"""The projections of all modules that were imported, by their ids; which of them are there, the
services say that run together."""


class Projected(Struct):
    """A declared projection: its id ``commerce.products``, and what its collection is."""

    id: str
    name: str
    version: int
    schema: Schema
    open_filter: str | None

    def __post_init__(self) -> None:
        """Note that there is one."""
        _declared.setdefault(self.id, self)

    @property
    def service(self) -> str:
        """The name of the service that declares it."""
        return self.id.partition(".")[0]


class Made(Struct):
    """A document that a version of a service has made, or null for one that is not to be found any
    more; without an id that these were all. `is_new` says that the entity has just come to be."""

    id: ID
    version: int
    is_new: bool
    document: dict[str, Any] | None


class _Advanced(Struct):
    id: ID
    projection_version: int
    last_change: int


_c, _d = tables.collections.c, tables.documents.c
_shown = select(*[_c[name] for name in Collection.__struct_fields__])
_by_name = _shown.where(_c.name == param("name"), _c.state == "active")
_advance = (
    update(tables.collections)
    .where(
        _c.name == param("name"),
        _c.state == "active",
        _c.projection == param("projection"),
        _c.projection_version >= param("version"),
    )
    .values(last_change=_c.last_change + 1)
    .returning(_c.id, _c.projection_version, _c.last_change)
)
_fill = (
    update(tables.collections)
    .where(_c.id == param("id"), _c.is_filled.is_(False))
    .values(is_filled=True)
)


def projection_of(name: str, services: Iterable[Service]) -> Projected | None:
    """Return the projection of some services whose collection has a name, None if there is none.
    Raises ValueError where two of them have it."""
    return projections_of(services).get(name)


def projections_of(services: Iterable[Service]) -> dict[str, Projected]:
    """Return the projections of some services, by the names of their collections. Raises ValueError
    where two services have one of a name."""
    there = {one.name for one in services}
    found: dict[str, Projected] = {}
    for one in _declared.values():
        if one.service in there and found.setdefault(one.name, one) is not one:
            raise ValueError(f"the collection {one.name} is that of {found[one.name].id} already,"
                             f" and cannot be that of {one.id} too")  # fmt: skip
    return found


async def adopted(ctx: Context, projected: Projected, first: ID = "") -> Collection:
    """Return the collection of a projection, made or brought to the declared version where it is of
    an older one; then all documents are wanted, or where it is new because of an entity that has
    just come to be (`first`) those of older ones: later ones are heard of by themselves. Raises
    Conflict where the site has another collection of its name."""
    before = await ctx.db.first(_by_name, Collection, name=projected.name)
    if before is not None and before.projection != projected.id:
        raise Conflict(
            f"The site has a collection {projected.name} of its own; remove it, and {projected.id}"
            " takes its place.",
            slug="name-taken",
        )
    if before is not None and before.projection_version >= projected.version:
        return before
    after = await write_collection(
        ctx, projected.name, before, projected.schema, projected.open_filter, projected.id,
        projected.version,
    )  # fmt: skip
    upto = "" if before is not None else first
    ctx.emit(ProjectionWanted(after.id, projected.id, projected.version, upto, 0))
    return after


async def apply(ctx: Context, projected: Projected, made: Made) -> None:
    """Keep a document that a service has made. Three statements."""
    if not made.id:
        collection = await adopted(ctx, projected)
        if await ctx.db.run(_fill, id=collection.id):
            await touch(ctx, collection.id)
        return
    about = {
        "name": projected.name, "projection": projected.id, "version": projected.version,
    }  # fmt: skip
    moved = await ctx.db.first(_advance, _Advanced, **about)
    if moved is None:
        await adopted(ctx, projected, made.id if made.is_new else "")
        moved = await ctx.db.one(_advance, _Advanced, **about)
    body = None
    if made.document is not None:
        document, schema = made.document | {"id": made.id}, projected.schema
        if made.version < moved.projection_version:
            document, schema = await _of_older(ctx, projected, made, document)
        try:
            check_document(document, schema)
        except InvalidDocument as misfit:  # what can be found of it is worth more than nothing
            logger.warning("%s of %s: %s", projected.id, made.id, misfit.detail)
            document = pruned(document, schema)
            check_document(document, schema)
        body = codec.encode(document)
    await documents.keep(ctx, moved.id, moved.last_change, {made.id: body})


async def _of_older(
    ctx: Context, projected: Projected, made: Made, document: dict[str, Any]
) -> tuple[dict[str, Any], Schema]:
    """While two releases run side by side the older one makes some documents as it knows them: they
    are kept as far as they fit, and all are wanted again when it must be gone."""
    found = await ctx.db.one(_by_name, Collection, name=projected.name)
    ctx.emit(ProjectionWanted(found.id, projected.id, found.projection_version, "", ROLLOUT_S))
    names = {"id", *(field.name for field in found.schema.fields)}
    kept = {name: value for name, value in document.items() if name in names}
    return kept, found.schema
