"""Corpus: the real products, the abstracts of Cranfield, and more products made of real ones."""

import gzip
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.installing import HERE
from hansa.platform.search.evaluation import Judgements
from hansa.platform.search.request import Facet, Range
from hansa.platform.search.schema import Field, Schema
from tests.platform.search import relevance

DATA: Final = HERE.parent.parent / "shared" / "data"
BOUNDS: Final = (2_000, 10_000, 50_000)
"""Where one range of prices ends and the next begins, in cents."""
ABSTRACTS: Final = relevance.ABSTRACTS
PRODUCTS: Final = Schema(
    (*relevance.PRODUCTS.fields, Field("price", "int", facet=True, sort=True)), title="title"
)
"""The schema that the relevance tests have, with a price: one recipe for all that is measured."""
FACETS: Final = (
    Facet("supplier"),
    Facet("attributes.product_colour"),
    Facet("price", ranges=tuple(map(Range, (None, *BOUNDS), (*BOUNDS, None)))),
)
MARKED: Final = ("title", "description")

Document = dict[str, Any]


@dataclass(frozen=True)
class Collection:
    """Documents with judged queries; what the peers call the fields that are searched, with the
    weights that Hansa gives them."""

    name: str
    schema: Schema
    documents: Sequence[Document]
    judgements: Judgements
    weights: dict[str, int]

    @cached_property
    def queries(self) -> list[str]:
        """The judged queries."""
        return list(self.judgements)

    @cached_property
    def has_facets(self) -> bool:
        """Whether there is something to count."""
        return "price" in self.documents[0]


def electronics() -> Collection:
    """The 19,406 products. Raises FileNotFoundError where they are not."""
    folder = DATA / "electronics"
    with gzip.open(folder / "products.ndjson.gz") as lines:
        prices = {row["id"]: row["price"] for row in map(msgspec.json.decode, lines)}
    documents = [{**one, "price": prices[one["id"]]} for one in relevance.products(folder)]
    weights = {"title": 3, "supplier": 1, "description": 2, "attributes": 1}
    return Collection(
        "electronics", PRODUCTS, documents, relevance.product_judgements(folder), weights
    )


def cranfield() -> Collection:
    """The 1,400 abstracts. Raises FileNotFoundError where they are not."""
    folder = DATA / "cranfield"
    documents = list(relevance.abstracts(folder))
    judgements = relevance.abstract_judgements(folder)
    return Collection("cranfield", ABSTRACTS, documents, judgements, {"title": 1, "text": 1})


def text_of(document: Document, name: str) -> str:
    """Return the words of a field, as a peer searches them: of attributes their values."""
    value = document[name]
    if isinstance(value, dict):
        return " ".join(str(one) for one in value.values() if isinstance(one, str))
    return str(value)


# ---- more of it

SERIES: Final = 400
KEPT_ATTRIBUTES: Final = 6


def multiplied(documents: Sequence[Document], count: int, seed: int = 1) -> Iterator[Document]:
    """Products as the real ones are, `count` of them, always the same for a seed: each with the
    title of a real one in which a word is another product's, and with a series and a model of its
    own, at another price; of attributes the first few."""
    chance = random.Random(seed)
    words = [one["title"].split() for one in documents]
    series = ["".join(chance.choices("abdefiklmnorstuvz", k=6)) for _ in range(SERIES)]
    for number in range(count):
        real = documents[number % len(documents)]
        title = list(words[number % len(words)])
        other = words[chance.randrange(len(words))]
        title[chance.randrange(len(title))] = chance.choice(other)
        title += [chance.choice(series), f"{chance.choice('ABCXZ')}{chance.randrange(100_000)}"]
        attributes = dict(islice(real["attributes"].items(), KEPT_ATTRIBUTES))
        yield {
            **real, "id": f"{number:07d}", "title": " ".join(title),
            "price": int(real["price"] * chance.uniform(0.5, 2)), "attributes": attributes,
        }  # fmt: skip


def asked(documents: Sequence[Document], count: int, seed: int = 2) -> list[str]:
    """Return different queries of one to three words out of titles, as many as there can be."""
    chance = random.Random(seed)
    found: dict[str, None] = {}
    for _ in range(count * 20):
        words = [one for one in chance.choice(documents)["title"].split() if one.isalnum()]
        if words:
            begin = chance.randrange(len(words))
            found[" ".join(words[begin : begin + chance.choice((1, 2, 2, 3))]).lower()] = None
        if len(found) == count:
            break
    return list(found)


def encoded(documents: Iterable[Document]) -> Iterator[tuple[str, bytes]]:
    """Return the id of each document, and it as JSON."""
    for one in documents:
        yield one["id"], msgspec.json.encode(one)


def folder_of_runs() -> Path:
    """Return where runs keep their files, on a real disk."""
    folder = HERE / ".run"
    folder.mkdir(exist_ok=True)
    return folder
