"""Searching: one collection, several at once, and what a beginning of a query may become."""

import time
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from hansa.kernel import machine
from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import DeadlineExceeded, Denied, Overloaded
from hansa.kernel.structs import Struct
from hansa.platform.search import search as service
from hansa.platform.search.access import filter_for, may_see_words
from hansa.platform.search.api.collections import READ as READ_COLLECTIONS
from hansa.platform.search.api.collections import Name
from hansa.platform.search.filters import Filter
from hansa.platform.search.fusing import fused
from hansa.platform.search.indexes import Indexes
from hansa.platform.search.opened import Opened
from hansa.platform.search.process import query_keys
from hansa.platform.search.request import (
    FILTER_LETTERS_MAX,
    Q_LETTERS_MAX,
    Facet,
    Found,
    Hit,
    SearchRequest,
)
from hansa.platform.search.tracking import named, normal

SEARCHES_MAX: Final = 20
"""Searches in one request."""
MERGED_MAX: Final = 100
CHANGE_WAIT_S: Final = 2.0
"""How long a search waits for a change that it has to have seen."""

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


@service.query("POST /multi", needs=PUBLIC)
async def search_several(ctx: Context, body: SeveralSearches) -> SeveralFound:
    """Search several times in one request; each as `search_collection` does."""
    results: list[Found] = []
    for one in body.searches:
        if machine.monotonic() >= ctx.run.deadline:
            raise DeadlineExceeded("The searches before took all of the time; ask for fewer.")
        results.append(await run_search(ctx, one.collection, one))
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
    words = opened.index.suggest(q, limit)
    return Suggestions(tuple(dict.fromkeys([*frequent, *words]))[:limit])


def _names(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


async def _of(ctx: Context, name: str) -> tuple[Opened, Filter | None]:
    indexes = ctx.get(Indexes)
    opened = indexes.peek(ctx.site, name) or await indexes.find(ctx.site, name)
    names = (name, opened.whole.name)
    return opened, filter_for(ctx.principal, names, opened.open_filter, is_open=opened.is_open)


async def run_search(ctx: Context, name: str, request: SearchRequest) -> Found:
    """Search a collection as whoever calls may."""
    opened, always = await _of(ctx, name)
    if request.explain and not ctx.principal.allows(READ_COLLECTIONS):
        raise Denied(f"It takes the permission {READ_COLLECTIONS} to see why.")
    if request.change > opened.index.checkpoint:
        deadline = min(ctx.run.deadline, machine.monotonic() + CHANGE_WAIT_S)
        if not await opened.wait_for(request.change, deadline):
            raise Overloaded(
                f"The index is at change {opened.index.checkpoint}, not yet at {request.change}.",
                slug="index-behind", retry_after_s=1,
            )  # fmt: skip
    began = time.perf_counter_ns()
    found = await ctx.get(Indexes).search(opened, request, always)
    query_id = ""
    if request.q and request.analytics:
        q = normal(request.q)
        ctx.get(Indexes).uses.note(ctx.site, opened.whole.id, q, found)
        query_id = named(query_keys(ctx.runtime, ctx.site)[0], opened.whole.id, q, ctx.now)
    if not may_see_words(ctx.principal, always):
        found = replace(found, corrected={})
    took_us = (time.perf_counter_ns() - began) // 1_000
    return replace(found, query_id=query_id, took_us=took_us)
