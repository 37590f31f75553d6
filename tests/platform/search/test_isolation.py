"""Isolation: whoever asks, whatever is asked, nothing comes back of what is not theirs.

Every text of every document has a mark of its site and of who may see it, so an answer with a
foreign mark anywhere (a hit, a count, a marked text, a suggestion, a correction, a hint) is seen
without knowing where to look. `HANSA_ISOLATION_SEARCHES=100000` makes so many searches.
"""

import asyncio
import os
import random
import re
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from hansa.assembly import Place
from hansa.kernel.problems import Problem
from hansa.kernel.structs import RawBody
from hansa.platform.search import api, scoped, search
from hansa.platform.search.api.searching import OneSearch, SeveralFound, SeveralSearches
from hansa.platform.search.process import scoped_keys
from hansa.testing import TestCell, TestSite
from hansa.testing.cell import TestCaller

SEARCHES: Final = int(os.environ.get("HANSA_ISOLATION_SEARCHES") or "1500")
SITES: Final = ("a", "b", "c")
LEVELS: Final = ("open", "shut")
DOCUMENTS: Final = 40
NOUNS: Final = ("cog", "hulk", "barge", "carvel", "galley", "lighter", "mast", "anchor", "canvas")
MARK: Final = re.compile(r"zq([a-z])(open|shut)", re.IGNORECASE)
PRICES: Final = {"a": 1_000, "b": 20_000, "c": 300_000}
"""Each site's prices are its own."""


def mark(site: str, level: str) -> str:
    return f"zq{site}{level}"


def schema_of(site: str) -> api.Schema:
    """The schemas differ by one field, whose name is a mark too."""
    return api.Schema(
        (
            api.Field("title", "text", weight=3),
            api.Field("body", "text"),
            api.Field("level", "keyword", facet=True),
            api.Field("kind", "keyword", facet=True, sort=True, weight=1),
            api.Field("price", "int", facet=True, sort=True),
            api.Field("more", "json", facet=True, weight=1),
            api.Field(mark(site, "open"), "keyword", facet=True),
        ),
        title="title",
    )


def documents_of(site: str) -> list[dict[str, Any]]:
    chance = random.Random(f"documents of {site}")
    made = []
    for number in range(DOCUMENTS):
        level = LEVELS[number % 2]
        own, nouns = mark(site, level), [chance.choice(NOUNS) for _ in range(4)]
        made.append(
            {
                "id": f"{own}-{number}", "title": f"{nouns[0]} {own} {nouns[1]}", "level": level,
                "body": f"{nouns[2]} of {own} beside a {nouns[3]}", "kind": f"{nouns[0]} {own}",
                "price": PRICES[site] + number, "more": {"colour": f"red {own}", f"x{own}": own},
                mark(site, "open"): own,
            }
        )  # fmt: skip
    return made


@dataclass
class Asker:
    """Somebody who asks, what they may see, and whether they may ask at all."""

    site: str
    caller: Callable[[], Awaitable[TestCaller]]
    levels: frozenset[str]
    refused: bool = False


class Town:
    """Three sites with the same names for their collections."""

    def __init__(self, cell: TestCell) -> None:
        self.cell = cell
        self.sites: dict[str, TestSite] = {}
        self.collections: dict[str, str] = {}

    async def build(self, names: tuple[str, ...]) -> None:
        changes = {name: await self._site(name) for name in names}
        for name, change in changes.items():
            request = api.SearchRequest(change=change)
            found = await self.sites[name].call(api.search_collection, name="fleet", body=request)
            assert found.found == DOCUMENTS

    async def _site(self, name: str) -> int:
        site = self.sites[name] = await self.cell.site(name)
        form = api.CollectionForm(schema_of(name), open_filter="level = open")
        made = await site.call(api.put_collection, name="fleet", body=form)
        self.collections[name] = made.id
        await site.call(api.put_alias, name=f"of{name}", body=api.Target("fleet"))
        await site.call(api.put_alias, name="boats", body=api.Target("fleet"))
        lines = RawBody(b"\n".join(map(msgspec.json.encode, documents_of(name))), {})
        taken: api.Taken = await site.call(api.put_documents, name="fleet", raw=lines)
        assert taken.refused == ()
        return taken.change

    # ---- who asks

    def askers(self, name: str) -> list[Asker]:
        """Who comes to a site, rightly and not."""
        site = self.sites[name]
        all_levels, public = frozenset(LEVELS), frozenset({"open"})

        async def owner() -> TestCaller:
            return site

        async def reader() -> TestCaller:
            return site.key("search.documents:read")

        async def visitor() -> TestCaller:
            return site.visitor

        return [
            Asker(name, owner, all_levels), Asker(name, reader, all_levels),
            Asker(name, visitor, public), *self._holders(name),
        ]  # fmt: skip

    def _holders(self, name: str) -> list[Asker]:
        id = self.sites[name].id
        other = next(one.id for one in self.sites.values() if one.id != id)
        now = self.cell.runtime.clock.now_us() // 1_000_000
        good = self.key(id, id, now + 600)
        refused: list[Callable[[], str]] = [
            partial(str, self.key(other, other, now + 600)),  # a good one, of another site
            partial(str, self.key(id, id, now - 1)),
            partial(str, self.key(id, other, now + 600)),
            partial(_tampered, good),
        ]
        public = frozenset({"open"})
        return [
            Asker(name, self._knocks(partial(str, good), ""), public),
            *(Asker(name, self._knocks(text, id), public, refused=True) for text in refused),
        ]

    def key(self, site: str, signer: str, expires: int) -> str:
        """A scoped key of a site, signed with the key of one."""
        claims = scoped.Claims(site, "level = open", ("boats", "fleet"), expires, "")
        return scoped.sign(scoped_keys(self.cell.runtime, signer)[0], claims)

    def _knocks(self, text: Callable[[], str], site: str) -> Callable[[], Awaitable[TestCaller]]:
        async def knocks() -> TestCaller:
            runtime = self.cell.runtime
            return TestCaller(runtime, await runtime.authenticate(f"Bearer {text()}", "", site))

        return knocks


_places: Final = random.Random("places of a key")


def _tampered(key: str) -> str:
    """The same with one letter changed, or with a wider filter and the signature as it was."""
    if _places.random() < 0.2:
        said, _, signature = key.partition(".")
        content = msgspec.json.decode(_decoded(said.partition("_")[2]))
        content[2] = ""
        wider = urlsafe_b64encode(msgspec.json.encode(content)).decode().rstrip("=")
        return f"{scoped.PREFIX}_{wider}.{signature}"
    at = _places.randrange(len(scoped.PREFIX) + 1, len(key))
    letters = [one for one in string.ascii_letters + string.digits if one != key[at]]
    return f"{key[:at]}{_places.choice(letters)}{key[at + 1 :]}"


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


# ---- what is asked


FORGED: Final = (
    "level = shut", "level = open OR level = shut", "NOT level = open", "price > 0",
    "level = open) OR (level = shut", 'kind = "cog {mark}"', 'more.colour = "red {mark}"',
    "price >= {price} AND price < {end}",
    '"{mark}" = 1', "{mark} = {mark}", "id = {mark}-1", "level = open OR NOT level = open",
    "site = {mark}", 'level = "open" OR 1 = 1', "((((price < 1", "",
)  # fmt: skip


def request(chance: random.Random) -> dict[str, Any]:
    """A search that somebody curious may make."""
    site, level = chance.choice(SITES), chance.choice(LEVELS)
    own = mark(site, level)
    word = chance.choice((*NOUNS, own, own[:4], f"{own}x", own.replace("q", "w"), f"red {own}"))
    low = PRICES[site]
    filter = chance.choice(FORGED) if chance.random() < 0.6 else ""
    filter = filter.replace("{mark}", own).replace("{price}", str(low))
    asked: dict[str, Any] = {
        "q": chance.choice(("", word, f"{word} {chance.choice(NOUNS)}", f'"{word}"', f"-{word}")),
        "filter": filter.replace("{end}", str(low + 99)),
        "per_page": chance.choice((0, 10, 100)),
        "prefix": chance.random() < 0.5,
        "typo": chance.random() < 0.8,
        "explain": chance.random() < 0.1,
    }
    if chance.random() < 0.7:
        names = ["level", "kind", "price", "more.colour", f"more.x{own}", mark(site, "open")]
        facets = [api.Facet(one) for one in chance.sample(names, 2)]
        asked["facets"] = (*facets, api.Facet("price", ranges=(api.Range(0, low), api.Range(low))))
    if chance.random() < 0.5:
        asked["highlight"] = ("title", "body", "kind", "more.colour")
    if chance.random() < 0.2:
        asked["sort"] = (chance.choice(("price", "-price", "kind")),)
    if chance.random() < 0.1:
        asked["distinct"], asked["per_page"] = "kind", 10
    return asked


@dataclass
class Question:
    """One thing that is asked for, by an operation."""

    operation: Any
    arguments: dict[str, Any]

    @property
    def search(self) -> api.SearchRequest | None:
        """The search, if it is one."""
        body = self.arguments.get("body")
        return body if isinstance(body, api.SearchRequest) else None


def question(chance: random.Random, town: Town, site: str) -> Question:
    """Something to ask, under the names that there are on a site and that there are not."""
    other = chance.choice(SITES)
    names = ("fleet", "boats", f"of{site}", "fleet", "fleet", f"of{other}", town.collections[other])
    name, asked = chance.choice(names), request(chance)
    kind = chance.random()
    if kind < 0.1:
        return Question(api.suggest, {"name": name, "q": asked["q"] or "z", "limit": 20})
    if kind < 0.2:
        searches = OneSearch(collection=name, **asked), OneSearch(collection="fleet", q=asked["q"])
        return Question(api.search_several, {"body": SeveralSearches(searches, merge=True)})
    return Question(api.search_collection, {"name": name, "body": api.SearchRequest(**asked)})


def marks_in(text: bytes) -> set[tuple[str, str]]:
    return {(site, level) for site, level in MARK.findall(text.decode())}


def told(found: Any) -> bytes:
    """All that an answer tells, without what it repeats of the question."""
    if isinstance(found, SeveralFound):
        merged = [without_why(one.hit) for one in found.merged or ()]
        return b"".join(map(told, found.results)) + msgspec.json.encode(merged)
    if not isinstance(found, api.Found):
        return msgspec.json.encode(found)
    hits = [without_why(one) for one in found.hits]
    counts = [(one.values, one.min, one.max) for one in found.facets]
    return msgspec.json.encode((found.found, hits, counts, list(found.corrected.values())))


def without_why(hit: api.Hit) -> api.Hit:
    return msgspec.structs.replace(hit, why=None)


def seen_by(asker: Asker) -> list[dict[str, Any]]:
    return [one for one in documents_of(asker.site) if one["level"] in asker.levels]


def check_counts(found: api.Found, asked: api.SearchRequest, asker: Asker) -> None:
    """No count is greater than what the asker may see; all of it is found by nothing at all."""
    seen = seen_by(asker)
    assert found.found <= len(seen)
    if not (asked.q or asked.filter):
        assert found.found == len(seen)
    kinds = Counter(one["kind"] for one in seen)
    levels = Counter(one["level"] for one in seen)
    for facet in found.facets:
        for one in facet.values:
            most = {"kind": kinds, "level": levels}.get(facet.field)
            assert one.count <= (len(seen) if most is None else most[str(one.value)])
        if facet.field == "price" and facet.min is not None and facet.max is not None:
            prices = [one["price"] for one in seen]
            assert min(prices) <= facet.min <= facet.max <= max(prices)


async def ask_much(cell: TestCell, seed: int) -> Counter[str]:
    """Have all who come ask at random; return what came of it."""
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    town = Town(cell)
    await town.build(SITES)
    askers = [asker for name in SITES for asker in town.askers(name)]
    for _ in range(SEARCHES):
        asker = chance.choice(askers)
        asked = question(chance, town, asker.site)
        own = {(asker.site, level) for level in asker.levels}
        try:
            caller = await asker.caller()
            found = await caller.call(asked.operation, **asked.arguments)
        except Problem as problem:
            assert problem.status < 500, problem
            said = marks_in(msgspec.json.encode(problem.document()))
            assert not said - own - marks_in(msgspec.json.encode(asked.arguments)), problem
            outcomes[problem.slug] += 1
            continue
        assert not asker.refused, "a key that is no key was let in"
        answer = told(found)
        assert not marks_in(answer) - own, (asker, asked)
        if asked.search is not None:
            check_counts(found, asked.search, asker)
        outcomes["found something" if b"zq" in answer else "found nothing"] += 1
    return outcomes


def test_whatever_is_asked_nothing_foreign_comes_back(
    place: Place, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("HANSA_SEED") or random.randrange(2**31))

    async def run() -> Counter[str]:
        async with TestCell(search, place=place) as cell:
            return await ask_much(cell, seed)

    outcomes = asyncio.run(run())
    record_property("told", f"isolation: {SEARCHES} searches, seed {seed}: {dict(outcomes)}")
    assert outcomes["found something"] > SEARCHES // 10
    assert outcomes["unauthenticated"] > SEARCHES // 10


async def scores(town: Town, name: str) -> list[api.Found]:
    """What a site finds for many searches, less what differs each time."""
    found = []
    for q in (*NOUNS, "cog anchor", "galey", mark(name, "open"), mark("b", "shut"), ""):
        body = api.SearchRequest(q, per_page=100, facets=(api.Facet("kind"),), prefix=True)
        one = await town.sites[name].call(api.search_collection, name="fleet", body=body)
        found.append(msgspec.structs.replace(one, query_id="", took_us=0))
    return found


def test_scores_do_not_depend_on_neighbours() -> None:
    async def of(names: tuple[str, ...]) -> list[api.Found]:
        async with TestCell(search) as cell:
            town = Town(cell)
            await town.build(names)
            return await scores(town, "a")

    alone = asyncio.run(of(("a",)))
    assert any(one.found for one in alone)
    assert asyncio.run(of(SITES)) == alone


def test_the_marks_are_found_where_they_are() -> None:
    """A check of the check: everything of a document is seen as its site's."""
    for site in SITES:
        for one in documents_of(site):
            marks = marks_in(msgspec.json.encode(one))
            assert (site, one["level"]) in marks
            assert {which for which, _ in marks} == {site}
