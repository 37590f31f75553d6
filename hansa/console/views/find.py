"""Find: one box for everything that has a name or an id, and where it leads."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, urlencode

from starlette.responses import Response

from hansa.console.finder import Q_LETTERS_MAX, Entry, kinds
from hansa.console.visit import Visit
from hansa.console.wording import trace_of
from hansa.kernel.ids import is_id
from hansa.kernel.storage import PLATFORM

EVENTS_MAX: Final = 20_000
"""How many of the newest events are looked through for an id."""
SITES_MAX: Final = 10_000
"""How many of the newest sites are looked through for a name."""
SITES_SHOWN: Final = 5
_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_HOST: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?")

_SITES = f"""SELECT id, name FROM (
  SELECT id, name FROM sites_sites ORDER BY id DESC LIMIT {SITES_MAX}) AS newest
WHERE lower(name) LIKE ?1 ESCAPE '!' ORDER BY name LIMIT {SITES_SHOWN}"""
_EVENT = f"""SELECT position FROM (
  SELECT position, id FROM hansa_events WHERE position IS NOT NULL
  ORDER BY position DESC LIMIT {EVENTS_MAX}) AS newest WHERE id = ?1"""
_AGGREGATE = """SELECT site, aggregate FROM (
  SELECT site, aggregate FROM hansa_events WHERE position IS NOT NULL
  ORDER BY position DESC LIMIT {most}) AS newest WHERE aggregate IN ({places}) LIMIT 1"""


async def show(visit: Visit) -> Response:
    """Show what is found by some words; go on to what an id names, or to what is called so."""
    q = visit.asked("q", letters_max=Q_LETTERS_MAX).strip()
    named = await _named(visit, q) if q else []
    finder = await visit.finder()
    entries = [*named, *(finder.find(q) if q else ()), *(await _sites(visit, q) if q else ())]
    is_meant = named or len(entries) == 1 or (entries and entries[0].is_called(q))
    if visit.asked("go") and is_meant:
        return visit.back(entries[0].path)
    return visit.page("find.html", q=q, entries=entries)


async def problems(visit: Visit) -> Response:
    """Show the kinds of problems that there are."""
    return visit.page("problems.html", kinds=await asyncio.to_thread(kinds))


async def _named(visit: Visit, q: str) -> Sequence[Entry]:
    """Return what a query names by its id, its number or its host."""
    small = q.lower()
    trace = trace_of(small) or small.partition("-")[0]
    if _TRACE.fullmatch(trace):
        return [Entry("trace", trace, "", f"/traces/{trace}")]
    if small.isascii() and small.isdecimal() and len(small) <= 18:
        return [Entry("event", f"position {int(small)}", "of the log", f"/log/{int(small)}")]
    if _HOST.fullmatch(small):
        found = await visit.directory.by_host(small)
        return [] if found is None else [_site(found.id, found.name, small)]
    if not is_id(small):
        return []
    if small.startswith("site_"):
        known = await visit.directory.by_id(small)
        return [] if known is None else [_site(known.id, known.name, "")]
    return await _happened(visit, small)


async def _happened(visit: Visit, id: str) -> Sequence[Entry]:
    """Return the event of an id, or the events of the thing that has it."""
    rows = await visit.rows(_EVENT, id)
    if rows:
        return [Entry("event", id, f"position {rows[0][0]}", f"/log/{rows[0][0]}")]
    names = [f"{one.name}:{id}" for one in visit.runtime.services]
    places = ", ".join(f"?{place}" for place in range(1, len(names) + 1))
    rows = await visit.rows(_AGGREGATE.format(most=EVENTS_MAX, places=places), *names)
    return [
        Entry("events", id, f"of {aggregate}", "/log?" + _query(site=site, aggregate=aggregate))
        for site, aggregate in rows
    ]


async def _sites(visit: Visit, q: str) -> Sequence[Entry]:
    """Return sites whose names hold a query."""
    if not visit.runtime.serves("sites"):
        return []
    pattern = re.sub(r"([!%_])", r"!\1", q.lower())
    rows = await visit.rows(_SITES, f"%{pattern}%")
    return [_site(id, name, "") for id, name in rows if id != PLATFORM]


def _site(id: str, name: str, about: str) -> Entry:
    return Entry("site", name or id, about or id, f"/sites/{quote(id)}")


def _query(**values: str) -> str:
    return urlencode(values)
