"""Retrieval: the hits of a query in an order that depends on the documents alone.

The engine breaks ties by where a document happens to lie. Here documents of one score come by their
popularity, then by a number made from their id, whatever was written when and merged with what.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, Final

import tantivy
from tantivy import Occur, Query

from hansa.platform.search.engine.layout import ORDER, column

SLACK: Final = 16
"""How many more hits than are wanted are asked for, to see whether the last wanted has ties."""
TIED_MAX: Final = 20_000
"""How many hits of one score are put in order; of more, which come first is the engine's choice
until the index is at rest."""
DISTINCT_MAX: Final = 4_000
"""How many hits are gone through for the first of each value."""
LEVELS: Final = 65536.0
"""Scores that are the same in these parts of one are the same: sums of the same parts in another
order, as another segment has them, differ in their last bits."""

Scored = tuple[float, tantivy.DocAddress]

found_by: Final[Callable[[tantivy.SearchResult], int]] = attrgetter("count")
"""How many documents a result is of, which the engine's stubs do not tell."""


def restricted(query: Query, must: Sequence[Query], must_not: Sequence[Query] = ()) -> Query:
    """Return the query within others that score nothing, and outside of some."""
    if not must and not must_not:
        return query
    return Query.boolean_query(
        [
            (Occur.Must, query),
            *((Occur.Must, one) for one in must),
            *((Occur.MustNot, one) for one in must_not),
        ]
    )


def count(searcher: tantivy.Searcher, query: Query) -> int:
    """Return how many documents a query finds."""
    return found_by(searcher.search(query, 1))


def by_score(searcher: tantivy.Searcher, query: Query, need: int) -> tuple[int, list[Scored]]:
    """Return how many documents a query finds and the `need` best of them."""
    limit = need + SLACK
    while True:
        result = searcher.search(query, limit)
        hits: list[Scored] = result.hits
        if len(hits) < limit or limit >= TIED_MAX or _level(hits[need - 1]) != _level(hits[-1]):
            return found_by(result), in_order(searcher, hits, need)[:need]
        limit = min(limit * 8, TIED_MAX)


def in_order(searcher: tantivy.Searcher, hits: list[Scored], need: int) -> list[Scored]:
    """Return hits by score, the first `need` of them so that those of one score come by what
    decides between documents."""
    levels = [int(score * LEVELS) for score, _ in hits]
    if len(set(levels)) == len(levels):
        return hits
    tied = [
        place
        for place, (one, after) in enumerate(pairwise(levels))
        if one == after and levels[place] >= levels[min(need, len(levels)) - 1]
    ]
    if not tied:
        return hits
    first, last = tied[0], tied[-1] + 2
    some = hits[first:last]
    orders = searcher.fast_field_values(ORDER, [address for _, address in some])
    places = sorted(
        range(len(some)), key=lambda at: (levels[first + at], orders[at] or 0), reverse=True
    )
    return [*hits[:first], *(some[place] for place in places), *hits[last:]]


def _level(hit: Scored) -> int:
    return int(hit[0] * LEVELS)


def by_order(
    searcher: tantivy.Searcher, query: Query, begin: int, end: int
) -> tuple[int, list[Scored]]:
    """Return how many documents a query finds, and those at some places by popularity and id, as
    fits a query that finds without scoring."""
    result = searcher.search(
        query, max(end - begin, 1), offset=begin, order_by_field=ORDER, order=tantivy.Order.Desc
    )
    return found_by(result), [(0.0, address) for _, address in result.hits[: end - begin]]


class Key:
    """A column to sort by."""

    __slots__ = ("_schema", "column", "order")

    def __init__(self, path: str, engine: tantivy.Schema) -> None:
        name = path.removeprefix("-")
        self.column = column(name)
        self.order = tantivy.Order.Desc if path != name else tantivy.Order.Asc
        self._schema = engine

    def having(self, value: Any) -> tuple[list[Query], list[Query]]:
        """Return what must be so of documents with a value, and what must not."""
        if value is None:
            return [], [Query.exists_query(self.column)]
        same = Query.term_query(self._schema, self.column, value, "basic")
        return [Query.const_score_query(same, 0.0)], []


def by_keys(
    searcher: tantivy.Searcher,
    query: Query,
    scored: Query | None,
    keys: Sequence[Key],
    begin: int,
    end: int,
) -> tuple[int, list[Scored]]:
    """Return how many documents a query finds, and those from place `begin` and before `end` when
    they are sorted by keys, and then by what `scored` gives them, which finds the same; a document
    without a value comes last, either way.

    The engine sorts by one column. Where documents of one value reach into the page, those are
    asked for by themselves and sorted by the next key.
    """
    if not keys and scored is None:
        return by_order(searcher, query, begin, end)
    if not keys and scored is not None:
        found, hits = by_score(searcher, scored, end)
        return found, hits[begin:]
    key = keys[0]
    result = searcher.search(query, end + 1, order_by_field=key.column, order=key.order)
    found = found_by(result)
    page: list[Scored] = []
    for first, value, addresses in _runs(result.hits):
        last = first + len(addresses)
        if last <= begin or first >= end:
            continue
        if len(addresses) == 1 and (last < len(result.hits) or last == found):
            page.append((0.0, addresses[0]))
            continue
        having = key.having(value)
        same = restricted(query, *having)
        best = None if scored is None else restricted(scored, *having)
        places = max(begin - first, 0), end - first
        page.extend(by_keys(searcher, same, best, keys[1:], *places)[1])
    return found, page[: end - begin]


def _runs(
    hits: list[tuple[Any, tantivy.DocAddress]],
) -> Iterator[tuple[int, Any, list[tantivy.DocAddress]]]:
    """Hits of one value after each other: the first one's place, the value, where they are."""
    place = 0
    for value, run in groupby(hits, key=lambda hit: hit[0]):
        addresses = [address for _, address in run]
        yield place, value, addresses
        place += len(addresses)


def first_of_each(
    best: Callable[[int], tuple[int, list[Scored]]],
    value_of: Callable[[tantivy.DocAddress], Any],
    begin: int,
    end: int,
) -> tuple[int, list[Scored]]:
    """Return how many documents there are, and of those that are the first of their value the ones
    from a place to another. A document without a value is one of its own.

    How many values there are is not counted: that would mean to read every document.
    """
    want = max(4 * end, 1)
    while True:
        found, hits = best(want)
        seen: set[Any] = set()
        firsts: list[Scored] = []
        for hit in hits:
            if len(firsts) == end:
                break
            value = value_of(hit[1])
            if value is None or value not in seen:
                seen.add(value)
                firsts.append(hit)
        if len(firsts) == end or len(hits) >= found or want >= DISTINCT_MAX:
            return found, firsts[begin:end]
        want = min(4 * want, DISTINCT_MAX)
