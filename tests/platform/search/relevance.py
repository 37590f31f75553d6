"""Collections with judgements, in indexes made as users make them; and the record of how well they
are searched, `relevance.json`.

`python -m tests.platform.search.relevance` makes the record anew, and tells what changed. Do that
when a change is meant, and say in its message what it gained where.
"""

import gzip
import random
import re
import string
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from hansa.platform.search.curation import Curation
from hansa.platform.search.engine.index import Index
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.evaluation import (
    Baseline,
    Judgements,
    Search,
    baseline_of,
    baselines_of_json,
    evaluate,
    judgements_of_csv,
    judgements_of_qrels,
    losses,
)
from hansa.platform.search.request import SearchRequest
from hansa.platform.search.schema import Field, Schema

RECORD: Final = Path(__file__).with_name("relevance.json")

PRODUCTS: Final = Schema(
    (
        Field("title", "text", weight=3),
        Field("supplier", "keyword", weight=1, facet=True),
        Field("description", "text", weight=2),
        Field("attributes", "json", weight=1, facet=True),
    ),
    title="title",
)
"""The weights that a shop's products have."""
ABSTRACTS: Final = Schema((Field("title", "text"), Field("text", "text")), title="title")
"""Prose, with the weights that fields have when nobody says any."""

NOBODY: Final = Curation()


def products(folder: Path) -> Iterator[dict[str, Any]]:
    """The real products."""
    with gzip.open(folder / "products.ndjson.gz") as lines:
        for line in lines:
            row: dict[str, Any] = msgspec.json.decode(line)
            yield {
                "id": row["id"],
                "title": row["title"],
                "supplier": row.get("supplier", ""),
                "description": row.get("short_description", ""),
                "attributes": {
                    name[len("attr_t_") :]: value
                    for name, value in row.items()
                    if name.startswith("attr_")
                },
            }


def product_judgements(folder: Path) -> Judgements:
    """Half of the published judgements of them."""
    with (folder / "judgements.csv").open() as lines:
        return judgements_of_csv(lines)


def abstracts(folder: Path) -> Iterator[dict[str, Any]]:
    """The 1,400 abstracts of Cranfield."""
    text = (folder / "cran.all.1400.xml").read_text()
    for document in re.findall("<doc>(.*?)</doc>", text, re.S):
        parts = {
            name: found[1].strip() if (found := _element(name, document)) else ""
            for name in ("docno", "title", "text")
        }
        yield {"id": parts["docno"], "title": parts["title"], "text": parts["text"]}


def abstract_judgements(folder: Path) -> Judgements:
    """The judgements of them, whose searches are numbered in their order."""
    asked = re.findall("<title>(.*?)</title>", (folder / "cran.qry.xml").read_text(), re.S)
    queries = {str(number): " ".join(one.split()) for number, one in enumerate(asked, 1)}
    with (folder / "cranqrel.trec.txt").open() as lines:
        return judgements_of_qrels(lines, queries)


def _element(name: str, document: str) -> re.Match[str] | None:
    return re.search(f"<{name}>(.*?)</{name}>", document, re.S)


def indexed(folder: Path, schema: Schema, documents: Iterable[dict[str, Any]]) -> Index:
    """An index of documents."""
    index = Index.open(folder, schema)
    changes = [
        Change(one["id"], number, msgspec.json.encode(one))
        for number, one in enumerate(documents, 1)
    ]
    index.write(changes, len(changes))
    index.rest()
    return index


_id_of: Final = msgspec.json.Decoder(dict[str, str]).decode


def search_of(index: Index, curation: Curation = NOBODY, **options: Any) -> Search:
    """What searches in an index, as its visitors do."""

    def search(q: str, limit: int) -> list[str]:
        request = SearchRequest(q=q, per_page=limit, fields=("id",), **options)
        found = index.search(request, always=None, curation=curation, learned={})
        return [_id_of(hit.document)["id"] for hit in found.hits]

    return search


def with_typo(q: str, chance: random.Random) -> str | None:
    """The same with one edit in a word of four letters or more: a letter too many, missing, wrong,
    or exchanged with the next; None where no word is that long."""
    words = q.split()
    long = [place for place, word in enumerate(words) if len(word) >= 4]
    if not long:
        return None
    place = chance.choice(long)
    word = words[place]
    while words[place] == word:
        at, letter = chance.randrange(len(word) - 1), chance.choice(string.ascii_lowercase)
        before, after = word[:at], word[at:]
        words[place] = chance.choice(
            (
                before + letter + after,
                before + after[1:],
                before + letter + after[1:],
                before + after[1] + after[0] + after[2:],
            )
        )
    return " ".join(words)


def half_typed(q: str) -> str:
    """The same with half of its last word."""
    return q[: len(q) - len(q.split()[-1]) // 2]


def recorded() -> dict[str, Baseline]:
    """The record, by collection."""
    return baselines_of_json(RECORD.read_bytes())


def main(data: Path) -> None:
    """Make the record anew."""
    before = recorded() if RECORD.exists() else {}
    now: dict[str, Baseline] = {}
    electronics, cranfield = data / "electronics", data / "cranfield"
    for name, schema, documents, judgements in (
        ("electronics", PRODUCTS, products(electronics), product_judgements(electronics)),
        ("cranfield", ABSTRACTS, abstracts(cranfield), abstract_judgements(cranfield)),
    ):
        with tempfile.TemporaryDirectory() as folder:
            index = indexed(Path(folder) / "index", schema, documents)
            report = evaluate(search_of(index), judgements)
            index.close()
        now[name] = baseline_of(report)
        print(name, report.total)
        for query, was, is_now in losses(report, before.get(name, now[name]))[:20]:
            print(f"  {was:.3f} -> {is_now:.3f}  {query}")
    RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=1) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
