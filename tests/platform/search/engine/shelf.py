"""The real products as documents of a collection, and small ones made by hand."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from hansa.platform.search.curation import Curation
from hansa.platform.search.engine.index import Index
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.request import Found, SearchRequest
from hansa.platform.search.schema import Field, Schema

PRODUCTS: Final = Schema(
    (
        Field("name", "keyword", weight=1),
        Field("title", "text", weight=3, sort=True),
        Field("short_description", "text"),
        Field("supplier", "keyword", weight=2, facet=True, sort=True),
        Field("price", "int", facet=True, sort=True),
        Field("date_released", "date", sort=True, facet=True),
        Field("attributes", "json", weight=1, facet=True),
    ),
    title="title",
)
MUGS: Final = Schema(
    (
        Field("title", "text", sort=True),
        Field("text", "text"),
        Field("brand", "keyword", facet=True, sort=True),
        Field("tags", "keyword", facet=True),
        Field("price", "int", facet=True, sort=True),
        Field("weight", "float", facet=True, sort=True),
        Field("sizes", "int", facet=True),
        Field("new", "bool", facet=True),
        Field("since", "date", facet=True, sort=True),
        Field("more", "json", facet=True),
    ),
    title="title",
)


def products(folder: Path, begin: int = 0, end: int = 2_000) -> Iterator[Change]:
    """Some of the real products, as changes from `begin` + 1."""
    with gzip.open(folder / "products.ndjson.gz") as lines:
        for number, line in enumerate(lines):
            if number >= end:
                return
            if number < begin:
                continue
            row: dict[str, Any] = msgspec.json.decode(line)
            names = ("id", "name", "title", "short_description", "supplier", "price")
            document = {name: row[name] for name in (*names, "date_released") if name in row}
            document["attributes"] = {
                name[7:]: value for name, value in row.items() if name.startswith("attr_")
            }
            yield Change(row["id"], number + 1, msgspec.json.encode(document))


def change(number: int, id: str, *, popularity: float = 0.0, **document: object) -> Change:
    """A document as a change."""
    return Change(id, number, msgspec.json.encode({"id": id, **document}), popularity)


def filled(folder: Path, schema: Schema, changes: Sequence[Change]) -> Index:
    """An index with documents."""
    index = Index.open(folder, schema)
    index.write(changes, changes[-1].change if changes else 0)
    index.commit()
    return index


def search(index: Index, q: str = "", **more: Any) -> Found:
    """What a search finds that nobody has curated."""
    curation = more.pop("curation", Curation())
    always, learned = more.pop("always", None), more.pop("learned", {})
    request = SearchRequest(q=q, **more)
    return index.search(request, always=always, curation=curation, learned=learned)


def documents(found: Found) -> list[dict[str, Any]]:
    """The documents of an answer."""
    return [msgspec.json.decode(hit.document) for hit in found.hits]


def ids(found: Found) -> list[str]:
    """The ids of an answer, in its order."""
    return [document["id"] for document in documents(found)]
