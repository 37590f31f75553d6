"""Effort: rounds and conditions are those that the engine goes through."""

import pytest

from hansa.platform.search import effort
from hansa.platform.search.effort import KEYS_MAX, STRANGERS_MAX, TooMuchToCount
from hansa.platform.search.filters import InvalidFilter
from hansa.platform.search.request import Facet, Range, SearchRequest
from hansa.platform.search.schema import Field, Schema

SCHEMA = Schema((
    Field("title", "text"), Field("kind", "keyword", facet=True),
    Field("price", "int", facet=True, sort=True), Field("sizes", "int", facet=True),
    Field("attributes", "json", facet=True),
))  # fmt: skip
WIDE = tuple(Facet(f"attributes.a{number}") for number in range(30))


def chosen(fields: int, values: int = 1) -> str:
    some = ", ".join(f"v{value}" for value in range(values))
    return " AND ".join(f"attributes.a{number} IN [{some}]" for number in range(fields))


@pytest.mark.parametrize(
    ("facets", "filter", "rounds"),
    [
        ((), "", 1), (WIDE, "", 2), (WIDE, "kind = x", 2), (WIDE, chosen(4), 6),
        ((Facet("kind"),), "kind = x OR kind = y", 2),
        ((Facet("kind"),), "kind = x OR price > 1", 2), ((Facet("kind"),), "kind = x", 2),
        ((Facet("kind"), Facet("kind", 5)), "kind = x", 2),
        ((Facet("price", ranges=(Range(0, 9),) * 9),), "", 2),
        ((Facet("sizes", ranges=(Range(0, 9),) * 9),), "", 11),
        ((Facet("price", ranges=(Range(),) * 9),), "", 11),
    ],
)  # fmt: skip
def test_rounds(facets: tuple[Facet, ...], filter: str, rounds: int) -> None:
    _, alone = effort._of(filter)  # pyright: ignore[reportPrivateUsage]
    assert effort.rounds_of(facets, alone, SCHEMA) == rounds


def test_a_shop_with_all_its_facets_may_ask() -> None:
    asked = SearchRequest(filter=chosen(8, 4), facets=WIDE)
    effort.check(asked, SCHEMA, STRANGERS_MAX)


def test_the_product_is_bounded() -> None:
    asked = SearchRequest(filter=chosen(30, 8), facets=WIDE)
    assert len(asked.filter) < 4_096
    with pytest.raises(TooMuchToCount) as refused:
        effort.check(asked, SCHEMA, STRANGERS_MAX)
    assert "31 rounds" in str(refused.value.detail)
    assert "240 conditions" in str(refused.value.detail)
    effort.check(asked, SCHEMA, KEYS_MAX)
    many = tuple(Facet("sizes", ranges=(Range(0, 9),) * 32) for _ in range(32))
    with pytest.raises(TooMuchToCount):
        effort.check(SearchRequest(filter=chosen(4, 4), facets=many), SCHEMA, KEYS_MAX)
    effort.check(SearchRequest(filter=chosen(30, 8)), SCHEMA, STRANGERS_MAX)


def test_a_filter_that_cannot_be_read_is_told_as_ever() -> None:
    with pytest.raises(InvalidFilter):
        effort.check(SearchRequest(filter="a =", facets=WIDE), SCHEMA, KEYS_MAX)
