"""Wishes: the address says all of it, and nothing in an address reaches into the filter."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.platform.search import filters
from hansa.platform.search.api import FILTER_LETTERS_MAX
from hansa.storefront.wish import (
    BRAND,
    CHOSEN_MAX,
    ORDERS,
    PAGES_MAX,
    PRICE,
    Wish,
    bounds_of,
    filter_of,
    fitting,
    range_of,
    read,
)

words = st.text(max_size=40).map(lambda text: " ".join(text.split()))
plain = words.filter(lambda text: text and text.isprintable())
names = plain.filter(lambda text: "\\" not in text and all(text.split(".")) and "." not in text)
ranges = st.tuples(
    st.none() | st.integers(0, 10**8), st.none() | st.integers(0, 10**8)
).filter(lambda bounds: bounds != (None, None)).map(lambda bounds: range_of(bounds, 2))  # fmt: skip
chosen = st.one_of(
    st.tuples(st.just(BRAND), plain),
    st.tuples(st.just(PRICE), ranges),
    st.tuples(names.map(lambda name: f"attributes.{name}"), plain),
)
wishes = st.builds(
    Wish,
    words.filter(lambda text: text.isprintable()),
    st.lists(chosen, max_size=6, unique=True).map(tuple),
    st.sampled_from(sorted(ORDERS)),
    st.integers(1, PAGES_MAX),
    st.booleans(),
)


def of(query: str) -> Wish:
    return read(parse_qsl(query, keep_blank_values=True))


@given(wishes)
def test_an_address_says_all_of_it(wish: Wish) -> None:
    assert of(wish.address().removeprefix("?")) == wish


@given(wishes)
def test_choosing_twice_is_not_choosing(wish: Wish) -> None:
    one = (BRAND, "Kogge 7")
    assert set(wish.toggled(*one).toggled(*one).chosen) == set(wish.chosen)
    assert wish.toggled(*one).page == 1


@given(wishes)
def test_what_is_chosen_is_all_that_the_filter_says(wish: Wish) -> None:
    tree = filters.parse(filter_of(wish, 2))
    assert (filters.paths(tree) if tree else set()) == set(wish.paths)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=300)), max_size=60))
def test_no_address_is_refused(pairs: list[tuple[str, str]]) -> None:
    wish = read(pairs)
    assert len(wish.chosen) <= CHOSEN_MAX
    fit = fitting(wish, 2)
    assert len(filter_of(fit, 2)) <= FILTER_LETTERS_MAX
    assert fit.chosen == wish.chosen[: len(fit.chosen)]
    filters.parse(filter_of(wish, 2))


@pytest.mark.parametrize(
    "text", ['"] OR brand EXISTS OR brand IN ["', "\\", "a' OR 1 = 1", "\u2028"]
)
def test_a_value_stays_a_value(text: str) -> None:
    tree = filters.parse(filter_of(Wish(chosen=((BRAND, text),)), 2))
    assert isinstance(tree, filters.OneOf)
    assert tree.values == (text,)


def test_what_nobody_could_mean_is_passed_over() -> None:
    assert of("page=x&sort=upwards&exact=2&price=cheap&a.=1&utm_source=mail&brand=") == Wish()
    assert of("page=99999").page == PAGES_MAX
    assert of("page=-3").page == 1
    assert of("q=" + "x" * 900).q == "x" * 200
    assert of("q=a%00b%0Ac").q == "a b c"
    assert of("brand=A&brand=A&brand=B").values(BRAND) == ("A", "B")


def test_prices_are_in_the_units_that_people_say() -> None:
    assert bounds_of("10-25", 2) == (1_000, 2_500)
    assert bounds_of("-2.5", 2) == (None, 250)
    assert bounds_of("1000-", 0) == (1_000, None)
    assert range_of((250, None), 2) == "2.5-"
    assert of("price=010.00-25.0").chosen == ((PRICE, "10-25"),)
    assert filter_of(of("price=10-25"), 2) == "((price_minor >= 1000 AND price_minor < 2500))"
    assert filter_of(of("price=10-25&price=50-"), 2) == (
        "((price_minor >= 1000 AND price_minor < 2500) OR (price_minor >= 5000))"
    )


def test_attributes_are_asked_for_by_every_type_that_a_text_may_mean() -> None:
    assert filter_of(of("a.litres=1.5&a.safe=true&a.made_in=Poland"), 2) == (
        '(attributes."litres" IN ["1.5", 1.5]) AND (attributes."safe" IN ["true", true])'
        ' AND (attributes."made_in" IN ["Poland"])'
    )
