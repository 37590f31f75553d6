"""Counting: how many of the documents that are found have which value.

A facet is counted without what the request's filter says of its field alone. All facets whose
filters are the same are counted at once, so a request costs one more aggregation for each facet
that something was chosen in, not one for each facet.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import tantivy
from tantivy import FieldType, Query

from hansa.platform.search import instant
from hansa.platform.search.engine.layout import column
from hansa.platform.search.engine.members import given_text
from hansa.platform.search.engine.retrieval import count, restricted
from hansa.platform.search.filters import Filter, without
from hansa.platform.search.request import Count, Facet, FacetCounts, Range
from hansa.platform.search.schema import Field, Schema

VALUES_COUNTED: Final = 20_000
"""How many values of a field are counted in each segment. With the engine's own, ten for each that
is wanted, counts would depend on which segments the documents are in."""

Finds = Callable[[Filter | None], Query]
"""Returns what finds the documents to count, within a filter."""

_Answer = Mapping[str, Mapping[str, Any]]
_Bound = tuple[float | None, float | None]


class Counter:
    """Counts one facet: what it asks of the engine, and what it makes of the answer."""

    __slots__ = ("_engine", "_field", "_key", "_name", "_ranges", "aggregations", "facet", "place")

    def __init__(self, place: int, facet: Facet, schema: Schema, engine: tantivy.Schema) -> None:
        field = schema.field(facet.field)
        assert field is not None, "the request has been checked"
        self.facet = facet
        self._field: Field = field
        self._engine = engine
        self._name = column(facet.field)
        self._key = f"{place} "
        self.place = place
        self._ranges = [_bound(one, field) for one in facet.ranges]
        self.aggregations = {self._key + name: asked for name, asked in self._asked().items()}

    def _asked(self) -> dict[str, Any]:
        """What is asked of the engine."""
        asked: dict[str, Any] = {}
        if not self._ranges:
            asked["values"] = {
                "terms": {
                    "field": self._name,
                    "size": self.facet.limit,
                    "segment_size": VALUES_COUNTED,
                }
            }
        elif steps := self._steps():
            between = [{"from": low, "to": high} for low, high in pairwise(steps)]
            ranges = [{"to": steps[0]}, *between, {"from": steps[-1]}]
            asked["ranges"] = {"range": {"field": self._name, "ranges": ranges}}
        if self._field.type in ("int", "float") or (self._field.type == "json" and self._ranges):
            asked["stats"] = self._stats
        return asked

    @property
    def _stats(self) -> dict[str, Any]:
        return {"stats": {"field": self._name}}

    def further(self, answer: _Answer) -> dict[str, Any]:
        """What else is asked of the engine after its answer: the least and the greatest of a json
        member, where one of the values that were counted is a number. Most members are texts, and
        to look for a member's column takes the engine as long as to count it."""
        if self._ranges or self._field.type != "json":
            return {}
        buckets = answer[f"{self._key}values"]["buckets"]
        is_number = any(
            not isinstance(one["key"], str) and "key_as_string" not in one for one in buckets
        )
        return {f"{self._key}stats": self._stats} if is_number else {}

    def _steps(self) -> list[float]:
        """All bounds, between which the engine may count where a document has one value: it takes
        no ranges that overlap. Of a field with many values it would count those."""
        if not self._field.sort and self._field.type != "json":
            return []
        return sorted({one for bound in self._ranges for one in bound if one is not None})

    def counts(self, answer: _Answer, searcher: tantivy.Searcher, query: Query) -> FacetCounts:
        """Return the counts that are in the engine's answer to `query`."""
        stats = answer.get(f"{self._key}stats", {})
        if not self._ranges:
            buckets = answer[f"{self._key}values"]["buckets"]
            counts = [Count(self._value(one), one["doc_count"]) for one in buckets]
        else:
            ranges = answer.get(f"{self._key}ranges", {}).get("buckets")
            counts = [
                Count(
                    _name(one),
                    _within(bound, ranges)
                    if ranges is not None
                    else count(searcher, restricted(query, [self._within_query(bound)])),
                )
                for one, bound in zip(self.facet.ranges, self._ranges, strict=True)
            ]
        return FacetCounts(self.facet.field, tuple(counts), stats.get("min"), stats.get("max"))

    def _value(self, bucket: Mapping[str, Any]) -> str | int | float | bool:
        """The value of a bucket as a document has it."""
        key: str | int | float = bucket["key"]
        if self._field.type == "bool" or "key_as_string" in bucket:
            return bool(key)
        if self._field.type == "date":
            return instant.text_of(int(key))
        return given_text(key) if self._field.type == "json" and isinstance(key, str) else key

    def _within_query(self, bound: _Bound) -> Query:
        low, high = bound
        if low is None and high is None:
            return Query.exists_query(self._name, json_subpaths=self._field.type == "json")
        kind = FieldType.Float if self._field.type == "float" else FieldType.Integer
        return Query.range_query(
            self._engine, self._name, kind, low, high, include_upper=high is None
        )


def _bound(range: Range, field: Field) -> _Bound:
    low, high = (_number(end, field) for end in (range.low, range.high))
    return low, high


def _number(end: float | str | None, field: Field) -> float | None:
    """An end of a range as its column has it."""
    if end is None:
        return None
    if isinstance(end, str):
        return instant.micros(end)
    return float(end) if field.type in ("float", "json") else int(end)


def _within(bound: _Bound, buckets: Sequence[Mapping[str, Any]]) -> int:
    """How many are in the buckets that lie between two bounds."""
    low, high = bound
    return sum(
        bucket["doc_count"]
        for bucket in buckets
        if (low is None or bucket.get("from", low - 1) >= low)
        and (high is None or bucket.get("to", high + 1) <= high)
    )


def _name(range: Range) -> str:
    """The value that stands for a range in an answer: ``10..20``, ``10..`` or ``..20``."""
    return f"{_end(range.low)}..{_end(range.high)}"


def _end(end: float | str | None) -> str:
    if end is None:
        return ""
    return str(int(end)) if isinstance(end, float) and end.is_integer() else str(end)


def facet_counts(
    searcher: tantivy.Searcher, counters: Sequence[Counter], asked: Filter | None, finds: Finds
) -> tuple[FacetCounts, ...]:
    """Return the counts of all facets, in their order. `asked` is the request's own filter."""
    groups: dict[Filter | None, list[Counter]] = {}
    for counter in counters:
        groups.setdefault(without(asked, counter.facet.field), []).append(counter)
    counted: dict[int, FacetCounts] = {}
    for filter, group in groups.items():
        query = finds(filter)
        wanted = {name: one for counter in group for name, one in counter.aggregations.items()}
        answer = searcher.aggregate(query, wanted) if wanted else {}
        further = {name: one for counter in group for name, one in counter.further(answer).items()}
        if further:
            answer |= searcher.aggregate(query, further)
        for counter in group:
            counted[counter.place] = counter.counts(answer, searcher, query)
    return tuple(counted[counter.place] for counter in counters)
