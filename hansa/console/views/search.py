"""Search: the collections of a site, a query tried in one of them, and what visitors search for."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from hansa.console import trial
from hansa.console.having import sites_having
from hansa.console.visit import Visit
from hansa.kernel.problems import Problem
from hansa.kernel.storage import PLATFORM
from hansa.kernel.structs import PageRequest
from hansa.platform.sites.api import list_sites

SITES_SHOWN: Final = 100
DAYS: Final = ("1", "7", "30", "90")
HEARD_S: Final = 1.0
LOOK_S: Final = 0.02
TOLD: Final = (400, 422, 503)
"""What is told beside the query: what it says cannot be, or the index is still being made."""


@dataclass
class Looked:
    """A collection of a site, as its pages begin."""

    site: str
    name: str
    collection: Any
    index: Any

    @property
    def path(self) -> str:
        """Where its pages are, below the mount."""
        return path_of(self.site, self.name)


def path_of(site: str, name: str) -> str:
    """Return where the pages of a collection are, below the mount."""
    return f"/search/{site}/{name}"


async def looked(visit: Visit) -> Looked:
    """Return the collection of an address. Raises NotFound."""
    site, name = visit.place("site"), visit.place("collection")
    collection = await visit.ask("search.get_collection", site, name=name)
    index = await visit.ask("search.get_index", site, name=name)
    return Looked(site, name, collection, index)


async def every(visit: Visit) -> Response:
    """Show the collections of a site; of the first that has some."""
    if visit.runtime.serves("search"):
        site, known = await sites_having(visit, "search_collections")
    else:  # it runs in another process, which is asked
        page = await visit.do(list_sites, PLATFORM, page=PageRequest(SITES_SHOWN))
        known = [(one.id, one.name) for one in page.items]
        site = visit.asked("site") or (known[0][0] if known else "")
    collections: Any = await visit.ask("search.list_collections", site) if site else []
    aliases: Any = await visit.ask("search.list_aliases", site) if site else []
    indexes = {
        one.name: await visit.ask("search.get_index", site, name=one.name) for one in collections
    }
    return visit.page(
        "search.html", site=site, sites=known, collections=collections, indexes=indexes,
        aliases=aliases,
    )  # fmt: skip


async def one(visit: Visit) -> Response:
    """Show what a query finds, and why each hit is where it is. Raises NotFound."""
    site, name = visit.place("site"), visit.place("collection")
    collection = await visit.ask("search.get_collection", site, name=name)
    schema = collection.schema
    asked = {one: visit.asked(one, letters_max=4_096) for one in trial.NAMES}
    if "facets" not in visit.request.query_params:
        asked["facets"] = trial.facets_of(schema)
    body = trial.body_of(asked, schema)
    found, bare, faults = None, None, dict[str, str]()
    try:
        found = await visit.ask("search.search_collection", site, name=name, body=body)
        if asked["compare"]:
            without = body | {"rules": False, "explain": False, "facets": []}
            bare = await visit.ask("search.search_collection", site, name=name, body=without)
    except Problem as problem:
        if problem.status not in TOLD:
            raise
        faults = trial.faults_of(problem)  # the page itself is as it should be: 200
    hits = trial.shown(found, schema) if found else []
    others = trial.shown(bare, schema) if bare else []
    curation = await visit.ask("search.get_curation", site, name=name)

    def query(**changes: object) -> str:
        """Return what an address says of the trial, with some of it changed."""
        every = {**asked, **changes}
        return urlencode({name: value for name, value in every.items() if value})

    def narrowed(path: str, value: str | float | bool) -> str:
        return query(page="", filter=trial.narrowed(asked["filter"], path, value))

    return visit.page(
        "collection.html", at=await looked(visit), asked=asked, found=found,
        hits=hits, others=others, moved=trial.moved(hits, others), faults=faults,
        sorts=[each for one in schema.fields if one.sort for each in (one.name, f"-{one.name}")],
        hidden=sorted({id for rule in curation.rules if rule.id in _applied(hits, curation, asked)
                       for id in rule.hide}),
        narrowed=narrowed, query=query,
    )  # fmt: skip


def _applied(hits: list[trial.Shown], curation: Any, asked: dict[str, str]) -> set[str]:
    """Return the rules that a query went by. Where all that it would find is hidden there is no hit
    to tell of them, so those that say the query itself are among them."""
    said = {one.id for one in curation.rules if one.enabled and one.q == asked["q"]}
    return set() if asked["bare"] else said.union(*(one.rules for one in hits))


async def analytics(visit: Visit) -> Response:
    """Show what visitors search for most, and what they do not find. Raises NotFound."""
    days = visit.asked("days", "7")
    at = await looked(visit)
    told = await visit.ask(
        "search.get_analytics", at.site, name=at.name, days=int(days) if days in DAYS else 7,
        limit=50,
    )  # fmt: skip
    return visit.page("search_analytics.html", at=at, told=told, days=days, choices=DAYS)


async def rebuild(visit: Visit) -> Response:
    """Have the index of a collection made anew beside the one that is searched."""
    site, name = visit.place("site"), visit.place("collection")
    await visit.ask("search.rebuild_index", site, name=name)
    return visit.back(path_of(site, name))


async def heard(visit: Visit, site: str, name: str) -> None:
    """Wait until the process that is asked searches by what was changed, at most `HEARD_S`: whoever
    has pinned something looks where it is."""
    collection = await visit.ask("search.get_collection", site, name=name)
    try:
        async with asyncio.timeout(HEARD_S):
            while True:
                index = await visit.ask("search.get_index", site, name=name)
                if index.state == "closed" or index.revision >= collection.revision:
                    return
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        return
