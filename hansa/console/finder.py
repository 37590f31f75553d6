"""Finder: everything that has a name on these pages, found as one types.

What a name holds letter by letter comes first; where search is among the services its engine then
adds what is spelled a little otherwise. The index is of the catalog alone, made once, in a folder
that goes with the process: nothing of any site is in it.
"""

import inspect
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hansa.console.places import groups
from hansa.kernel.catalog import event_name
from hansa.kernel.problems import Problem
from hansa.kernel.service import heard_in
from hansa.kernel.structs import Struct

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

FOUND_MAX: Final = 12
Q_LETTERS_MAX: Final = 200
SEARCH: Final = "search"


class Entry(Struct):
    """Something that has a page, or a place on one: `path` is below the mount."""

    kind: str
    name: str
    about: str
    path: str

    def is_called(self, q: str) -> bool:
        """Tell whether a query is its name, or what comes after the name of its service."""
        name = self.name.lower()
        return q.lower() in (name, name.rpartition(".")[2])

    @property
    def words(self) -> str:
        """What it is found by, in small letters."""
        return f"{self.name} {self.kind} {self.about}".lower()


class Kind(Struct):
    """A kind of problem."""

    slug: str
    title: str
    status: int
    about: str


def catalog(runtime: "Runtime") -> Iterator[Entry]:
    """Yield all that the services of a process declare, and the pages."""
    for _, links in groups(runtime):
        yield from (Entry("page", name, "", path) for path, name in links)
    for service in runtime.services:
        at = f"/services/{service.name}"
        yield Entry("service", service.name, _first(service.why), at)
        for op in service.operations.values():
            is_open = op.path and str(op.needs) not in ("INTERNAL", "DENIED")
            yield Entry("operation", op.id, op.summary, f"/api/{op.id}" if is_open else at)
        for name in service.events:
            yield Entry("event", name, f"of {service.name}", f"/log?type={name}")
        for name in service.due_work:
            yield Entry("due work", name, f"of {service.name}", at)
        for schedule in service.schedules:
            yield Entry("due work", schedule.name, f"every {schedule.cron.expression}", at)
        for table in service.tables.values():
            yield Entry("table", table.name, ", ".join(table.columns.keys()), at)
    for one in heard_in(runtime.services):
        heard = "all events" if one.event is None else event_name(one.event)
        yield Entry("subscriber", one.name, f"hears {heard}", f"/services/{one.service}")
    for kind in kinds():
        yield Entry("problem", kind.slug, kind.title, f"/problems#{kind.slug}")


def kinds() -> list[Kind]:
    """Return the kinds of problems that this process knows, by their slugs."""
    found = {
        one.slug: Kind(one.slug, one.title, one.status, _first(inspect.getdoc(one) or ""))
        for one in _below(Problem)
        if one.__module__.startswith("hansa.")
    }
    return [found[slug] for slug in sorted(found)]


def _below(kind: type[Problem]) -> Iterator[type[Problem]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _below(one)


def _first(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


class Finder:
    """Finds entries by words; `close` it in the end."""

    def __init__(self, runtime: "Runtime") -> None:
        """Lay out what there is. Takes some tenths of a second where the engine helps: do it in a
        thread."""
        self._entries = list(catalog(runtime))
        self._words = [one.words for one in self._entries]
        self.folder: Path | None = None
        """Where the engine's index is, if there is one."""
        self._index: Any = None
        if SEARCH in {one.name for one in runtime.services}:
            self.folder = Path(mkdtemp(prefix="hansa-finder-"))
            self._index = _indexed(self.folder / "index", self._entries)

    def find(self, q: str, limit: int = FOUND_MAX) -> list[Entry]:
        """Return what is found by some words or their beginnings, the likeliest first."""
        near = [*self._plain(q.lower(), limit), *self._alike(q, limit)]
        return [self._entries[number] for number in dict.fromkeys(near)][:limit]

    def close(self) -> None:
        """Let the index go."""
        if self._index is not None:
            self._index.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _plain(self, q: str, limit: int) -> list[int]:
        wanted = q.split()
        if not wanted:
            return []
        found = [
            number
            for number, words in enumerate(self._words)
            if all(word in words for word in wanted)
        ]
        return sorted(found, key=lambda number: (_apart(q, self._entries[number]), number))[:limit]

    def _alike(self, q: str, limit: int) -> list[int]:
        if self._index is None or not q.strip():
            return []
        from hansa.platform.search.curation import Curation
        from hansa.platform.search.request import SearchRequest

        request = SearchRequest(q, per_page=limit, prefix=True, explain=True)
        found = self._index.search(request, curation=Curation(), learned={})
        return [
            int(msgspec.json.decode(hit.document)["id"])
            for hit in found.hits
            if hit.why["tier"] == "all words"  # what has only some is noise here
        ]


def _apart(q: str, entry: Entry) -> int:
    """Return how far a query is from the name of an entry."""
    name = entry.name.lower()
    last = name.rpartition(".")[2]
    if entry.is_called(q):
        return 0
    if name.startswith(q):
        return 1
    if last.startswith(q):
        return 2
    return 3 if all(word in name for word in q.split()) else 4


def _indexed(folder: Path, entries: Sequence[Entry]) -> Any:
    """Return an index of the search engine over entries, by their numbers."""
    from hansa.platform.search.engine.index import Index
    from hansa.platform.search.engine.layout import Change
    from hansa.platform.search.schema import Field, Schema

    schema = Schema((Field("name", "text", weight=5), Field("about", "text")), title="name")
    index = Index.open(folder, schema)
    changes = [
        Change(str(number), number, msgspec.json.encode(_document(number, one)))
        for number, one in enumerate(entries)
    ]
    index.write(changes, len(changes))
    index.rest()
    return index


def _document(number: int, entry: Entry) -> dict[str, str]:
    name = entry.name.replace(".", " ").replace("_", " ").replace("-", " ")
    return {"id": str(number), "name": f"{name} {entry.kind}", "about": entry.about}
