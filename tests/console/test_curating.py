"""Rules and synonyms as forms, and a query as it is tried: the pure parts."""

from html import escape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.console import curating, trial
from hansa.kernel import codec
from hansa.kernel.problems import Fault, Invalid
from hansa.platform.search import filters
from hansa.platform.search.curation import Boost, Pin, Rule, Synonym

words = st.text("abcdé1-_", min_size=1, max_size=8)
rules = st.builds(
    Rule,
    id=words,
    match=st.sampled_from(curating.MATCHES),
    q=words,
    pin=st.lists(st.builds(Pin, words, st.integers(1, 100)), max_size=4).map(tuple),
    hide=st.lists(words, max_size=3).map(tuple),
    boost=st.lists(
        st.builds(Boost, words.map("brand = {}".format), st.sampled_from((0.5, 2.0, 40.0))),
        max_size=2,
    ).map(tuple),
    instead=words,
    enabled=st.booleans(),
)


@given(rules)
def test_a_rule_comes_back_from_its_form(rule: Rule) -> None:
    assert codec.convert(curating.rule_of(curating.form_of(rule)), Rule) == rule


def test_a_line_that_says_nothing_is_told() -> None:
    form = {"pins": "1 mug\n\nfirst mug", "boosts": "2"}
    with pytest.raises(Invalid) as refused:
        curating.rule_of(form)
    assert [one.pointer for one in refused.value.errors] == ["/pins/1", "/boosts/0"]
    told = curating.faults_of_rule(refused.value.errors)
    assert told["pins"] == "line 2: expected a place and a document, not 'first mug'"
    assert set(told) == {"pins", "boosts"}


def test_faults_of_a_rule_are_told_at_the_fields_that_say_it() -> None:
    faults = (Fault("/pin/2/place", "taken"), Fault("/filter", "At 3: no"), Fault("", "nothing"))
    told = {"pins": "line 3: taken", "filter": "At 3: no", "": "nothing"}
    assert curating.faults_of_rule(faults) == told


@given(st.lists(words, min_size=2, max_size=4), st.booleans())
def test_a_synonym_comes_back_from_its_line(several: list[str], is_way: bool) -> None:
    of, *others = several
    one = Synonym("x", tuple(others), of) if is_way else Synonym("x", tuple(several))
    read = curating.synonym_of("x", curating.line_of(one))
    assert codec.convert(read, Synonym) == one


@pytest.mark.parametrize("line", ["", "tv", "tv,", "tv =>", "=> tv", "=>"])
def test_a_synonym_takes_two(line: str) -> None:
    with pytest.raises(Invalid, match="two words or phrases"):
        curating.synonym_of("", line)


@given(rules, words, st.integers(1, 50))
def test_a_document_is_where_it_was_put(rule: Rule, id: str, place: int) -> None:
    before: dict[str, Any] = curating.rule_for([rule], rule.q)
    pinned = curating.placed(before, "pin", id, place)
    assert {"id": id, "place": place} in pinned["pin"]
    assert id not in pinned["hide"]
    places = [one["place"] for one in pinned["pin"]]
    assert places == sorted(set(places))
    hidden = curating.placed(pinned, "hide", id, 1)
    assert hidden["hide"].count(id) == 1
    assert all(one["id"] != id for one in hidden["pin"])
    freed = curating.placed(hidden, "free", id, 1)
    assert id not in freed["hide"]


def test_what_was_pinned_there_moves_down() -> None:
    rule = Rule("x", q="mug", pin=(Pin("a", 1), Pin("b", 2), Pin("c", 9)))
    placed = curating.placed(curating.rule_for([rule], " MUG "), "pin", "new", 1)
    assert [(one["id"], one["place"]) for one in placed["pin"]] == [
        ("new", 1), ("a", 2), ("b", 3), ("c", 9),
    ]  # fmt: skip


def test_a_rule_of_another_kind_keeps_its_id() -> None:
    made = curating.rule_for([Rule("mug", "contains", "mug", hide=("x",))], "mug")
    assert (made["id"], made["match"]) == ("mug 2", "exact")
    assert curating.says_nothing(made)
    assert len(curating.name_of("long " * 40)) <= 64


# ---- a trial


@given(st.lists(st.tuples(st.booleans(), st.text(min_size=1, max_size=6)), max_size=5))
def test_a_highlight_is_text_and_never_a_part_of_the_page(several: list[tuple[bool, str]]) -> None:
    text = "".join(f"<mark>{escape(one)}</mark>" if is_found else escape(one)
                   for is_found, one in several)  # fmt: skip
    shown = trial.pieces(text)
    assert "".join(one for _, one in shown) == "".join(one for _, one in several)
    assert [one for is_found, one in shown if is_found] == [one for is_in, one in several if is_in]


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        ("", "brand", "HP", 'brand = "HP"'),
        ("a = 1", "brand", 'a "b"', r'a = 1 AND brand = "a \"b\""'),
        ("a = 1 or b = 2", "n", 3, "(a = 1 or b = 2) AND n = 3"),
        ("", "attributes.Screen size", True, 'attributes."Screen size" = true'),
    ],
)
def test_a_filter_is_narrowed_in_its_own_language(
    before: str, path: str, value: Any, after: str
) -> None:
    found = trial.narrowed(before, path, value)
    assert found == after
    assert filters.parse(found) is not None
