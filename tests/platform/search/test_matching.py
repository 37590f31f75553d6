"""The engine lets through what a filter lets through, by the plainest reading of it."""

from collections.abc import Sequence
from typing import Any

import pytest
import tantivy
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.platform.search import filters, instant
from hansa.platform.search.engine import matching, members
from hansa.platform.search.filters import Filter
from tests.platform.search.fields import DOCUMENTS, FILTERS, SCHEMA, WORDS, lets_through


def layout() -> tantivy.Schema:
    """The fields that `matching` stands on."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("words")
    builder.add_text_field("f_brand", fast=True, tokenizer_name="raw", index_option="basic")
    builder.add_integer_field("f_price", indexed=True, fast=True)
    builder.add_integer_field("f_released", indexed=True, fast=True)
    builder.add_float_field("f_weight", indexed=True, fast=True)
    builder.add_boolean_field("f_used", indexed=True, fast=True)
    builder.add_json_field(
        "f_attributes", fast=True, tokenizer_name="raw", index_option="basic",
        expand_dots_enabled=True,
    )  # fmt: skip
    return builder.build()


def index_of(documents: Sequence[dict[str, Any]], commits: int = 1) -> tantivy.Index:
    """An index in memory with documents named by their number, in some segments."""
    index = tantivy.Index(layout())
    writer = index.writer(15_000_000, 1)
    for number, document in enumerate(documents):
        made = tantivy.Document()
        made.add_text("id", str(number))
        made.add_text("words", "some words " * (number % 3))
        if "attributes" in document:
            made.add_json("f_attributes", members.kept(document["attributes"]))
        for name, value in document.items():
            for one in value if isinstance(value, list) else [value]:
                match name:
                    case "brand":
                        made.add_text("f_brand", one)
                    case "price":
                        made.add_integer("f_price", one)
                    case "weight":
                        made.add_float("f_weight", one or 0.0)
                    case "used":
                        made.add_boolean("f_used", one)
                    case "released":
                        made.add_integer("f_released", instant.micros(one))
                    case _:
                        pass
        writer.add_document(made)
        if (number + 1) % -(-len(documents) // commits) == 0:
            writer.commit()
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index


def ids(index: tantivy.Index, filter: Filter) -> set[int]:
    """The numbers of the documents that the engine lets through."""
    filters.check(filter, SCHEMA)
    searcher = index.searcher()
    hits = searcher.search(matching.query_of(filter, SCHEMA, index), 1000).hits
    assert all(score == 0.0 for score, _ in hits)
    return {int(searcher.doc(address)["id"][0]) for _, address in hits}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(DOCUMENTS, min_size=1, max_size=12), st.lists(FILTERS, min_size=10, max_size=40),
    st.integers(1, 3),
)  # fmt: skip
def test_the_same_documents_by_the_engine_and_by_the_plainest_reading(
    documents: list[dict[str, Any]], some: list[Filter], commits: int
) -> None:
    index = index_of(documents, commits)
    for filter in some:
        wanted = {
            number for number, document in enumerate(documents) if lets_through(filter, document)
        }
        assert ids(index, filter) == wanted, filters.text_of(filter)


def test_a_name_of_a_member_may_have_any_sign() -> None:
    names = [chr(code) for code in range(32, 127) if chr(code) not in "\\."]
    names += ["日本", "a\u00a0b", "\u3000", "a\u200bb", "AND", "IN", "--"]
    names = list(dict.fromkeys(names + [f"x{name}y" for name in names] + [f"{n}x" for n in names]))
    index = index_of([{"attributes": {name: place + 0.5 for place, name in enumerate(names)}}])
    for place, name in enumerate(names):
        path = f"attributes.{name}"
        for filter in (
            filters.Equals(path, place + 0.5),
            filters.OneOf(path, (place + 0.5, "x")),
            filters.Compares(path, ">", place),
            filters.Between(path, place, place + 0.5),
            filters.Between(path, place + 0.5, place + 1),
            filters.Exists(path),
        ):
            assert ids(index, filter) == {0}, name
            read = filters.parse(filters.text_of(filter))
            assert read is not None
            assert ids(index, read) == {0}, name
        assert ids(index, filters.Compares(path, "<", place)) == set()


def test_a_document_is_found_by_its_id() -> None:
    index = index_of([{}, {"brand": "HP"}, {}])
    assert ids(index, filters.Equals("id", "1")) == {1}
    assert ids(index, filters.OneOf("id", ("0", "2", "9"))) == {0, 2}
    assert ids(index, filters.Not(filters.Equals("id", "1"))) == {0, 2}
    assert ids(index, filters.Exists("id")) == {0, 1, 2}


@pytest.mark.parametrize("more", [matching.LOOKED_UP - 3, matching.LOOKED_UP])
def test_one_of_many_values_is_one_of_few(more: int) -> None:
    index = index_of([{"price": 1, "attributes": {"n": 1}}, {"price": 2, "attributes": {"n": 2.5}}])
    values = (1, *range(100, 100 + more), 3)
    assert ids(index, filters.OneOf("price", values)) == {0}
    assert ids(index, filters.OneOf("attributes.n", (*values[1:], 2.5, "1", True))) == {1}


def test_a_filter_changes_no_score() -> None:
    index = index_of([{"brand": "HP"}, {"brand": "HP"}, {"brand": "LG"}] * 3)
    words = tantivy.Query.term_query(index.schema, "words", "some")
    filter = filters.parse("brand = HP AND NOT price EXISTS")
    assert filter is not None
    query = matching.query_of(filter, SCHEMA, index)
    joined = tantivy.Query.boolean_query([(tantivy.Occur.Must, words), (tantivy.Occur.Must, query)])
    searcher = index.searcher()
    scores = {address.doc: score for score, address in searcher.search(words, 100).hits}
    filtered = {address.doc: score for score, address in searcher.search(joined, 100).hits}
    assert filtered
    assert filtered == {doc: scores[doc] for doc in filtered}


@pytest.mark.parametrize("text", [*WORDS, "0001-01-01T", "2020-01-01", "+2020-01-01T00:00:00Z"])
def test_a_text_of_a_member_stays_the_text_that_it_is(text: str) -> None:
    assert members.given_text(members.kept_text(text)) == text
    index = index_of([{"attributes": {"a": text}}, {"attributes": {"a": members.MARK + text}}])
    assert ids(index, filters.Equals("attributes.a", text)) == {0}
    counted = index.searcher().aggregate(
        tantivy.Query.all_query(), {"a": {"terms": {"field": "f_attributes.a"}}}
    )
    terms = {members.given_text(bucket["key"]) for bucket in counted["a"]["buckets"]}
    assert terms == {text, members.MARK + text}
