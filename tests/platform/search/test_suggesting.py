"""Searches that begin as what was typed."""

from collections.abc import Mapping

import pytest

from hansa.platform.search.analysis import analyzer
from hansa.platform.search.suggesting import suggestions
from hansa.platform.search.vocabulary import Vocabulary
from tests.platform.search.words import vocabulary

WORDS = {"laptop": 90, "laptops": 30, "lamp": 20, "case": 50, "camera": 90, "cable": 80}


def suggested(
    q: str,
    limit: int = 10,
    beside: Mapping[str, int] | None = None,
    words: Vocabulary | None = None,
) -> list[str]:
    found = list((beside or {}).items())
    known = words or vocabulary(WORDS)
    return suggestions(q, limit, analyzer("en"), known, lambda _before, _beginning: found)


def test_the_last_word_is_made_whole_once_for_all_its_forms() -> None:
    assert suggested("la") == ["laptop", "lamp"]
    assert suggested("Lap") == ["laptop"]


def test_words_that_stand_beside_those_before_it() -> None:
    assert suggested("Red laptop ca", beside={"case": 40, "cable": 3}) == [
        "Red laptop case",
        "Red laptop cable",
    ]


def test_a_word_that_nothing_begins_with_is_corrected() -> None:
    assert suggested("labtop") == ["laptop"]


def test_pairs_of_letters_are_no_words() -> None:
    assert suggested("カ", words=vocabulary("カメ メラ カ")) == []
    assert suggested("la カ", beside={"カメ": 9}) == []


@pytest.mark.parametrize("q", ["", "laptop ", "-", "zzz"])
def test_nothing_to_suggest(q: str) -> None:
    assert suggested(q) == []


def test_no_more_than_asked_for() -> None:
    assert suggested("la", 1) == ["laptop"]
    assert suggested("la", 0) == []
