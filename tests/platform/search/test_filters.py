"""A filter is read exactly, or refused where it goes wrong."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.platform.search import filters
from hansa.platform.search.filters import (
    All,
    Between,
    Compares,
    Equals,
    Exists,
    Filter,
    InvalidFilter,
    Not,
    OneOf,
    Some,
)
from hansa.platform.search.request import FILTER_LETTERS_MAX
from tests.platform.search.fields import DOCUMENTS, FILTERS, SCHEMA, lets_through


def unplaced(filter: Filter | None) -> object:
    """What a filter says, with the types of its values and without positions."""
    match filter:
        case None:
            return None
        case All() | Some():
            return type(filter), tuple(map(unplaced, filter.parts))
        case Not():
            return Not, unplaced(filter.part)
        case Equals():
            return Equals, filter.path, typed(filter.value)
        case OneOf():
            return OneOf, filter.path, tuple(map(typed, filter.values))
        case Compares():
            return Compares, filter.path, filter.order, typed(filter.value)
        case Between():
            return Between, filter.path, typed(filter.low), typed(filter.high)
        case Exists():
            return Exists, filter.path


def typed(value: object) -> tuple[type, str]:
    """A value that is equal to those of its own type only; -0 is 0."""
    return type(value), repr(value or 0.0) if isinstance(value, float) else repr(value)


def test_everything_there_is() -> None:
    text = (
        'brand = "HP" AND (price < 5000 or attributes.colour IN [Black, \'S"1\'])'
        " AND NOT used = true AND released >= 2020-01-01 AND weight exists AND weight 1..2.5"
        ' AND attributes."Screen size" NOT IN [1, -2.5e3, FALSE] AND price 1 to 2 AND brand != a.b'
        " AND brand not exists"
    )
    found = filters.parse(text)
    assert found == All(
        (
            Equals("brand", "HP", 0, 8),
            Some(
                (
                    Compares("price", "<", 5000, 18, 26),
                    OneOf("attributes.colour", ("Black", 'S"1'), 34, (56, 63)),
                ),
                18,
            ),
            Not(Equals("used", True, 79, 86), 75),
            Compares("released", ">=", "2020-01-01", 95, 107),
            Exists("weight", 122),
            Between("weight", 1, 2.5, 140, 147, 150),
            Not(OneOf("attributes.Screen size", (1, -2500.0, False), 158, (191, 194, 202)), 158),
            Between("price", 1, 2, 213, 219, 224),
            Not(Equals("brand", "a.b", 230, 239), 230),
            Not(Exists("brand", 247), 247),
        )
    )
    filters.check(found, SCHEMA)


@given(FILTERS)
def test_what_is_printed_is_read_as_it_was(filter: Filter) -> None:
    text = filters.text_of(filter)
    if len(text) <= FILTER_LETTERS_MAX:
        assert unplaced(filters.parse(text)) == unplaced(filter)
    filters.check(filter, SCHEMA)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_a_value(text: str) -> None:
    for quoted in (json.dumps(text), json.dumps(text, ensure_ascii=False), f"'{escaped(text)}'"):
        found = filters.parse(f"brand = {quoted}")
        assert isinstance(found, Equals)
        assert found.value == text


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


PIECES = (
    "brand", "price", "attributes.", "=", "!=", "<", ">=", "..", "TO", "in", "not", "AND", "or",
    "exists", "(", ")", "[", "]", ",", "1", "-2.5e9", '"a', 'b"', "'", '"', "\\", "2020-01-01",
)  # fmt: skip


@settings(max_examples=500)
@given(st.text(max_size=40) | st.lists(st.sampled_from(PIECES)).map(" ".join))
def test_anything_is_read_or_refused_at_a_place_in_it(text: str) -> None:
    try:
        found = filters.parse(text)
        filters.check(found, SCHEMA)
    except InvalidFilter as refused:
        assert 0 <= refused.position <= len(text)
        assert refused.more["position"] == refused.position
        assert refused.document()["position"] == refused.position
        assert refused.detail.startswith(f"At {refused.position}: ")
        return
    assert (found is None) == (not text.strip())
    assert unplaced(filters.parse(filters.text_of(found))) == unplaced(found)


@pytest.mark.parametrize(
    ("text", "position", "detail"),
    [
        ("brnd = x", 0, "there is no field brnd; did you mean brand?"),
        ("price > 1 AND  zzzz = 1", 15, "there is no field zzzz; there are title, brand"),
        ("brand : x", 6, "expected =, !=, <, <=, >, >=, IN, EXISTS or low TO high, found :"),
        ("brand == x", 6, "expected a single =, found =="),
        ("brand x", 6, "expected =, !="),
        ("brand = ", 8, "expected a value, found the end of the filter"),
        ("brand = AND", 8, 'expected a value (as a text: "AND"), found AND'),
        ("in = 3", 0, 'expected the name of a field (of one that is named so: "in"), found in'),
        ("brand NOT = x", 10, "expected IN or EXISTS, found ="),
        ("brand IN x", 9, "expected [ and values, found x"),
        ("brand IN [", 10, "expected a value, found the end"),
        ("brand IN [a b", 12, "expected , or ], found b"),
        ("brand IN []", 10, "expected a value, found ]"),
        ("(brand = x", 10, "expected AND, OR or ), found the end"),
        ("brand = x)", 9, "expected AND, OR or the end, found )"),
        ("brand = 'x", 8, "the text that begins here has no closing '"),
        (r'brand = "a\q"', 10, r"\q is no escape"),
        (r'brand = "\ud800"', 8, "half of a surrogate pair is no character"),
        (r'attributes."a\\b" = 1', 11, "a name has no empty part, backslash or control character"),
        ("attributes. = 1", 12, "expected the name of a field, found ="),
        ("price = 1e400", 8, "the number is larger than any there is"),
        ("price = 1.5", 8, "price is an int field: write a whole number, not 1.5"),
        ("price = nan", 8, 'price is an int field: write a whole number, not "nan"'),
        ("price = 9223372036854775808", 8, "price is an int field: 9223372036854775808 has more"),
        ("price 1 TO -9223372036854775809", 11, "price is an int field: -9223372036854775809 has"),
        ("price = true", 8, "price is an int field: write a whole number, not true"),
        ("weight = -Infinity", 9, 'weight is a float field: write a number, not "-Infinity"'),
        (f"weight < {10**310}", 9, "weight is a float field: 1000"),
        ("brand = 5", 8, 'brand is a keyword field: write a text in quotes, "5", not 5'),
        ("brand < x", 8, "brand is a keyword field, which has no order: use =, != or IN"),
        ("brand.x = y", 0, "brand is a keyword field and has no members"),
        ("used = 1", 7, "used is a bool field: write true or false, not 1"),
        ("used > true", 7, "used is a bool field, which has no order"),
        ("released = 5", 11, "released is a date field: write a date, not 5"),
        ("released > 2020-02-30", 11, "released is a date field: there is no such day or time"),
        ("released > soon", 11, "released is a date field: it is no date such as 2026-01-31"),
        ("title = x", 0, "title is a text field, which cannot be filtered by"),
        ("blob EXISTS", 0, "blob is a stored field, which cannot be filtered by"),
        ("attributes = 3", 0, "attributes is a json field: name a member of it"),
        ("attributes.x < a", 15, "members of a json field have an order by numbers only"),
        ("attributes.x = 1e17", 15, "attributes.x is a json field: its numbers are within ±2^52"),
        ("brand = H*", 9, "expected AND, OR or the end, found *; a text with such a sign stands"),
        ("brand = x;", 9, "expected AND, OR or the end, found ;; a text with such a sign stands"),
        ("brand = null", 8, "expected a value (none at all is NOT EXISTS; as a text"),
        ("NOT " * 21 + "used = true", 80, "NOT and parentheses go 20 deep, no deeper"),
        ("(" * 21 + "used = true" + ")" * 21, 20, "NOT and parentheses go 20 deep"),
        ("x" * 300 + " = 1", 0, "a path has at most 255 characters"),
        (" " * 4097, FILTER_LETTERS_MAX, "a filter has at most 4096 characters, not 4097"),
    ],
)
def test_what_is_wrong_is_told_where_it_is(text: str, position: int, detail: str) -> None:
    with pytest.raises(InvalidFilter) as refused:
        filters.check(filters.parse(text), SCHEMA)
    assert (refused.value.status, refused.value.slug) == (422, "invalid-filter")
    assert refused.value.detail.startswith(f"At {refused.value.position}: {detail}")
    assert refused.value.position == position


def test_conditions_and_values_have_a_limit() -> None:
    several = "(a<1)or" * filters.CONDITIONS_MAX
    assert filters.parse(several[:-2]) is not None
    with pytest.raises(InvalidFilter, match="at most 500 conditions"):
        filters.parse(several + "(a<1)")
    assert filters.parse(f"a IN [{','.join('1' * filters.VALUES_MAX)}]") is not None
    with pytest.raises(InvalidFilter, match="at most 1000 values"):
        filters.parse(f"a IN [{','.join('1' * (filters.VALUES_MAX + 1))}]")


def test_depth_has_a_limit_that_can_be_reached() -> None:
    assert filters.parse("(" * 19 + "used = true" + ")" * 19) == Equals("used", True, 19, 26)


def test_nothing_said_lets_everything_through() -> None:
    assert filters.parse("") is None
    assert filters.parse(" \n\t") is None
    assert filters.text_of(None) == ""
    filters.check(None, SCHEMA)


@given(FILTERS, FILTERS, DOCUMENTS)
def test_both_hold(one: Filter, other: Filter, document: dict[str, Any]) -> None:
    joined = filters.both(one, other)
    assert joined is not None
    wanted = lets_through(one, document) and lets_through(other, document)
    assert lets_through(joined, document) == wanted
    assert filters.both(one, None) is one
    assert filters.both(None, other) is other
    assert filters.both(None, None) is None


def test_no_text_reaches_out_of_its_own_filter() -> None:
    """What would open a filter that is put together from texts."""
    always = filters.parse("brand = mine")
    for text in ("used = true) OR (used = false", "used = true OR used = false", "x' OR 'y' = 'y"):
        try:
            asked = filters.parse(text)
        except InvalidFilter:
            continue
        joined = filters.both(always, asked)
        assert isinstance(joined, All)
        assert not lets_through(joined, {"brand": "other", "used": True})


@given(FILTERS, DOCUMENTS, st.sampled_from(["brand", "price", "attributes.size"]))
def test_without_a_field_only_its_own_parts_are_gone(
    filter: Filter, document: dict[str, Any], path: str
) -> None:
    left = filters.without(filter, path)
    parts = filter.parts if isinstance(filter, All) else (filter,)
    own = [part for part in parts if filters.paths(part) == {path}]
    rest = lets_through(left, document) if left is not None else True
    # What was left out and what is left say together what was said.
    assert lets_through(filter, document) == (
        rest and all(lets_through(part, document) for part in own)
    )
    if left is not None:
        assert all(
            filters.paths(part) != {path}
            for part in (left.parts if isinstance(left, All) else (left,))
        )


def test_a_facet_leaves_out_its_own_selection() -> None:
    filter = filters.parse("brand IN [HP, LG] AND NOT brand = LG AND (brand = HP OR price < 5)")
    left = filters.without(filter, "brand")
    assert filters.text_of(left) == 'brand = "HP" OR price < 5'
    assert filters.without(filters.parse("brand = HP"), "brand") is None
    assert filters.without(None, "brand") is None
