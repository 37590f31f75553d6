from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.platform.search.engine.index import Index
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.request import Facet, FacetCounts, Range
from tests.platform.search.engine.shelf import (
    MUGS,
    PRODUCTS,
    change,
    documents,
    filled,
    products,
    search,
)

BRANDS = ("Ada", "Bolt", "Cedar", "d'Or")


def mugs() -> list[dict[str, Any]]:
    """Mugs of all kinds, some without this or that."""
    return [
        {
            "title": "Red mug" if n % 3 else "Blue cup",
            "brand": BRANDS[n % 4] if n % 11 else None,
            "tags": [f"t{n % 5}", f"t{n % 3}", "all"],
            "price": n * 37 % 100,
            "weight": n % 7 / 2,
            "sizes": [n % 4, n % 4 + 1, n % 4],
            "new": n % 2 == 0,
            "since": f"2024-0{n % 9 + 1}-01T00:00:00.25Z",
            "more": {"colour": ["red", "blue"][n % 2], "depth": n % 6, "made": "2024-01-01"},
        }
        for n in range(120)
    ]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """The mugs in several segments, each written twice."""
    index = Index.open(tmp_path_factory.mktemp("shelf"), MUGS)
    changes = [change(n + 1, f"m{n}", **one) for n, one in enumerate(mugs())]
    for begin in range(0, 120, 50):
        index.write(changes[: begin + 50], begin)
        index.commit()
    yield index
    index.close()


def counted(facet: FacetCounts) -> dict[object, int]:
    return {one.value: one.count for one in facet.values}


def by_hand(facet: str, docs: list[dict[str, Any]]) -> dict[object, int]:
    counts: Counter[object] = Counter()
    for one in docs:
        name, _, member = facet.partition(".")
        value = one.get(name)
        value = value.get(member) if member and isinstance(value, dict) else value
        counts.update(set(value) if isinstance(value, list) else {value} - {None})
    return dict(counts)


@pytest.mark.parametrize("field", ["brand", "tags", "price", "weight", "sizes", "new"])
@pytest.mark.parametrize("parts", [(), ("price < 50",), ("new = true", 'tags = "t1"')])
def test_counts_are_those_of_the_documents(
    shelf: Index, field: str, parts: tuple[str, ...]
) -> None:
    facets = (Facet(field, limit=200),)
    found = search(shelf, "mug", filter=" AND ".join(parts), facets=facets)
    alone = " AND ".join(part for part in parts if not part.startswith(field))
    docs = documents(search(shelf, "mug", filter=alone, per_page=100))
    assert counted(found.facets[0]) == by_hand(field, docs)
    values = [one.count for one in found.facets[0].values]
    assert values == sorted(values, reverse=True)


def test_members_dates_and_numbers_keep_their_form(shelf: Index) -> None:
    facets = ("more.colour", "more.depth", "more.made", "since", "weight")
    found = search(shelf, facets=tuple(Facet(one, limit=200) for one in facets))
    docs = mugs()
    for facet, counts in zip(facets, found.facets, strict=True):
        if facet != "since":
            assert counted(counts) == by_hand(facet, docs)
    assert counted(found.facets[3])["2024-03-01T00:00:00.250000Z"] == 14
    assert [(one.min, one.max) for one in found.facets] == [
        (None, None), (0.0, 5.0), (None, None), (None, None), (0.0, 3.0),
    ]  # fmt: skip


def test_a_member_that_no_document_has_counts_nothing(shelf: Index) -> None:
    assert search(shelf, facets=(Facet("more.nothing"),)).facets[0].values == ()


numbers = st.integers(-10, 110)


def within(value: float, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value < high)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(numbers | st.none(), numbers | st.none()), min_size=1, max_size=5),
    st.sampled_from(["price", "weight", "sizes", "more.depth"]),
)
def test_ranges_count_the_documents_within(
    shelf: Index, bounds: list[tuple[int | None, int | None]], field: str
) -> None:
    bounds = [(low, high) for low, high in bounds if None in (low, high) or low < high]  # type: ignore[operator]
    if not bounds:
        return
    ranges = tuple(Range(low, high) for low, high in bounds)
    (counts,) = search(shelf, facets=(Facet(field, ranges=ranges),)).facets
    name, _, member = field.partition(".")
    for (low, high), one in zip(bounds, counts.values, strict=True):
        docs = [doc[name][member] if member else doc[name] for doc in mugs()]
        wanted = sum(
            any(within(one, low, high) for one in (doc if isinstance(doc, list) else [doc]))
            for doc in docs
        )
        assert (one.value, one.count) == (
            f"{'' if low is None else low}..{'' if high is None else high}", wanted,
        )  # fmt: skip


def test_ranges_of_dates(shelf: Index) -> None:
    ranges = (Range(None, "2024-03-01"), Range("2024-03-01T00:00:00.25Z", "2024-05-01"), Range())
    (counts,) = search(shelf, facets=(Facet("since", ranges=ranges),)).facets
    dates = [one["since"] for one in mugs()]
    assert [one.count for one in counts.values] == [
        sum(date < "2024-03-01" for date in dates),
        sum("2024-03" <= date < "2024-05" for date in dates),
        len(dates),
    ]


def test_each_facet_ignores_its_own_selection_and_no_other(shelf: Index) -> None:
    facets = (Facet("brand"), Facet("new"), Facet("tags", limit=200), Facet("brand", limit=1))
    found = search(shelf, filter='brand = "Ada" AND new = true AND price < 80', facets=facets)
    docs = [one for one in mugs() if one["price"] < 80]
    assert counted(found.facets[0]) == by_hand("brand", [one for one in docs if one["new"]])
    assert counted(found.facets[1]) == by_hand("new", [o for o in docs if o["brand"] == "Ada"])
    assert counted(found.facets[2]) == by_hand(
        "tags", [one for one in docs if one["new"] and one["brand"] == "Ada"]
    )
    assert len(found.facets[3].values) == 1


def test_real_products_are_counted_as_they_are(electronics: Path, tmp_path: Path) -> None:
    changes = list(products(electronics, 0, 1_000))
    index = filled(tmp_path, PRODUCTS, changes)
    paths = ("supplier", "attributes.product_type", "attributes.wi_fi", "attributes.weight")
    found = search(index, facets=tuple(Facet(path, limit=200) for path in paths))
    docs = [documents_of(one) for one in changes]
    for path, counts in zip(paths, found.facets, strict=True):
        wanted = by_hand(path, docs)
        assert len(counts.values) == min(200, len(wanted)) > 1
        assert all(wanted[one.value] == one.count for one in counts.values)
    index.close()


def documents_of(one: Change) -> dict[str, Any]:
    assert one.body is not None
    decoded: dict[str, Any] = msgspec.json.decode(one.body)
    return decoded
