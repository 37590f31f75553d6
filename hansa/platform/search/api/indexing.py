"""Indexing: how far the index of a collection is, and having it made anew."""

from typing import Literal

from hansa.kernel.compiler import param, update
from hansa.kernel.context import Context
from hansa.kernel.structs import Struct
from hansa.platform.search import search as service
from hansa.platform.search import tables
from hansa.platform.search.api.collections import READ, WRITE, touch, unknown, whole_of
from hansa.platform.search.indexes import Indexes


class IndexState(Struct):
    """The index of a collection in the process that answers: ``closed`` until somebody searches,
    ``behind`` while it has changes to take, ``renewing`` while another one is made that has to take
    its place. `change` is the last one that it has, `revision` what it knows of the collection's
    settings; `documents` is how many a search can find. All three are 0 where it is closed."""

    state: Literal["closed", "behind", "renewing", "current"]
    documents: int
    change: int
    last_change: int
    generation: int
    revision: int


class Rebuilding(Struct):
    """The generation that every index of a collection is made anew as."""

    generation: int


_c = tables.collections.c
_renew = (
    update(tables.collections)
    .where(_c.id == param("id"))
    .values(generation=_c.generation + 1)
    .returning(_c.generation)
)


@service.query("GET /collections/{name}/index", needs=READ)
async def get_index(ctx: Context, name: str) -> IndexState:
    """Return how far the index of a collection is. Raises NotFound."""
    found = await whole_of(ctx, name)
    if found is None:
        raise unknown(name)
    opened = ctx.get(Indexes).opened(ctx.site, found.id)
    if opened is None:
        return IndexState("closed", 0, 0, found.last_change, found.generation, 0)
    behind = opened.index.checkpoint < found.last_change
    state: Literal["renewing", "behind", "current"] = "behind" if behind else "current"
    return IndexState(
        "renewing" if opened.is_spoilt or opened.generation != found.generation else state,
        opened.index.documents, opened.index.checkpoint, found.last_change, opened.generation,
        opened.whole.revision,
    )  # fmt: skip


@service.command("POST /collections/{name}/rebuild", needs=WRITE, status=202)
async def rebuild_index(ctx: Context, name: str) -> Rebuilding:
    """Have every process make its index of a collection anew from the documents, beside the one
    that is searched until then. What is found stays the same, unless an index was wrong. Raises
    NotFound."""
    found = await whole_of(ctx, name)
    if found is None:
        raise unknown(name)
    generation = await ctx.db.value(_renew, int, id=found.id)
    await touch(ctx, found.id)
    return Rebuilding(generation or found.generation)
