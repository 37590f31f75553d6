"""A schema with a field of each type, and documents, filters and their meaning for tests."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from hansa.platform.search import filters
from hansa.platform.search.filters import Filter
from hansa.platform.search.schema import Field, Schema

SCHEMA = Schema(
    (
        Field("title", "text"),
        Field("brand", "keyword", facet=True),
        Field("price", "int", sort=True),
        Field("weight", "float"),
        Field("used", "bool"),
        Field("released", "date"),
        Field("attributes", "json"),
        Field("blob", "stored"),
    ),
    title="title",
)

WORDS = (
    "HP",
    "hp",
    "Ä b",
    'say "x"',
    "a\\b",
    "",
    "and",
    "5",
    "true",
    "2020-01-01T00:00:00Z",
    "\x02",
)
DATES = (
    "2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01t02:00:00+02:00", "2020-01-01T00:00:00.5Z",
    "1969-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00",
)  # fmt: skip
MEMBERS = ("colour", "size", "Screen size (in)", "a-b", "x.y", "x.z", "not", "é:*")

whole = st.sampled_from((0, 1, -1, 5, 6, 2**53, -(2**63), 2**63 - 1)) | st.integers(-10, 10)
broken = st.sampled_from((0.0, -0.0, 0.5, -1.5, 5.0, 5.5, 1e300, -1e-300, 5e-324)) | st.floats(
    allow_nan=False, allow_infinity=False
)
numbers = (
    st.integers(-10, 10)
    | st.sampled_from((2**52, -(2**52), 2**52 - 1, 0.5, -0.0, 5.5, 5e-324, 2.0**52 - 0.5))
    | st.floats(-10, 10)
)
words = st.sampled_from(WORDS) | st.text(max_size=3)
members = st.one_of(numbers, words, st.booleans())


def either(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One value, several, or none."""
    return values | st.lists(values, max_size=3)


DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "brand": either(words),
        "price": either(whole),
        "weight": either(broken),
        "used": either(st.booleans()),
        "released": either(st.sampled_from(DATES)),
        "attributes": st.dictionaries(
            st.sampled_from(MEMBERS),
            either(members | st.none())
            | st.dictionaries(st.sampled_from("yz"), members, max_size=2),
            max_size=4,
        ),
    },
)

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "brand": words,
    "price": whole,
    "weight": broken | whole,
    "used": st.booleans(),
    "released": st.sampled_from(DATES),
}
_MEMBERS = st.sampled_from((*MEMBERS, "x", "x.y.z")).map("attributes.{}".format)


@st.composite
def conditions(draw: st.DrawFn) -> Filter:
    """A condition that SCHEMA allows."""
    name = draw(st.sampled_from((*_VALUES, "attributes")))
    path = draw(_MEMBERS) if name == "attributes" else name
    values = _VALUES.get(name, members)
    ordered = {"price": whole, "weight": broken, "released": values, "attributes": numbers}.get(
        name
    )
    kinds = ["=", "in", "exists"] + (["<", "<=", ">", ">=", "to"] if ordered is not None else [])
    match draw(st.sampled_from(kinds)):
        case "=":
            return filters.Equals(path, draw(values))
        case "in":
            return filters.OneOf(path, tuple(draw(st.lists(values, min_size=1, max_size=4))))
        case "exists":
            return filters.Exists(path)
        case "to":
            assert ordered is not None
            return filters.Between(path, draw(ordered), draw(ordered))
        case order:
            assert ordered is not None
            return filters.Compares(path, order, draw(ordered))  # type: ignore[arg-type]  # pyright: ignore


FILTERS: st.SearchStrategy[Filter] = st.recursive(
    conditions(),
    lambda inner: (
        inner.map(filters.Not)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: filters.all_of(*parts))
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: filters.some_of(*parts))
    ),
    max_leaves=6,
)


# ---- what a filter means, in the plainest way


def lets_through(filter: Filter, document: Mapping[str, Any]) -> bool:
    """Tell whether a document is one that the filter lets through."""
    return filters.lets_through(filter, document, SCHEMA)
