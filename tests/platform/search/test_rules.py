"""Rules apply to the searches they are for, and put documents where they say, once each."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.platform.search import filters, rules
from hansa.platform.search.curation import Boost, Pin, Rule
from hansa.platform.search.rules import Applied, InvalidRule, Rulebook
from tests.platform.search.fields import SCHEMA


def words(text: str) -> list[str]:
    return text.lower().split()


def applied(q: str, *some: Rule) -> Applied:
    return Rulebook(some, words).applied(q)


@pytest.mark.parametrize(
    ("match", "said", "q", "applies"),
    [
        ("exact", "usb hub", " USB  hub ", True),
        ("exact", "usb hub", "hub usb", False),
        ("exact", "usb hub", "a usb hub", False),
        ("exact", "", "", True),
        ("exact", "", "usb", False),
        ("contains", "usb hub", "red usb hub 4 ports", True),
        ("contains", "usb hub", "usb red hub", False),
        ("contains", "usb", "usbc", False),
        ("contains", "usb usb", "usb hub usb usb", True),
        ("contains", "usb hub", "usb", False),
        ("contains", " ", "usb", False),
        ("always", "", "", True),
        ("always", "", "anything", True),
    ],
)
def test_which_apply(match: str, said: str, q: str, applies: bool) -> None:
    rule = msgspec.convert({"id": "r", "match": match, "q": said, "hide": ["a"]}, Rule)
    assert bool(applied(q, rule).rules) == applies
    assert not applied(q, msgspec.structs.replace(rule, enabled=False)).rules


@given(
    st.lists(st.sampled_from("abc"), max_size=6),
    st.lists(
        st.tuples(st.sampled_from(["exact", "contains", "always"]), st.text("abc ", max_size=4)),
        max_size=8,
    ),
)
def test_those_that_apply_are_found_as_by_looking_at_each(
    q: list[str], some: list[tuple[str, str]]
) -> None:
    known = [
        msgspec.convert({"id": str(n), "match": match, "q": " ".join(said)}, Rule)
        for n, (match, said) in enumerate(some)
    ]
    padded = f" {' '.join(q)} "

    def applies(rule: Rule) -> bool:
        said = f" {' '.join(words(rule.q))} "
        if rule.match == "always":
            return True
        if rule.match == "exact":
            return words(rule.q) == q
        return bool(words(rule.q)) and said in padded

    wanted = tuple(rule.id for rule in known if applies(rule))
    assert Rulebook(known, words).applied(" ".join(q)).rules == wanted


def test_all_that_apply_do_and_the_first_says_what_can_be_once() -> None:
    one = Rule(
        "one", q="a", pin=(Pin("x", 1), Pin("y", 3)), hide=("h",), instead="b",
        boost=(Boost("used = false", 2.0),), filter="price > 1",
    )  # fmt: skip
    two = Rule(
        "two", q="a", pin=(Pin("y", 1), Pin("z", 1), Pin("h", 2)), hide=("x",), instead="c",
        boost=(Boost("used = true", 0.5),), filter="price < 9",
    )  # fmt: skip
    about_b = Rule("three", q="b", hide=("never",))
    found = applied("a", one, two, about_b)
    assert found.rules == ("one", "two")
    assert found.q == "b"
    assert found.hidden == {"h", "x"}
    assert found.pins == (Pin("z", 1), Pin("y", 3))
    assert filters.text_of(found.filter) == "price > 1 AND price < 9"
    assert [(filters.text_of(each), by) for each, by in found.boosts] == [
        ("used = false", 2.0),
        ("used = true", 0.5),
    ]
    assert filters.text_of(found.others({"z"})) == (
        'price > 1 AND price < 9 AND NOT id IN ["h", "x", "z"]'
    )


def test_a_pin_whose_place_is_taken_gets_the_next_free_one() -> None:
    rule = Rule("r", match="always", pin=(Pin("a", 2), Pin("b", 3)))
    again = Rule("s", match="always", pin=(Pin("c", 2), Pin("a", 1)))
    assert applied("", rule, again).pins == (Pin("a", 2), Pin("b", 3), Pin("c", 4))


def test_boosts_of_many_rules_have_a_limit_together() -> None:
    some = [
        Rule(str(n), match="always", boost=tuple(Boost(f"price = {n}{m}", 2) for m in range(3)))
        for n in range(1, 5)
    ]
    found = applied("", *some)
    assert len(found.rules) == 4
    assert [filters.text_of(each) for each, _ in found.boosts] == [
        f"price = {n}" for n in (10, 11, 12, 20, 21, 22, 30, 31)
    ]


def test_without_rules_a_search_is_what_it_was() -> None:
    assert applied("usb hub") == Applied("usb hub")
    assert Applied("q").others(()) is None


# ---- places


@st.composite
def pins(draw: st.DrawFn) -> tuple[Pin, ...]:
    ids = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6))
    places = draw(st.lists(st.integers(1, 40), unique=True, min_size=len(ids), max_size=len(ids)))
    return tuple(Pin(id, place) for id, place in zip(ids, sorted(places), strict=True))


@given(pins(), st.sets(st.sampled_from("abcdefghij")), st.integers(0, 60), st.integers(1, 13))
def test_pages_together_have_everything_once_and_pins_at_their_places(
    some: tuple[Pin, ...], present: set[str], others: int, per_page: int
) -> None:
    there = [pin for pin in some if pin.id in present]
    total = others + len(there)
    pages = [
        rules.arranged(some, present, others, begin, begin + per_page)
        for begin in range(0, total + per_page, per_page)
    ]
    # Every page is full but the last, and after it there is nothing.
    everything = [one for page in pages for one in page]
    assert all(len(page) == per_page for page in pages[: total // per_page])
    assert [one for one in everything if isinstance(one, int)] == list(range(others))
    assert [one for one in everything if not isinstance(one, int)] == there
    for place, one in enumerate(everything, 1):
        if not isinstance(one, int):
            # Where it says; or, where there is not enough before it, among pins at the end.
            assert place == one.place or (
                place < one.place and not any(isinstance(x, int) for x in everything[place:])
            )
    assert everything == rules.arranged(some, present, others, 0, total)


def test_a_pin_at_place_12_is_the_second_of_the_second_page() -> None:
    some = (Pin("a", 1), Pin("b", 12))
    first = rules.arranged(some, {"a", "b"}, 100, 0, 10)
    second = rules.arranged(some, {"a", "b"}, 100, 10, 20)
    assert first == [Pin("a", 1), 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert second == [9, Pin("b", 12), 10, 11, 12, 13, 14, 15, 16, 17]
    # Of one that is not there, or that a filter hides, nothing is seen.
    assert rules.arranged(some, {"b"}, 100, 10, 13) == [10, Pin("b", 12), 11]
    # And with little else, it is at the end.
    assert rules.arranged(some, {"a", "b"}, 2, 0, 10) == [Pin("a", 1), 0, 1, Pin("b", 12)]
    assert rules.arranged(some, {"a", "b"}, 2, 10, 20) == []
    assert rules.arranged((), (), 0, 0, 10) == []


# ---- checking


@pytest.mark.parametrize(
    ("rule", "pointer", "detail"),
    [
        (Rule("r", q="a"), "", "expected something to do: pin, hide"),
        (Rule("r", match="contains", q=" ", hide=("a",)), "/q", "expected a word"),
        (Rule("r", match="always", q="a", hide=("a",)), "/q", "expected nothing"),
        (Rule("r", match="always", instead="a"), "/instead", "expected nothing, as no search"),
        (Rule("r", pin=(Pin("a", 1), Pin("a", 2))), "/pin/1/id", "the document is pinned before"),
        (Rule("r", pin=(Pin("a", 1), Pin("b", 1))), "/pin/1/place", "another document is pinned"),
        (Rule("r", pin=(Pin("a", 1),), hide=("a",)), "/pin/0/id", "the document is hidden by"),
        (Rule("r", boost=(Boost("", 2),)), "/boost/0/filter", "expected a filter"),
        (Rule("r", boost=(Boost("x = 1", 2),)), "/boost/0/filter", "At 0: there is no field x"),
        (Rule("r", filter="price >"), "/filter", "At 7: expected a value, found the end"),
    ],
)
def test_a_rule_that_cannot_do_what_it_says(rule: Rule, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidRule) as refused:
        rules.check(rule, SCHEMA, words)
    assert (refused.value.status, refused.value.slug) == (422, "invalid-rule")
    (fault,) = refused.value.errors
    assert fault.pointer == pointer
    assert fault.detail.startswith(detail)


def test_a_rule_that_can() -> None:
    rules.check(Rule("r", q="", pin=(Pin("a", 1),), filter="price > 1"), SCHEMA, words)
