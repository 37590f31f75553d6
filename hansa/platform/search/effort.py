"""Effort: how much one search has the engine do for its facets. Pure.

A facet is counted without what the filter says of its own field alone, so each one that something
is chosen in goes through the rest of the filter once more, and so does each range of a field that
has no column in order. What a request costs is the product of these rounds and of the conditions in
the filter, neither of which its own limit keeps small. What must never happen here: a refusal of
what a shop with all its facets asks for.
"""

from functools import lru_cache
from typing import Final

from hansa.kernel.problems import Unprocessable
from hansa.platform.search import filters
from hansa.platform.search.filters import All, Filter, Not, OneOf, Some
from hansa.platform.search.request import Facet, SearchRequest
from hansa.platform.search.schema import Schema

STRANGERS_MAX: Final = 1_000
"""Conditions in all rounds together, for who has no key, or one that is handed out to visitors."""
KEYS_MAX: Final = 10_000


class TooMuchToCount(Unprocessable):
    """Facets and a filter that are too much together."""

    slug = "too-much-to-count"
    title = "The facets and the filter are too much together"


def check(request: SearchRequest, schema: Schema, most: int) -> None:
    """Raise TooMuchToCount for a request of more than `most`, and InvalidFilter for a filter that
    cannot be read."""
    if not request.facets:
        return
    conditions, chosen = _of(request.filter)
    rounds = rounds_of(request.facets, chosen, schema)
    if rounds * conditions > most:
        raise TooMuchToCount(
            f"These facets take {rounds} rounds of counting, and each goes through the"
            f" {conditions} conditions and values of the filter: {rounds * conditions} in all, of"
            f" {most} that this caller may have. Ask for fewer facets of fields that the filter"
            " speaks of, for fewer ranges, or with a shorter filter."
        )


def rounds_of(facets: tuple[Facet, ...], chosen: frozenset[str], schema: Schema) -> int:
    """Return how often what is found is gone through: once for the hits, once for all facets that
    nothing is `chosen` in, and once for each other path and for each range that is a query."""
    paths = {facet.field for facet in facets}
    alone = paths & chosen
    ranges = sum(len(facet.ranges) for facet in facets if _are_queries(facet, schema))
    return 1 + len(alone) + bool(paths - alone) + ranges


def _are_queries(facet: Facet, schema: Schema) -> bool:
    """Tell whether the ranges of a facet are counted one by one."""
    field = schema.field(facet.field)
    in_order = field is not None and (field.sort or field.type == "json")
    return not in_order or all(one.low is None and one.high is None for one in facet.ranges)


@lru_cache(maxsize=1_024)
def _of(text: str) -> tuple[int, frozenset[str]]:
    """Return how many conditions a filter has, at least one, and the paths that parts of it, which
    all must hold, speak of alone."""
    filter = filters.parse(text)
    if filter is None:
        return 1, frozenset()
    parts = filter.parts if isinstance(filter, All) else (filter,)
    alone = [filters.paths(part) for part in parts]
    return conditions_of(filter), frozenset(one for some in alone if len(some) == 1 for one in some)


def conditions_of(filter: Filter) -> int:
    """Return how many conditions and values a filter has."""
    match filter:
        case All() | Some():
            return sum(map(conditions_of, filter.parts))
        case Not():
            return conditions_of(filter.part)
        case OneOf():
            return len(filter.values)
        case _:
            return 1
