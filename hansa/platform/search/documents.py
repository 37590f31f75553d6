"""Documents: whether one fits its collection's schema, and whether that schema makes sense. Pure.

A refusal names every place that is wrong, as a JSON Pointer (RFC 6901), and what is expected there.
What must never happen: a document that is taken here and that the engine then cannot keep.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from hansa.kernel.problems import Fault, TooLarge, Unprocessable
from hansa.kernel.structs import Struct
from hansa.platform.search import instant
from hansa.platform.search.filters import INT_MAX, MEMBER_MAX, PATH_LETTERS_MAX, is_path
from hansa.platform.search.schema import (
    DOCUMENT_BYTES_MAX,
    ID_FIELD,
    ID_LETTERS_MAX,
    Field,
    Schema,
    did_you_mean,
)

KEYWORD_LETTERS_MAX: Final = 1_000
DEPTH_MAX: Final = 16
"""How deep objects and arrays are within a document's fields."""
FAULTS_MAX: Final = 20
"""How many of a document's faults are told."""
PRUNED_MAX: Final = 100
"""How many members of one field are left out; of a field with more, all of it."""
LINES_MAX: Final = 10_000

_AN_OBJECT_A_LINE: Final = "send one object a line (NDJSON), not an array, nor commas between them"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SORTED: Final = frozenset({"text", "keyword", "int", "float", "bool", "date"})
_FACETED: Final = frozenset({"keyword", "int", "float", "bool", "date", "json"})
_SEARCHED: Final = frozenset({"text", "keyword", "int", "float", "json"})


class InvalidSchema(Unprocessable):
    """A schema that contradicts itself; `errors` tells where."""

    slug = "invalid-schema"
    title = "The schema is not valid"


class InvalidDocument(Unprocessable):
    """A document that is none, or that does not fit the schema; `errors` tells where."""

    slug = "invalid-document"
    title = "The document does not fit the schema"


# ---- schemas


def check_schema(schema: Schema) -> None:
    """Raise InvalidSchema for what a schema cannot say."""
    faults = list(_schema_faults(schema))
    if faults:
        raise InvalidSchema("; ".join(fault.detail for fault in faults[:3]), errors=tuple(faults))


def _schema_faults(schema: Schema) -> Iterator[Fault]:
    seen = set[str]()
    for place, field in enumerate(schema.fields):
        at = f"/fields/{place}"
        if field.name == ID_FIELD.name:
            yield Fault(f"{at}/name", "every document has an id: it is not declared")
        if field.name in seen:
            yield Fault(f"{at}/name", f"there is a field {field.name} before")
        seen.add(field.name)
        if field.sort and field.type not in _SORTED:
            yield Fault(f"{at}/sort", f"a {field.type} field has no order")
        if field.facet and field.type not in _FACETED:
            yield Fault(
                f"{at}/facet", f"the values of a {field.type} field are not counted; keywords are"
            )
        if field.words and field.type not in _SEARCHED:
            yield Fault(f"{at}/weight", f"a {field.type} field has no words to search")
    title = next((one for one in schema.fields if one.name == schema.title), None)
    if schema.title and title is None:
        names = (one.name for one in schema.fields if one.type == "text")
        hint = did_you_mean(schema.title, names)
        yield Fault("/title", f"there is no field {schema.title[:40]}{hint}")
    elif title is not None and title.type != "text":
        yield Fault("/title", f"{title.name} is a {title.type} field; the title is a text field")
    if re.fullmatch("[a-z]{2,3}", schema.locale) is None:
        language = re.match("[A-Za-z]{2,3}(?=[-_]|$)", schema.locale)
        meant = language[0].lower() if language else "en"
        yield Fault("/locale", f"a language alone, in two or three small letters, as {meant}")


# ---- documents


def read(body: bytes, schema: Schema) -> dict[str, Any]:
    """Return the document in a text of JSON, which fits the schema. Raises InvalidDocument."""
    _check_size(body)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as refused:
        raise InvalidDocument(f"it is no JSON: {refused}") from None
    check_document(document, schema)
    found: dict[str, Any] = document
    return found


def written(document: object, schema: Schema) -> bytes:
    """Return the text of a document that fits the schema. Raises InvalidDocument."""
    check_document(document, schema)
    body = msgspec.json.encode(document)
    _check_size(body)
    return body


def _check_size(body: bytes) -> None:
    if len(body) > DOCUMENT_BYTES_MAX:
        raise InvalidDocument(f"a document has at most {DOCUMENT_BYTES_MAX} bytes, not {len(body)}")


def check_document(document: object, schema: Schema) -> None:
    """Raise InvalidDocument unless a decoded JSON value is a document of the schema. A member that
    is null is as one that is not there."""
    faults: list[Fault] = []
    for fault in _faults(document, schema):
        faults.append(fault)
        if len(faults) == FAULTS_MAX:
            break
    if faults:
        first = faults[0]
        more = "" if len(faults) == 1 else ", and there is more"
        detail = f"{first.pointer or 'The document'}: {first.detail}{more}"
        raise InvalidDocument(detail, errors=tuple(faults))


def pruned(document: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return a document without what of it does not fit the schema; its id is not looked at."""
    kept: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    names = {field.name: field for field in schema.fields}
    for name in [*kept]:
        field = names.get(name)
        if field is None and name != ID_FIELD.name:
            del kept[name]
            continue
        for _ in range(PRUNED_MAX):
            fault = None if field is None else _fault(field, kept.get(name))
            if fault is None:
                break
            _cut(kept, name, fault.pointer)
        else:
            kept.pop(name, None)
    return kept


def _fault(field: Field, value: object) -> Fault | None:
    return next(_field_faults(field, value, ""), None)


def _cut(document: dict[str, Any], name: str, pointer: str) -> None:
    """Take away the member of a field's object that a pointer names, or else the field."""
    member = pointer.removeprefix("/").replace("~1", "/").replace("~0", "~")
    inside: dict[str, Any] | None = document[name] if isinstance(document[name], dict) else None
    if inside is not None and member in inside:
        del inside[member]
    else:
        del document[name]


def _faults(document: object, schema: Schema) -> Iterator[Fault]:
    if not isinstance(document, Mapping):
        yield Fault("", f"expected an object, found {_kind(document)}")
        return
    yield from _id_faults(document)
    names = {field.name: field for field in schema.fields}
    for name, value in document.items():
        field = names.get(name)
        at = f"/{_escaped(name)}"
        if field is not None:
            yield from _field_faults(field, value, at)
        elif name != ID_FIELD.name:
            yield Fault(at, f"the schema has no such field{did_you_mean(name[:64], names)}")


def _id_faults(document: Mapping[Any, Any]) -> Iterator[Fault]:
    at = f"/{ID_FIELD.name}"
    if ID_FIELD.name not in document:
        yield Fault(at, "expected an id: a text that is the document's own")
    elif not is_id(document[ID_FIELD.name]):
        yield Fault(
            at, f"expected a text of 1 to {ID_LETTERS_MAX} letters, none a control character"
        )


def is_id(value: object) -> bool:
    """Tell whether a value can be a document's id."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= ID_LETTERS_MAX
        and _CONTROL.search(value) is None
    )


def _field_faults(field: Field, value: object, at: str) -> Iterator[Fault]:
    if value is None:
        return
    if field.type in ("json", "stored"):
        yield from _tree_faults(field, value, at)
        return
    if not isinstance(value, list):
        yield from _value_faults(field, value, at)
    elif field.sort:
        yield Fault(at, "expected one value, as it is sorted by this field, found an array")
    else:
        for place, one in enumerate(value):
            yield from _value_faults(field, one, f"{at}/{place}")


def _value_faults(field: Field, value: object, at: str) -> Iterator[Fault]:
    expected = ""
    match field.type:
        case "text":
            expected = "" if isinstance(value, str) else "a text"
        case "keyword":
            expected = "" if isinstance(value, str) else "a text"
            if isinstance(value, str) and len(value) > KEYWORD_LETTERS_MAX:
                expected = f"at most {KEYWORD_LETTERS_MAX} letters in a keyword"
        case "bool":
            expected = "" if isinstance(value, bool) else "true or false"
        case "int":
            if isinstance(value, bool) or not isinstance(value, int):
                expected = "a whole number, without a point or an exponent"
            elif not -INT_MAX - 1 <= value <= INT_MAX:
                expected = "a whole number of 64 bits"
        case "float":
            if isinstance(value, bool) or not isinstance(value, int | float):
                expected = "a number"
            elif not _is_finite(value):
                expected = "a number within ±1.8e308"
        case "date":
            if not isinstance(value, str):
                expected = "a date in a text, as 2026-01-31 or 2026-01-31T12:00:00Z"
            else:
                try:
                    instant.micros(value)
                except ValueError as refused:
                    yield Fault(at, f"expected a date, but {refused}")
        case _:
            raise AssertionError(field.type)
    if expected:
        yield Fault(at, f"expected {expected}, found {_kind(value)}")


def _tree_faults(field: Field, value: object, at: str) -> Iterator[Fault]:
    """What is wrong within a json or a stored field; of the latter only its depth counts."""
    if field.type == "json" and not isinstance(value, Mapping):
        yield Fault(at, f"expected an object, found {_kind(value)}")
        return
    ahead: list[tuple[object, str, str, int]] = [(value, field.name, at, 0)]
    while ahead:
        one, path, here, depth = ahead.pop()
        if depth > DEPTH_MAX:
            yield Fault(here, f"expected objects and arrays at most {DEPTH_MAX} deep")
            return
        below: list[tuple[object, str, str, int]] = []
        if isinstance(one, Mapping):
            for name, member in one.items():
                spot = f"{here}/{_escaped(name)}"
                inner = f"{path}.{name}"
                if field.type == "json" and not is_path(name):
                    yield Fault(spot, "expected a name without an empty part, backslash or control")
                elif field.type == "json" and len(inner) > PATH_LETTERS_MAX:
                    yield Fault(spot, f"expected a path of at most {PATH_LETTERS_MAX} letters")
                else:
                    below.append((member, inner, spot, depth + 1))
        elif isinstance(one, list):
            below.extend((item, path, f"{here}/{n}", depth + 1) for n, item in enumerate(one))
        elif field.type == "json" and _is_far(one):
            yield Fault(here, "expected a number within ±2^52: write a greater one as a text")
        ahead.extend(reversed(below))


def _is_far(value: object) -> bool:
    return isinstance(value, int | float) and not -MEMBER_MAX <= value <= MEMBER_MAX


def _is_finite(value: int | float) -> bool:
    try:
        return abs(float(value)) != float("inf")
    except OverflowError:
        return False


def _kind(value: object) -> str:
    """Return what a value is, and not the value: a refusal goes into logs."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"a text of {len(value)} letters"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"


def _escaped(name: str) -> str:
    """Return a name as it stands in a JSON Pointer; of a very long one, its beginning."""
    return name[:64].replace("~", "~0").replace("/", "~1")


def values_of(document: Mapping[str, Any], schema: Schema) -> Iterator[tuple[Field, list[Any]]]:
    """Yield the fields of a document that has been checked, with the values that each has."""
    for field in schema.fields:
        value = document.get(field.name)
        values = value if isinstance(value, list) and field.type != "stored" else [value]
        if value is not None and values:
            yield field, values


# ---- many at once


class Line(Struct):
    """A line of NDJSON: its number from 1, and the document in it with its id and its JSON, or why
    there is none."""

    number: int
    id: str = ""
    body: bytes = b""
    refused: InvalidDocument | None = None


def lines(body: bytes, schema: Schema) -> Iterator[Line]:
    """Yield what is in each line of NDJSON but empty ones: one that is wrong costs no other. A byte
    order mark before the first is skipped. Before any it raises TooLarge, when there are too many,
    and InvalidDocument for one array of documents, of which each line would be told to be wrong."""
    if body.count(b"\n") > LINES_MAX:
        raise TooLarge(f"at most {LINES_MAX} lines go into one request")
    body = body.removeprefix(BOM_UTF8)
    whole = body.strip()
    if whole.startswith(b"[") and whole.endswith(b"]"):
        raise InvalidDocument(f"The body is an array: {_AN_OBJECT_A_LINE}")
    for number, line in enumerate(body.split(b"\n"), 1):
        text = line.strip(b" \t\r")
        if not text:
            continue
        try:
            if text.startswith(b"["):
                raise InvalidDocument(f"The line begins an array: {_AN_OBJECT_A_LINE}")
            document = read(text, schema)
        except InvalidDocument as refused:
            yield Line(number, refused=refused)
        else:
            yield Line(number, document[ID_FIELD.name], text)
