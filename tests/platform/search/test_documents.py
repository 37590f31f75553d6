"""A document fits its schema, or is told where it does not."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.kernel.problems import TooLarge
from hansa.platform.search import documents
from hansa.platform.search.documents import InvalidDocument, InvalidSchema
from hansa.platform.search.schema import DOCUMENT_BYTES_MAX, Field, Schema
from tests.platform.search.fields import DOCUMENTS, SCHEMA

MANY = Schema(tuple(msgspec.structs.replace(field, sort=False) for field in SCHEMA.fields))


@given(DOCUMENTS)
def test_what_fits_is_taken(document: dict[str, Any]) -> None:
    body = json.dumps({"id": "a", **document}).encode()
    assert documents.read(body, MANY) == {"id": "a", **document}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "a.b", "x..y", "", "~/"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from([*(field.name for field in SCHEMA.fields), "none"]), VALUES))
def test_what_does_not_fit_is_left_out_and_no_more(document: dict[str, Any]) -> None:
    kept = documents.pruned({"id": "a", **document}, SCHEMA)
    documents.check_document(kept, SCHEMA)
    for name, value in document.items():
        alone = {"id": "a", name: value}
        try:
            documents.check_document(alone, SCHEMA)
        except InvalidDocument:
            continue
        assert kept[name] == value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_id_has_letters_and_no_control_character(id: str) -> None:
    good = 1 <= len(id) <= 120 and not any(ord(letter) < 32 or ord(letter) == 127 for letter in id)
    assert documents.is_id(id) == good


def nested(depth: int) -> object:
    found: object = 1
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        ([], "", "expected an object, found an array"),
        ({}, "/id", "expected an id: a text that is the document's own"),
        ({"id": 5}, "/id", "expected a text of 1 to 120 letters, none a control character"),
        ({"id": "a\n"}, "/id", "expected a text of 1 to 120 letters"),
        ({"id": "a", "brnad": 1}, "/brnad", "the schema has no such field; did you mean brand?"),
        ({"id": "a", "a/b~c": 1}, "/a~1b~0c", "the schema has no such field; there are title"),
        ({"id": "a", "title": 1}, "/title", "expected a text, found a number"),
        ({"id": "a", "brand": ["x", None]}, "/brand/1", "expected a text, found null"),
        ({"id": "a", "brand": "x" * 1001}, "/brand", "expected at most 1000 letters in a keyword"),
        ({"id": "a", "brand": [["x"]]}, "/brand/0", "expected a text, found an array"),
        ({"id": "a", "price": [1]}, "/price", "expected one value, as it is sorted by this field"),
        ({"id": "a", "price": 1.0}, "/price", "expected a whole number, without a point or an exp"),
        ({"id": "a", "price": True}, "/price", "expected a whole number"),
        ({"id": "a", "price": 2**63}, "/price", "expected a whole number of 64 bits"),
        ({"id": "a", "weight": "1"}, "/weight", "expected a number, found a text of 1 letters"),
        ({"id": "a", "weight": 10**400}, "/weight", "expected a number within ±1.8e308"),
        ({"id": "a", "used": 1}, "/used", "expected true or false, found a number"),
        ({"id": "a", "released": 5}, "/released", "expected a date in a text, as 2026-01-31"),
        ({"id": "a", "released": "2026-02-30"}, "/released", "expected a date, but there is no"),
        ({"id": "a", "attributes": []}, "/attributes", "expected an object, found an array"),
        ({"id": "a", "attributes": {"x": {"a\\": 1}}}, "/attributes/x/a\\", "expected a name"),
        ({"id": "a", "attributes": {"": 1}}, "/attributes/", "expected a name without an empty"),
        ({"id": "a", "attributes": {"a..b": 1}}, "/attributes/a..b", "expected a name without"),
        (
            {"id": "a", "attributes": {"x": [1, 2**60]}},
            "/attributes/x/1",
            "expected a number within",
        ),
        (
            {"id": "a", "attributes": {"x": -1e17}},
            "/attributes/x",
            "expected a number within ±2^52",
        ),
        (
            {"id": "a", "attributes": {"x" * 250: 1}},
            f"/attributes/{'x' * 64}",
            "expected a path of",
        ),
        (
            {"id": "a", "blob": nested(17)},
            "/blob" + "/0" * 17,
            "expected objects and arrays at most",
        ),
    ],
)
def test_what_is_wrong_is_told_where_it_is(document: object, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        documents.check_document(document, SCHEMA)
    assert (refused.value.status, refused.value.slug) == (422, "invalid-document")
    (fault,) = refused.value.errors
    assert fault.pointer == pointer
    assert fault.detail.startswith(detail)
    assert refused.value.detail == f"{pointer or 'The document'}: {fault.detail}"


def test_everything_that_is_wrong_is_told_up_to_a_limit() -> None:
    with pytest.raises(InvalidDocument) as refused:
        documents.check_document({"brand": [1] * 50, "used": 3}, SCHEMA)
    assert len(refused.value.errors) == documents.FAULTS_MAX
    assert [one.pointer for one in refused.value.errors][:2] == ["/id", "/brand/0"]
    assert refused.value.detail.endswith(", and there is more")


def test_null_is_as_nothing() -> None:
    nothing = {field.name: None for field in SCHEMA.fields}
    documents.check_document({"id": "a", **nothing}, SCHEMA)
    assert list(documents.values_of(nothing, SCHEMA)) == []


def test_the_values_of_each_field() -> None:
    document = {"id": "a", "brand": ["x", "y"], "price": 5, "attributes": {"a": 1}, "blob": [1, 2]}
    found = {field.name: values for field, values in documents.values_of(document, SCHEMA)}
    assert found == {
        "brand": ["x", "y"], "price": [5], "attributes": [{"a": 1}], "blob": [[1, 2]],
    }  # fmt: skip


def test_depth_and_size_have_limits() -> None:
    documents.check_document({"id": "a", "blob": nested(16)}, SCHEMA)
    for body in (b"[" * 100_000, b'{"id":"a","blob":' + b"[" * 60_000 + b"]" * 60_000 + b"}"):
        with pytest.raises(InvalidDocument):
            documents.read(body, SCHEMA)
    with pytest.raises(InvalidDocument, match="at most 131072 bytes, not 131073"):
        documents.read(b" " * (DOCUMENT_BYTES_MAX + 1), SCHEMA)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"id":"\xff"}', b'{"id":"a"} x', b'{"id":"\\ud800"}']
)
def test_what_is_no_json_is_told(body: bytes) -> None:
    with pytest.raises(InvalidDocument, match="it is no JSON: "):
        documents.read(body, SCHEMA)


def test_a_bad_line_costs_no_other() -> None:
    body = b'{"id":"a"}\n\n{"id":"b","x":1}\r\n  {"id":"c","brand":"x"} \r\n{"id'
    found = list(documents.lines(body, SCHEMA))
    assert [(line.number, line.id, line.body) for line in found] == [
        (1, "a", b'{"id":"a"}'),
        (3, "", b""),
        (4, "c", b'{"id":"c","brand":"x"}'),
        (5, "", b""),
    ]
    first, last = (line.refused for line in found if line.refused is not None)
    assert first.errors[0].pointer == "/x"
    assert last.detail.startswith("it is no JSON: ")


def test_a_byte_order_mark_before_the_first_line_is_none_of_it() -> None:
    (first, second) = documents.lines(b'\xef\xbb\xbf{"id":"a"}\n\xef\xbb\xbf{"id":"b"}', SCHEMA)
    assert (first.id, first.body) == ("a", b'{"id":"a"}')
    assert second.refused is not None


@pytest.mark.parametrize("body", [b"[]", b'[{"id":"a"}]\n', b' [\n{"id":"a"},\n{"id":"b"}\n]\n'])
def test_an_array_of_documents_is_told_to_be_none(body: bytes) -> None:
    with pytest.raises(InvalidDocument, match=r"one object a line \(NDJSON\), not an array"):
        list(documents.lines(body, SCHEMA))


def test_an_array_among_the_lines_costs_no_other() -> None:
    one, two = documents.lines(b'[{"id":"a"}]\n{"id":"b"}', SCHEMA)
    assert one.refused is not None
    assert "one object a line" in one.refused.detail
    assert two.id == "b"


def test_lines_have_a_limit() -> None:
    assert list(documents.lines(b"\n" * documents.LINES_MAX, SCHEMA)) == []
    with pytest.raises(TooLarge):
        list(documents.lines(b"\n" * (documents.LINES_MAX + 1), SCHEMA))


# ---- schemas


def test_a_schema_that_makes_sense() -> None:
    documents.check_schema(SCHEMA)
    documents.check_schema(MANY)


@pytest.mark.parametrize(
    ("schema", "pointer", "detail"),
    [
        (Schema((Field("id", "keyword"),)), "/fields/0/name", "every document has an id"),
        (
            Schema((Field("a", "int"), Field("a", "text"))),
            "/fields/1/name",
            "there is a field a before",
        ),
        (Schema((Field("a", "json", sort=True),)), "/fields/0/sort", "a json field has no order"),
        (Schema((Field("a", "stored", sort=True),)), "/fields/0/sort", "a stored field has no"),
        (
            Schema((Field("a", "text", facet=True),)),
            "/fields/0/facet",
            "the values of a text field",
        ),
        (Schema((Field("a", "stored", facet=True),)), "/fields/0/facet", "the values of a stored"),
        (Schema((Field("a", "bool", weight=1),)), "/fields/0/weight", "a bool field has no words"),
        (Schema((Field("a", "date", weight=2),)), "/fields/0/weight", "a date field has no words"),
        (
            Schema((Field("name", "text"),), title="nmae"),
            "/title",
            "there is no field nmae; did you mean name?",
        ),
        (Schema((Field("a", "keyword"),), title="a"), "/title", "a is a keyword field; the title"),
        (
            Schema((Field("a", "text"),), locale="De-AT"),
            "/locale",
            "a language alone, in two or three small letters, as de",
        ),
    ],
)
def test_a_schema_that_makes_none(schema: Schema, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidSchema) as refused:
        documents.check_schema(schema)
    assert (refused.value.status, refused.value.slug) == (422, "invalid-schema")
    (fault,) = refused.value.errors
    assert fault.pointer == pointer
    assert fault.detail.startswith(detail)
