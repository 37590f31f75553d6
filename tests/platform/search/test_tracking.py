"""Names of searches say what was shown and nothing else; visitors are told apart for a day."""

from datetime import UTC, date, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.caller import PUBLIC_PRINCIPAL, Principal
from hansa.platform.search.request import PER_PAGE_MAX, Q_LETTERS_MAX, Found, Hit
from hansa.platform.search.tracking import (
    ASKERS_MIN,
    COLLECTION_QUERIES_MAX,
    NAME_LETTERS_MAX,
    Q_BYTES_MAX,
    Uses,
    ids_of,
    named,
    normal,
    read_name,
    who,
)

KEY = b"k" * 32
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
COLLECTION = "coll_" + "0" * 26
ids = st.text(min_size=1, max_size=20)


@given(st.text(max_size=Q_LETTERS_MAX), st.lists(ids, max_size=PER_PAGE_MAX), st.integers(1, 901))
def test_a_name_says_what_was_shown_where(q: str, shown: list[str], first: int) -> None:
    name = named(KEY, COLLECTION, normal(q), NOW, first, shown)
    assert len(name) <= NAME_LETTERS_MAX
    searched = read_name([b"other" * 8, KEY], name, NOW + timedelta(hours=23))
    assert searched is not None
    assert (searched.collection, searched.q) == (COLLECTION, normal(q))
    for place, id in enumerate(shown, first):
        assert searched.showed(id, place)
    last = first + len(shown)
    assert not any(searched.showed(one, place) for one in shown for place in (first - 1, last, 0))
    assert read_name([KEY], name, NOW + timedelta(hours=25)) is None


def test_ids_are_those_of_the_documents_shown() -> None:
    shown = ["b", "a"]
    hits = [Hit(msgspec.Raw(msgspec.json.encode({"t": "x", "id": one})), 1.0) for one in shown]
    assert ids_of(hits) == shown


def test_another_document_or_place_was_not_shown() -> None:
    name = named(KEY, COLLECTION, "mug", NOW, 1, ["a", "b", "c"])
    searched = read_name([KEY], name, NOW)
    assert searched is not None
    assert searched.showed("b", 2)
    assert not searched.showed("b", 1)
    assert not searched.showed("d", 2)


@given(st.text(alphabet="AQ-_9", max_size=60))
def test_nobody_makes_a_name(text: str) -> None:
    assert read_name([KEY], text, NOW) is None


@given(st.text(max_size=Q_LETTERS_MAX))
def test_what_is_asked_is_short_whatever_its_letters(q: str) -> None:
    assert len(normal(q).encode()) <= Q_BYTES_MAX
    assert normal(normal(q)) == normal(q)


def test_the_longest_name_of_letters_of_three_bytes() -> None:
    name = named(KEY, COLLECTION, normal("杯" * Q_LETTERS_MAX), NOW, 901, ["x"] * 100)
    assert len(name) <= NAME_LETTERS_MAX
    assert read_name([KEY], name, NOW) is not None


def test_visitors_are_told_apart_by_their_address_and_keys_by_whom_they_ask_for() -> None:
    day = date(2026, 11, 21)

    def visitor(address: str, said: str) -> str:
        one = Principal("public", frozenset(), "public", "platform", address=address)
        return who(KEY, day, one, said)

    assert visitor("192.0.2.1", "a") == visitor("192.0.2.1", "b") != visitor("192.0.2.2", "a")
    assert "192.0.2.1" not in visitor("192.0.2.1", "a")
    scoped = Principal("key.x", frozenset(), "key", "site_1", "grant", "192.0.2.1")
    assert who(KEY, day, scoped, "z") == visitor("192.0.2.1", "a")
    assert who(KEY, day, PUBLIC_PRINCIPAL, "a") != who(KEY, day, PUBLIC_PRINCIPAL, "b")
    assert who(KEY, day, PUBLIC_PRINCIPAL) == ""
    key = Principal("key_1", frozenset(), "key", "site_1")
    assert who(KEY, day, key, "a") != who(KEY, day, key, "b")
    assert who(KEY, day, key) != who(KEY, day + timedelta(1), key)


def test_what_is_in_mind_is_bounded_by_collection() -> None:
    uses, found = Uses(), Found(1, 1, ())
    for number in range(COLLECTION_QUERIES_MAX + 50):
        uses.note("site_1", "coll_1", f"q{number}", found, ["a"], str)
    for number in range(10):
        uses.note("site_2", "coll_2", "mug", found, ["a"], f"v{number}".__str__)
    counts = uses.take()
    assert len(counts) == COLLECTION_QUERIES_MAX + 1
    (other,) = [one for one in counts if one.site == "site_2"]
    assert (other.searches, other.shown, len(other.askers)) == (10, ("a",), ASKERS_MIN)
    assert uses.take() == []
