"""Layout: how a collection's schema and its documents look inside the engine.

Every document has `id`, `n` (a number made from the id), `order` (what decides between documents of
one score), the texts that are searched and its body as it was given. Each field that is compared,
counted or sorted by has a column, `f_<name>`.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import version
from typing import Any, Final

import msgspec
import tantivy

from hansa.kernel.structs import Struct
from hansa.platform.search import instant
from hansa.platform.search.analysis import fold
from hansa.platform.search.documents import pruned
from hansa.platform.search.engine import members
from hansa.platform.search.engine.wording import BAG, TITLE, TRAITS, VOCAB, WORDS, Wordings
from hansa.platform.search.schema import Field, Schema

LAYOUT: Final = 1
"""Raised whenever the same documents would be laid out in another way: indexes are made anew."""
RELEASE: Final = version("tantivy")

ID: Final = "id"
N: Final = "n"
ORDER: Final = "order"
BODY: Final = "body"

STEMMED: Final = "stemmed"
PLAIN: Final = "plain"
"""Names of the analyzers, which an index registers for its locale."""

SORTED_LETTERS: Final = 200
"""How much of a text it is sorted by."""


class Change(Struct):
    """A document as of a `change` of the log: its JSON, or None when it is deleted. `popularity`,
    from 0, decides between documents of one score."""

    id: str
    change: int
    body: bytes | None
    popularity: float = 0.0


def number_of(id: str) -> int:
    """Return the number that stands for a document in columns: 64 bits of a hash of its id."""
    return int.from_bytes(blake2b(id.encode(), digest_size=8).digest(), "big")


def order_of(id: str, popularity: float) -> int:
    """Return what documents of one score are ordered by, the greatest first: the popularity in 32
    bits (those of a float from 0 compare as integers do), then half the number of the id."""
    bits = int.from_bytes(struct.pack(">f", min(max(popularity, 0.0), 3.0e38)), "big")
    return bits << 32 | number_of(id) & 0xFFFFFFFF


def popularity_of(order: int) -> float:
    """Return the popularity in `order_of`."""
    return float(struct.unpack(">f", (order >> 32).to_bytes(4, "big"))[0])


def has_column(field: Field) -> bool:
    """Tell whether the engine keeps a field's values in a column."""
    return field.type != "stored" and (field.type != "text" or field.facet or field.sort)


def column(path: str) -> str:
    """Return the engine's name of a field, or of a member of a JSON field: ``attributes.colour``
    is ``f_attributes.colour``."""
    return f"f_{path}"


def fingerprint(schema: Schema) -> str:
    """Return what two schemas have in common exactly when they lay out documents alike."""
    return blake2b(msgspec.json.encode(schema), digest_size=16).hexdigest()


@lru_cache(maxsize=256)
def engine_schema(schema: Schema) -> tantivy.Schema:
    """Return the schema of the engine for a collection's."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(ID, stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field(N, fast=True)
    builder.add_unsigned_field(ORDER, fast=True)
    builder.add_text_field(BAG, tokenizer_name=STEMMED, index_option="freq")
    builder.add_text_field(TITLE, tokenizer_name=STEMMED, index_option="freq")
    builder.add_text_field(TRAITS, tokenizer_name=STEMMED, index_option="basic")
    builder.add_text_field(WORDS, tokenizer_name=STEMMED, index_option="basic")
    builder.add_text_field(VOCAB, tokenizer_name=PLAIN, index_option="position")
    for field in filter(has_column, schema.fields):
        _add_column(builder, column(field.name), field)
    builder.add_bytes_field(BODY, stored=True)
    return builder.build()


def _add_column(builder: tantivy.SchemaBuilder, name: str, field: Field) -> None:
    match field.type:
        case "int" | "date":
            builder.add_integer_field(name, indexed=True, fast=True)
        case "float":
            builder.add_float_field(name, indexed=True, fast=True)
        case "bool":
            builder.add_boolean_field(name, indexed=True, fast=True)
        case "json":
            # raw: another tokenizer on a fast JSON field kills the writer's thread.
            builder.add_json_field(
                name,
                fast=True,
                tokenizer_name="raw",
                index_option="basic",
                expand_dots_enabled=True,
            )
        case _:
            builder.add_text_field(name, fast=True, tokenizer_name="raw", index_option="basic")


Adder = Callable[[tantivy.Document, str, Any], None]


def _add_date(document: tantivy.Document, name: str, value: Any) -> None:
    document.add_integer(name, instant.micros(value))


def _add_float(document: tantivy.Document, name: str, value: Any) -> None:
    document.add_float(name, float(value) or 0.0)


def _add_json(document: tantivy.Document, name: str, value: Any) -> None:
    document.add_json(name, members.kept(value))


def _add_text(document: tantivy.Document, name: str, value: Any) -> None:
    # As words of a dictionary are sorted (DIN 5007-1): ä as a, ß as ss.
    document.add_text(name, fold(value[:SORTED_LETTERS].casefold()))


ADDERS: Final[dict[str, Adder]] = {
    "keyword": tantivy.Document.add_text,
    "text": _add_text,
    "int": tantivy.Document.add_integer,
    "float": _add_float,
    "bool": tantivy.Document.add_boolean,
    "date": _add_date,
    "json": _add_json,
}


class Layout:
    """A collection's schema in the engine, and its documents."""

    __slots__ = ("_columns", "_schema", "_wordings", "engine")

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._wordings = Wordings(schema)
        self.engine = engine_schema(schema)
        self._columns = [
            (field.name, column(field.name), ADDERS[field.type])
            for field in schema.fields
            if has_column(field)
        ]

    def document(self, id: str, body: bytes, order: int) -> tantivy.Document:
        """Return the engine's document for a body. Of one that was put under another schema what
        does not fit this one is left out, and it is found by the rest."""
        values: dict[str, Any] = msgspec.json.decode(body)
        try:
            return self._document(id, values, body, order)
        except (TypeError, ValueError, OverflowError, AttributeError):
            return self._document(id, pruned(values, self._schema), body, order)

    def _document(
        self, id: str, values: dict[str, Any], body: bytes, order: int
    ) -> tantivy.Document:
        words = self._wordings.of(values)
        document = tantivy.Document()
        document.add_text(ID, id)
        document.add_unsigned(N, number_of(id))
        document.add_unsigned(ORDER, order)
        for name, texts in (
            (BAG, words.bag),
            (TITLE, words.title),
            (TRAITS, words.traits),
            (WORDS, words.vocab),
            (VOCAB, words.vocab),
        ):
            for text in texts:
                document.add_text(name, text)
        for name, column_name, add in self._columns:
            value = values.get(name)
            if value is None:
                continue
            # A value that is there twice is one value: it is counted once.
            for one in _distinct(value) if isinstance(value, list) else (value,):
                add(document, column_name, one)
        document.add_bytes(BODY, body)
        return document


layout_of: Final = lru_cache(maxsize=256)(Layout)
"""Returns the layout of a schema, one for all collections that have the same."""


def _distinct(values: list[Any]) -> list[Any]:
    if any(isinstance(value, dict) for value in values):
        return values
    return [value for value in dict.fromkeys(values) if value is not None]
