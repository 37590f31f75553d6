"""Following: what whoever has an index reads to keep it up with its documents.

The numbers of changes say what is new, and nothing of whether the rows are those that the index was
made of: rows that are restored to an earlier time give the same numbers to other changes. The log
tells: each change is an event of its collection, with a name that is given once. What must never
happen here: rows read as of one moment, and what is said of them as of another.
"""

from typing import Final

from sqlalchemy import func

from hansa.kernel import log
from hansa.kernel.compiler import param, select
from hansa.kernel.context import Context
from hansa.kernel.ids import ID
from hansa.kernel.operation import INTERNAL
from hansa.kernel.structs import Struct
from hansa.platform.search import search as service
from hansa.platform.search import tables
from hansa.platform.search.point import Point

CHANGES_MAX: Final = 1_000


class Changed(Struct):
    """A change of a document; without a body it was deleted."""

    id: str
    change: int
    body: bytes | None
    popularity: float


class Changes(Struct):
    """What comes after a change: at most `CHANGES_MAX` of them, and of the collection as they are
    read its revision, its last change and the point of its history. `then` is the id of the event
    that was asked for, empty where the log does not have it."""

    changes: tuple[Changed, ...]
    revision: int
    last_change: int
    point: Point
    then: str


class _Said(Struct):
    revision: int
    last_change: int
    forgotten_change: int


_c, _d = tables.collections.c, tables.documents.c
_said = select(_c.revision, _c.last_change, _c.forgotten_change).where(
    _c.id == param("collection"), _c.state == "active"
)
_after = (
    select(_d.id, _d.change, _d.body, _d.popularity)
    .where(_d.collection_id == param("collection"), _d.change > param("after"))
    .order_by(_d.change)
    .limit(CHANGES_MAX)
)
_how_many = (
    select(func.count())
    .select_from(tables.documents)
    .where(_d.collection_id == param("collection"), _d.change > param("after"))
)
_active = select(_c.id).where(_c.state == "active")


@service.query(needs=INTERNAL)
async def read_changes(ctx: Context, collection: ID, after: int, seq: int) -> Changes | None:
    """Return the next changes of a collection after the one with a number, as of one moment, and
    which event of it had a sequence; None where the collection was removed."""
    said = await ctx.db.first(_said, _Said, collection=collection)
    if said is None:
        return None
    changes = await ctx.db.all(_after, Changed, collection=collection, after=after)
    aggregate = f"{service.name}:{collection}"
    newest, event, then = await log.tail(ctx.session, ctx.site, aggregate, seq)
    point = Point(newest, event, said.forgotten_change, ctx.runtime.clock.now_us())
    return Changes(tuple(changes), said.revision, said.last_change, point, then)


@service.query(needs=INTERNAL)
async def count_changes(ctx: Context, collection: ID, after: int) -> int:
    """Return how many documents of a collection changed after the change with a number; one that
    changed several times is one."""
    return await ctx.db.value(_how_many, int, collection=collection, after=after) or 0


@service.query(needs=INTERNAL)
async def read_active(ctx: Context) -> list[ID]:
    """Return the collections of a site that were not removed."""
    return await ctx.db.all(_active, str)
