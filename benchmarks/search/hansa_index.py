"""Hansa's index, as the search service uses it, without HTTP."""

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.search.answers import Answer
from benchmarks.search.corpus import FACETS, MARKED, Collection, encoded
from hansa.platform.search.curation import Curation
from hansa.platform.search.engine.index import Index
from hansa.platform.search.engine.layout import Change
from hansa.platform.search.portions import Portions
from hansa.platform.search.request import SearchRequest
from hansa.platform.search.schema import Schema
from hansa.platform.search.writers import Writers

NOBODY = Curation()
BATCH = 1_000


class _Id(msgspec.Struct):
    id: str


id_of = msgspec.json.Decoder(_Id).decode


def build(
    folder: Path, schema: Schema, documents: Iterable[tuple[str, bytes]], count: int = 0
) -> Index:
    """Make an index as the service does: batches of a thousand, in commits as they are when so many
    documents are to come."""
    index = Index.open(folder, schema)
    asyncio.run(_fill(index, documents, Portions(count)))
    index.rest()
    return index


async def _fill(index: Index, documents: Iterable[tuple[str, bytes]], portions: Portions) -> None:
    writers, numbered, before = Writers(_at_once), enumerate(documents, 1), -1
    while before < index.checkpoint:
        before = index.checkpoint
        async with portions.turn(writers, index) as most:
            portion = islice(numbered, most)
            while batch := list(islice(portion, BATCH)):
                index.write([Change(id, at, body) for at, (id, body) in batch], batch[-1][0])
            index.commit()


async def _at_once(errand: Callable[[], Any]) -> Any:
    return errand()


class HansaIndex:
    """The engine of the comparison."""

    name = "hansa"
    title = "Hansa"

    def __init__(self, folder: Path, collection: Collection) -> None:
        self._folder = folder
        begun = time.process_time()
        self.index = build(folder, collection.schema, encoded(collection.documents))
        self.index.compact()  # as the service does with an index that has been quiet for a while
        self.build_s = time.process_time() - begun
        self._more = (
            {"facets": FACETS, "highlight": MARKED} if collection.has_facets
            else {"highlight": tuple(collection.weights)}
        )  # fmt: skip

    def search(self, q: str, limit: int, *, full: bool, **options: object) -> Answer:
        """Search as a visitor does."""
        more = {**self._more, **options} if full else options
        request = SearchRequest(q=q, per_page=limit, **more)  # type: ignore[arg-type]
        found = self.index.search(request, always=None, curation=NOBODY, learned={})
        bodies = [bytes(hit.document) for hit in found.hits]
        return Answer(
            [id_of(body).id for body in bodies],
            bodies,
            [list(hit.highlights.values()) for hit in found.hits],
            [{str(one.value): one.count for one in facet.values} for facet in found.facets],
        )

    def forget(self) -> None:
        """Commit: a search after that is of an index that has answered nothing. Its dictionary of
        similar words is read here, as a process does once for many commits."""
        self.index.write([], self.index.checkpoint + 1)
        self.index.commit()
        self.search("qwrtzpl notbook", 1, full=False)

    def cpu_s(self) -> float:
        """Return this process's time."""
        return time.process_time()

    def megabytes(self) -> float:
        """Return the size of the folder."""
        return sum(one.stat().st_size for one in self._folder.rglob("*") if one.is_file()) / 1e6

    def close(self) -> None:
        """Close it."""
        self.index.close()
