"""Clicks move documents by little, for good reasons, and not for one visitor."""

import random
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.platform.search import learning
from hansa.platform.search.learning import PLACES_MAX, Visit

SHOWN = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


def clicking(liked: dict[str, float], visitors: int, seed: int = 7) -> list[Visit]:
    """Visitors who look by the curve, and click what they look at as often as it is liked."""
    chance = random.Random(seed)
    return [
        Visit(
            f"visitor {number}",
            "mug",
            SHOWN,
            tuple(
                document
                for document, place in SHOWN.items()
                if chance.random() < learning.look(place) * liked[document]
            ),
        )
        for number in range(visitors)
    ]


def test_the_place_is_taken_out_of_the_clicks() -> None:
    """`e` is liked three times as much as `a`, which gets more clicks as it is first."""
    visits = clicking({"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.3, "e": 0.9}, 3_000)
    clicks = {one: sum(one in visit.clicked for visit in visits) for one in SHOWN}
    assert clicks["a"] > clicks["e"]
    places = learning.learned(visits)["mug"]
    assert places["e"] > 0.5
    assert places.get("a", 0) < 0
    order = learning.reranked(list(SHOWN), places)
    assert order.index(4) < 4


def test_what_is_liked_alike_stays_where_it_is() -> None:
    visits = clicking(dict.fromkeys(SHOWN, 0.5), 3_000)
    places = learning.learned(visits).get("mug", {})
    assert learning.reranked(list(SHOWN), places) == [0, 1, 2, 3, 4]


def test_the_order_of_visits_does_not_matter() -> None:
    visits = clicking({"a": 0.1, "b": 0.9, "c": 0.3, "d": 0.3, "e": 0.9}, 200)
    assert learning.learned(visits) == learning.learned(visits[::-1])
    assert learning.learned(visits * 3) == learning.learned(visits)


DOCUMENTS = st.sampled_from("abcdefghij")


@st.composite
def visits(draw: st.DrawFn, visitors: st.SearchStrategy[str]) -> Visit:
    shown = draw(st.dictionaries(DOCUMENTS, st.integers(1, 40), max_size=8))
    return Visit(
        draw(visitors),
        draw(st.sampled_from(["mug", "cup"])),
        shown,
        tuple(draw(st.lists(DOCUMENTS, max_size=4))),
        tuple(draw(st.lists(DOCUMENTS, max_size=2))),
    )


@given(st.lists(visits(st.just("one")), max_size=60))
def test_one_visitor_moves_nothing(some: list[Visit]) -> None:
    assert learning.learned(some) == {}
    assert learning.popularity(some) == {}


def test_one_who_comes_every_day_moves_nothing() -> None:
    """Nobody knows on the next day that it is the same."""
    month = [Visit(f"{day}", "mug", SHOWN, ("e",), day=day) for day in range(30)]
    assert learning.learned(month) == {}
    assert learning.popularity(month) == {}
    one_day = [Visit(f"{number}", "mug", SHOWN, ("e",)) for number in range(30)]
    assert learning.learned(one_day)["mug"]["e"] > 0
    assert learning.popularity(one_day)["e"] > 0


@given(st.lists(visits(st.integers(1, 30).map(str)), max_size=80))
def test_who_goes_up_was_clicked_by_several_and_who_moves_moves_little(some: list[Visit]) -> None:
    for query, places in learning.learned(some).items():
        clickers: dict[str, set[str]] = {}
        for visit in some:
            if visit.query == query:
                for document in set(visit.clicked).intersection(visit.shown):
                    clickers.setdefault(document, set()).add(visit.visitor)
        for document, by in places.items():
            assert -PLACES_MAX <= by <= PLACES_MAX
            assert by != 0
            if by > 0:
                assert len(clickers[document]) >= learning.CLICKERS_MIN


@given(
    st.lists(visits(st.integers(1, 30).map(str)), max_size=60),
    st.lists(visits(st.just("one more")), max_size=20),
)
def test_coming_again_and_again_is_as_coming_with_all_of_it_once(
    some: list[Visit], again: list[Visit]
) -> None:
    """However often it is."""
    assert learning.learned(some + again * 5) == learning.learned(some + again)
    assert learning.popularity(some + again * 5) == learning.popularity(some + again)


def test_a_click_on_what_was_not_shown_is_none() -> None:
    forged = [Visit(str(n), "mug", {"a": 1}, ("z",), ("z",)) for n in range(100)]
    assert learning.learned(forged) == {}
    assert learning.popularity(forged) == {}


@pytest.mark.parametrize(("visitors", "moves"), [(9, False), (40, True)])
def test_several_visitors_are_needed(visitors: int, moves: bool) -> None:
    some = [Visit(str(n), "mug", SHOWN, ("e",)) for n in range(visitors)]
    assert bool(learning.learned(some)) == moves


def test_popularity_doubles_with_visitors_and_counts_buyers_more() -> None:
    def chosen(n: int, *bought: str) -> dict[str, float]:
        return learning.popularity(
            [Visit(str(each), "mug", SHOWN, ("a",), bought) for each in range(n)]
        )

    assert chosen(2) == {}
    assert chosen(3) == {"a": 2.0}
    assert chosen(7)["a"] == log2(8)
    assert chosen(15)["a"] - chosen(7)["a"] == 1
    assert chosen(5, "a")["a"] == log2(16)
    assert chosen(5, "b")["a"] == chosen(5)["a"]
    # In steps: one more visitor of a hundred changes no document.
    assert chosen(100) == chosen(101)


PLACES = st.dictionaries(
    st.sampled_from("abcdefghijklmnopqrst"), st.floats(-9, 9, allow_nan=False), max_size=20
)


@given(st.permutations("abcdefghijklmnopqrst"), st.integers(0, 20), PLACES, st.integers(0, 20))
def test_no_document_moves_more_than_three_places(
    all: list[str], count: int, places: dict[str, float], first: int
) -> None:
    ranking = all[:count]
    order = learning.reranked(ranking, places)
    assert sorted(order) == list(range(count))
    assert all_within(order)
    # Pages fit together: the first ones depend on what is just behind them, and no further.
    assert learning.reranked(ranking[: first + PLACES_MAX], places)[:first] == order[:first]
    assert learning.reranked(ranking, {}) == list(range(count))


def all_within(order: list[int]) -> bool:
    return max((abs(rank - place) for place, rank in enumerate(order)), default=0) <= PLACES_MAX


def test_a_document_that_is_liked_goes_up_and_one_that_is_not_goes_down() -> None:
    ranking = list("abcdefg")

    def moved(places: dict[str, float]) -> str:
        return "".join(ranking[rank] for rank in learning.reranked(ranking, places))

    assert moved({"d": 1}) == "abdcefg"
    assert moved({"d": 1.9}) == "abdcefg"
    assert moved({"g": 3}) == "abcgdef"
    assert moved({"g": 99}) == "abcgdef"
    assert moved({"a": -1}) == "bacdefg"
    assert moved({"a": -3}) == "bcdaefg"
    assert moved({"d": 0.9}) == "abcdefg"
    assert moved({"c": -2, "d": 2}) == "adbecfg"
