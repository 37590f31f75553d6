"""Puts and deletes documents in a cell on disk while its index follows, and is killed now and then.

    python -m tests.platform.search.indexer FOLDER DATA CHANGES

It goes on where it was: `done` in the folder says how many changes were acknowledged, and one that
was committed and not noted is made once more, which leaves the same documents. It prints a word at
each of the index's steps, so that whoever kills it can choose when. At the end it prints what the
whole query set finds, and that its index is at rest.
"""

import asyncio
import csv
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from hansa.assembly import Place
from hansa.kernel.problems import NotFound
from hansa.kernel.structs import RawBody
from hansa.platform.search import api, indexes, opened, portions, search, writers
from hansa.platform.search.engine import index as engine
from hansa.platform.search.engine.index import Index
from hansa.platform.search.indexes import Indexes
from hansa.testing import TestCell, TestSite
from tests.platform.search.engine.shelf import PRODUCTS, products

NAME: Final = "products"
BATCH: Final = 25
SCHEMAS: Final = (
    PRODUCTS,
    api.Schema((*PRODUCTS.fields, api.Field("stock", "int", facet=True)), title="title"),
)
EVERY: Final = 5
"""Steps between two changes of the schema."""
SOON_S: Final = 0.02

F = TypeVar("F", bound=Callable[..., Any])


class Answers(msgspec.Struct):
    """What is found at the end: for each query the ids and scores of its first ten, how many."""

    documents: int
    found: list[tuple[str, list[str], list[float], int]]


def log(data: Path, count: int) -> list[tuple[str, bytes | None]]:
    """What happens: products come, every third comes again in other words, every fifth goes."""
    changes: list[tuple[str, bytes | None]] = []
    for one in products(data, 0, count):
        assert one.body is not None
        changes.append((one.id, one.body))
        if one.change % 3 == 0:
            again = msgspec.json.decode(one.body)
            changes.append((one.id, msgspec.json.encode({**again, "name": "second edition"})))
        if one.change % 5 == 0:
            changes.append((changes[len(changes) // 2][0], None))
    return changes


def queries(data: Path) -> list[str]:
    """The judged queries."""
    with (data / "judgements.csv").open() as rows:
        return sorted({row["query"] for row in csv.DictReader(rows)})


def answers(index: Index, data: Path) -> Answers:
    """The first ten of all judged queries."""
    found = []
    for q in queries(data):
        one = index.search(api.SearchRequest(q), always=None, curation=api.Curation(), learned={})
        ids = [msgspec.json.decode(hit.document)["id"] for hit in one.hits]
        found.append((q, ids, [hit.score for hit in one.hits], one.found))
    return Answers(index.documents, found)


# ---- steps that are told


def say(word: str) -> None:
    """Print a line at once: several threads do."""
    os.write(1, f"{word}\n".encode())


def told(word: str, step: F) -> F:
    """The same step, said before it is done."""

    @wraps(step)
    def said(*args: Any, **more: Any) -> Any:
        say(word)
        return step(*args, **more)

    return said  # type: ignore[return-value]


def tell() -> None:
    """Have the steps of indexes said; and have them rest at once, and be large soon, so that this
    is seen too."""
    for word, owner, name in (
        ("write", Index, "write"), ("commit", Index, "commit"), ("rest", Index, "rest"),
        ("rebuild", Indexes, "_renew"), ("portion", Index, "enlarge"),
    ):  # fmt: skip
        setattr(owner, name, told(word, getattr(owner, name)))
    for module, name in ((writers, "REST_S"), (indexes, "TEND_S"), (opened, "COMMIT_S")):
        setattr(module, name, SOON_S)
    # Many are made anew in portions, and are no more than can be compacted.
    for module, name, most in (
        (portions, "COMPACT_MAX", 60), (portions, "PORTION_MAX", 50), (portions, "COMMIT_MAX", 40),
        (engine, "SMALL", 60),
    ):  # fmt: skip
        setattr(module, name, most)


# ---- the run


class Indexer:
    """Makes the changes of the log, one batch after the other."""

    def __init__(self, site: TestSite, folder: Path) -> None:
        self.site = site
        self._done = folder / "done"

    @property
    def done(self) -> int:
        """How many changes were acknowledged."""
        return int(self._done.read_text()) if self._done.exists() else 0

    def _note(self, done: int) -> None:
        """Keep how far it is, whole at any moment."""
        new = self._done.with_suffix(".new")
        new.write_text(str(done))
        new.replace(self._done)

    async def schema(self, step: int) -> None:
        """Have the schema that there is at a step."""
        form = api.CollectionForm(SCHEMAS[step // EVERY % 2])
        await self.site.call(api.put_collection, name=NAME, body=form)

    async def step(self, changes: list[tuple[str, bytes | None]]) -> int:
        """Make the next few changes; return the number of the last."""
        change = 0
        puts = dict(changes)
        bodies = [body for body in puts.values() if body is not None]
        if bodies:
            raw = RawBody(b"\n".join(bodies), {})
            taken: api.Taken = await self.site.call(api.put_documents, name=NAME, raw=raw)
            assert not taken.refused, taken.refused
            change = taken.change
        if gone := tuple(id for id, body in puts.items() if body is None):
            try:
                deleted: api.Deleted = await self.site.call(
                    api.delete_documents, name=NAME, body=api.Ids(gone)
                )
                change = deleted.change
            except NotFound:
                pass  # they were deleted before it was killed
        return change

    async def run(self, changes: list[tuple[str, bytes | None]]) -> int:
        """Make all that is left; return the number of the last change."""
        change = 0
        for begin in range(self.done, len(changes), BATCH):
            await self.schema(begin // BATCH)
            change = await self.step(changes[begin : begin + BATCH])
            self._note(min(begin + BATCH, len(changes)))
            # A search opens the index, and waits for it now and then.
            wanted = change if begin // BATCH % 4 == 3 else 0
            request = api.SearchRequest("cable", change=wanted)
            await self.site.call(api.search_collection, name=NAME, body=request)
        return change


async def main(folder: Path, data: Path, count: int) -> None:
    """Go on, and say what is found in the end."""
    tell()
    changes = log(data, count)
    async with TestCell(search, place=Place(folder, synchronous="OFF")) as cell:
        known = folder / "site"
        site = TestSite(cell, known.read_text()) if known.exists() else await cell.site()
        new = known.with_suffix(".new")
        new.write_text(site.id)
        new.replace(known)
        indexer = Indexer(site, folder)
        await indexer.schema(0 if not indexer.done else (indexer.done - 1) // BATCH)
        say("ready")
        change = await indexer.run(changes)
        request = api.SearchRequest(change=change)
        await site.call(api.search_collection, name=NAME, body=request)
        held = await cell.runtime.resources[Indexes].find(site.id, NAME)
        while held.generation != held.whole.generation or held.is_stale:
            await asyncio.to_thread(int)
        await asyncio.to_thread(held.index.compact)
        say("answers " + msgspec.json.encode(answers(held.index, data)).decode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
