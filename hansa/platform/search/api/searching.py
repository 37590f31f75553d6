"""Searching: one collection, several at once, and what a beginning of a query may become."""

import asyncio
import time
from functools import partial
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from hansa.kernel import machine
from hansa.kernel.compiler import param, select
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import (
    DeadlineExceeded,
    Denied,
    Overloaded,
    Problem,
    Unprocessable,
)
from hansa.kernel.structs import Struct
from hansa.platform.search import effort, tables
from hansa.platform.search import search as service
from hansa.platform.search.access import READ, filter_for, may_see_words
from hansa.platform.search.api.collections import READ as READ_COLLECTIONS
from hansa.platform.search.api.collections import Name, whole_of
from hansa.platform.search.api.projecting import projection_of
from hansa.platform.search.filters import Filter
from hansa.platform.search.fusing import fused
from hansa.platform.search.indexes import Indexes
from hansa.platform.search.opened import Opened
from hansa.platform.search.process import query_keys, visitor_key
from hansa.platform.search.request import (
    FILTER_LETTERS_MAX,
    Q_LETTERS_MAX,
    Facet,
    Found,
    Hit,
    SearchRequest,
)
from hansa.platform.search.tracking import ids_of, named, normal, who

SEARCHES_MAX: Final = 20
"""Searches in one request."""
MERGED_MAX: Final = 100
CHANGE_WAIT_S: Final = 2.0
"""How long a search waits for a change that it has to have seen."""

_c = tables.collections.c
_last_change = select(_c.last_change).where(_c.id == param("id"), _c.state == "active")

Text = Annotated[str, Meta(max_length=Q_LETTERS_MAX)]
Names = Annotated[str, Meta(max_length=1_000)]


class OneSearch(SearchRequest, kw_only=True):
    """A search in a collection, by its name or an alias, among several."""

    collection: Name


class SeveralSearches(Struct):
    """Several searches. `merge` gives one list of hits as well, by reciprocal rank fusion (Cormack,
    Clarke and Buettcher 2009), with at most `per_page` of them."""

    searches: Annotated[
        tuple[OneSearch, ...],
        Meta(min_length=1, max_length=SEARCHES_MAX, examples=[[{"collection": "products"}]]),
    ]
    merge: bool = False
    per_page: Annotated[int, Meta(ge=1, le=MERGED_MAX)] = 10


class MergedHit(Struct):
    """A hit of one of several searches."""

    collection: str
    hit: Hit


class SeveralFound(Struct):
    """What each search found, in their order, and the hits of all of them where that was asked."""

    results: tuple[Found, ...]
    merged: tuple[MergedHit, ...] | None = None


class Suggestions(Struct):
    """What a beginning may become, the best first."""

    suggestions: tuple[str, ...]


@service.query("POST /collections/{name}/search", needs=PUBLIC)
async def search_collection(ctx: Context, name: str, body: SearchRequest) -> Found:
    """Search a collection. Visitors find what its open filter lets through, scoped keys what theirs
    does. Raises NotFound for no such collection, Unprocessable (`invalid-filter`,
    `invalid-search`) for what the schema does not allow."""
    return await run_search(ctx, name, body)


@service.query("GET /collections/{name}/search", needs=PUBLIC)
async def search_by_address(
    ctx: Context,
    name: str,
    q: Text = "",
    filter: Annotated[str, Meta(max_length=FILTER_LETTERS_MAX)] = "",
    facets: Names = "",
    sort: Names = "",
    page: Annotated[int, Meta(ge=1, le=1000)] = 1,
    per_page: Annotated[int, Meta(ge=0, le=100)] = 10,
    prefix: bool = False,
    highlight: Names = "",
) -> Found:
    """Search as `search_collection` does, with what a query string can say; `facets`, `sort` and
    `highlight` are names with commas between them."""
    request = SearchRequest(
        q, filter, tuple(Facet(one) for one in _names(facets)), _names(sort), page, per_page,
        prefix=prefix, highlight=_names(highlight),
    )  # fmt: skip
    return await run_search(ctx, name, request)


def _searches(body: SeveralSearches) -> int:
    return len(body.searches)


@service.query("POST /multi", needs=PUBLIC, cost=_searches)
async def search_several(ctx: Context, body: SeveralSearches) -> SeveralFound:
    """Search several times in one request; each as `search_collection` does, and as many of those
    it counts in the quotas."""
    results: list[Found] = []
    for number, one in enumerate(body.searches):
        if machine.monotonic() >= ctx.run.deadline:
            raise DeadlineExceeded("The searches before took all of the time; ask for fewer.")
        await asyncio.sleep(0)  # others have their turn between the searches
        try:
            results.append(await run_search(ctx, one.collection, one))
        except Problem as refused:
            raise refused.within(f"/searches/{number}") from None
    if not body.merge:
        return SeveralFound(tuple(results))
    names = [one.collection for one in body.searches]
    order = fused([len(found.hits) for found in results])[: body.per_page]
    merged = tuple(MergedHit(names[which], results[which].hits[place]) for which, place in order)
    return SeveralFound(tuple(results), merged)


@service.query("GET /collections/{name}/suggestions", needs=PUBLIC)
async def suggest(
    ctx: Context, name: str, q: Text, limit: Annotated[int, Meta(ge=1, le=20)] = 5
) -> Suggestions:
    """Return what somebody who types `q` may be about to ask: frequent queries that found
    something, then words of the documents. Who may find only a part of them is told nothing."""
    opened, always = await _of(ctx, name)
    if not may_see_words(ctx.principal, always):
        return Suggestions(())
    begun = normal(q)
    frequent = [one for one in opened.frequent if one.startswith(begun)][:limit]
    words = await ctx.get(Indexes).suggest(opened, q, limit)
    return Suggestions(tuple(dict.fromkeys([*frequent, *words]))[:limit])


def _names(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


async def _of(ctx: Context, name: str) -> tuple[Opened, Filter | None]:
    """Return a collection with the filter that the caller's searches in it always have."""
    indexes = ctx.get(Indexes)
    opened = indexes.peek(ctx.site, name)
    if opened is None:
        await _admit(ctx, name)
        opened = await indexes.find(ctx.site, name)
    names = (name, opened.whole.name)
    return opened, filter_for(ctx.principal, names, opened.open_filter, is_open=opened.is_open)


async def _admit(ctx: Context, name: str) -> None:
    """Refuse who may not search a collection before anything is done for them that takes longer
    where there is one. Raises NotFound and Denied."""
    if ctx.principal.allows(READ):
        return
    whole = await whole_of(ctx, name)
    projected = projection_of(name, ctx.runtime.services)
    names = (name,) if whole is None else (name, whole.name)
    said = projected if whole is None else whole
    is_open = said is not None and said.open_filter is not None
    filter_for(ctx.principal, names, None, is_open=is_open)


async def _see(ctx: Context, opened: Opened, change: int) -> None:
    """Wait until an index has a change. Raises Unprocessable at once where no change has such a
    number, and Overloaded where it takes long."""
    if change > opened.wanted:
        last = await ctx.db.value(_last_change, int, id=opened.whole.id)
        if last is None or change > last:
            raise Unprocessable(
                "No change of this collection has such a number yet; send one that putting or"
                " deleting documents answered.",
                slug="unknown-change",
            )
    deadline = min(ctx.run.deadline, machine.monotonic() + CHANGE_WAIT_S)
    if not await opened.wait_for(change, deadline):
        raise Overloaded(
            "The index has not come to this change yet; ask again.",
            slug="index-behind", retry_after_s=1,
        )  # fmt: skip


def _asker(ctx: Context, always: Filter | None) -> str:
    """Return who asks, "" for those whose words are not for others: who finds only a part is not to
    be told what is searched for in the rest, nor the others what this part has."""
    if not may_see_words(ctx.principal, always):
        return ""
    return who(visitor_key(ctx.runtime, ctx.site), ctx.now.date(), ctx.principal)


async def run_search(ctx: Context, name: str, request: SearchRequest) -> Found:
    """Search a collection as whoever calls may."""
    opened, always = await _of(ctx, name)
    sees_all = may_see_words(ctx.principal, always)
    if request.explain and not (sees_all and ctx.principal.allows(READ_COLLECTIONS)):
        raise Denied(f"It takes the permissions {READ_COLLECTIONS} and {READ} to see why.")
    most = effort.STRANGERS_MAX if ctx.principal.is_stranger else effort.KEYS_MAX
    effort.check(request, opened.schema, most)
    if request.change > opened.index.checkpoint:
        await _see(ctx, opened, request.change)
        opened, always = await _of(ctx, name)  # what may be found can be another thing by now
    began = time.perf_counter_ns()
    found = await ctx.get(Indexes).search(opened, request, always)
    query_id = ""
    if request.q and request.analytics:
        q, collection = normal(request.q), opened.whole.id
        ids = ids_of(found.hits)
        asker = partial(_asker, ctx, always)
        ctx.get(Indexes).uses.note(ctx.site, collection, q, found, ids, asker)
        first = (request.page - 1) * request.per_page + 1
        key = query_keys(ctx.runtime, ctx.site)[0]
        query_id = named(key, collection, q, ctx.now, first, ids)
    if not sees_all:
        found = replace(found, hits=tuple(replace(hit, score=0.0) for hit in found.hits))
    took_us = (time.perf_counter_ns() - began) // 1_000
    return replace(found, query_id=query_id, took_us=took_us)
