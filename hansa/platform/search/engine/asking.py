"""Asking: whether a collection's schema allows what a request asks of it, and what follows from it.

Requests of one kind, as those of a page of a shop are, differ in their words alone: what does not
depend on those is made once.
"""

from functools import lru_cache
from typing import Final

import tantivy

from hansa.kernel.problems import Fault, Unprocessable
from hansa.platform.search import instant
from hansa.platform.search.engine.counting import Counter
from hansa.platform.search.engine.layout import engine_schema
from hansa.platform.search.engine.retrieval import Key
from hansa.platform.search.filters import INT_MAX, MEMBER_MAX
from hansa.platform.search.request import HITS_MAX, Facet, Range, SearchRequest
from hansa.platform.search.schema import ID_FIELD, Field, Schema

KINDS_KEPT: Final = 2_048
_MOST: Final = {"int": INT_MAX, "json": MEMBER_MAX}


class InvalidSearch(Unprocessable):
    """A search of something that the collection's schema does not have, or not for this (422)."""

    slug = "invalid-search"
    title = "The search is not valid"


class Kind:
    """What the searches of one kind have in common."""

    __slots__ = ("counters", "distinct", "fields", "highlight", "keys")

    def __init__(self, request: SearchRequest, schema: Schema) -> None:
        engine: tantivy.Schema = engine_schema(schema)
        self.counters = tuple(
            Counter(place, facet, schema, engine) for place, facet in enumerate(request.facets)
        )
        self.keys = tuple(Key(path, engine) for path in request.sort)
        self.distinct = request.distinct
        self.highlight = request.highlight
        self.fields = request.fields


def kind_of(request: SearchRequest, schema: Schema) -> Kind:
    """Return the kind of a request. Raises InvalidSearch, with all that is wrong."""
    if request.page * request.per_page > HITS_MAX:
        detail = f"pages go to the {HITS_MAX}th hit: narrow the search by words or a filter"
        raise _refused([Fault("/page", detail)])
    return _kind(
        schema, request.facets, request.sort, request.distinct, request.highlight, request.fields
    )


@lru_cache(maxsize=KINDS_KEPT)
def _kind(
    schema: Schema,
    facets: tuple[Facet, ...],
    sort: tuple[str, ...],
    distinct: str,
    highlight: tuple[str, ...],
    fields: tuple[str, ...],
) -> Kind:
    faults: list[Fault] = []
    for place, facet in enumerate(facets):
        faults += _faults_of_facet(f"/facets/{place}", facet, schema)
    for place, path in enumerate(sort):
        name = path.removeprefix("-")
        faults += _faults_of_path(f"/sort/{place}", name, schema, "sort")
    if distinct:
        faults += _faults_of_path("/distinct", distinct, schema, "distinct")
    for place, path in enumerate(highlight):
        faults += _faults_of_path(f"/highlight/{place}", path, schema, "highlight")
    for place, path in enumerate(fields):
        faults += _faults_of_path(f"/fields/{place}", path, schema, "fields")
    if faults:
        raise _refused(faults)
    request = SearchRequest(
        facets=facets, sort=sort, distinct=distinct, highlight=highlight, fields=fields
    )
    return Kind(request, schema)


def _refused(faults: list[Fault]) -> InvalidSearch:
    first = faults[0]
    return InvalidSearch(f"At {first.pointer}: {first.detail}", errors=tuple(faults))


def _faults_of_path(pointer: str, path: str, schema: Schema, use: str) -> list[Fault]:
    """What is wrong with naming a field for a use."""
    name, dot, member = path.partition(".")
    field = ID_FIELD if path == ID_FIELD.name else schema.field(path)
    if field is None:
        return [Fault(pointer, f"there is no field {name}{schema.hint(name)}")]
    if dot and (field.type != "json" or not member):
        return [Fault(pointer, f"{name} is a {field.type} field and has no member {member!r}")]
    detail = _unusable(field, dot != "", use)
    return [Fault(pointer, f"{path} {detail}")] if detail else []


def _unusable(field: Field, member: bool, use: str) -> str:
    """Why a field, or a member of it, cannot be used so; nothing if it can."""
    whole_json = field.type == "json" and not member
    match use:
        case "facet" if not field.facet or field.type in ("text", "stored"):
            return "is no facet: declare it with `facet`, as any type but text and stored"
        case "facet" | "distinct" if whole_json:
            return f"is a json field: name a member of it, as {field.name}.colour"
        case "sort" if field.type == "json":
            return "is in a json field, which cannot be sorted by: declare a field for it"
        case "sort" if not field.sort:
            return "cannot be sorted by: declare it with `sort`"
        case "distinct" if field.type in ("text", "stored"):
            return f"is a {field.type} field: name a keyword, number, bool or date"
        case "highlight" if field.type not in ("text", "keyword", "json") or whole_json:
            return "has no words to highlight: name a text, a keyword or a member of a json field"
        case _:
            return ""


def _faults_of_facet(pointer: str, facet: Facet, schema: Schema) -> list[Fault]:
    faults = _faults_of_path(f"{pointer}/field", facet.field, schema, "facet")
    field = schema.field(facet.field)
    if faults or field is None or not facet.ranges:
        return faults
    if field.type in ("keyword", "bool"):
        return [Fault(f"{pointer}/ranges", f"{facet.field} is a {field.type} field, without order")]
    for place, one in enumerate(facet.ranges):
        try:
            _check_range(one, field)
        except ValueError as refused:
            faults.append(Fault(f"{pointer}/ranges/{place}", str(refused)))
    return faults


def _check_range(range: Range, field: Field) -> None:
    """Raise ValueError for a range that a field cannot be in."""
    ends: list[float] = []
    for end in (range.low, range.high):
        if end is None:
            continue
        if isinstance(end, str) != (field.type == "date"):
            wanted = "a date in quotes" if field.type == "date" else "a number"
            raise ValueError(f"an end of it is {wanted}")
        if field.type == "int" and int(end) != end:
            raise ValueError("an end of it is a whole number")
        number = instant.micros(end) if isinstance(end, str) else end
        if field.type in _MOST and abs(number) > _MOST[field.type]:
            raise ValueError("an end of it is beyond all values that there can be")
        ends.append(number)
    if len(ends) == 2 and ends[0] >= ends[1]:
        raise ValueError("it begins before it ends")
