"""Traces: requests, deliveries and due work that were kept, and each as a waterfall."""

import re
from typing import Any, Final

from starlette.responses import Response

from hansa.console.cursors import PAGE
from hansa.console.visit import Visit
from hansa.console.waterfall import drawn
from hansa.kernel.observe.reading import Wanted
from hansa.kernel.problems import Invalid, NotFound

KINDS: Final = ("", "request", "call", "delivery", "due")
LINES_MAX: Final = 200
SLOWER_MS_MAX: Final = 10_000_000
LEVELS: Final = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}

_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_FOUND_BY: Final = re.compile(r"(?:00-)?([0-9a-f]{32})(?:-.*)?")


async def every(visit: Visit) -> Response:
    """Show what was kept, the newest first: all, or what fits; or go to one that is named."""
    found_by = _FOUND_BY.fullmatch(visit.asked("find").strip().lower())
    if found_by:
        return visit.back(f"/traces/{found_by[1]}")
    asked = {name: visit.asked(name) for name in ("kind", "service", "name", "site", "cursor")}
    slower, failed = min(visit.asked_number("slower"), SLOWER_MS_MAX), visit.asked("failed") == "1"
    if asked["kind"] not in KINDS:
        raise Invalid(f"kind is one of {', '.join(KINDS[1:])}.")
    wanted = Wanted(
        asked["kind"], asked["service"], asked["name"], asked["site"], failed, slower * 1000,
        cursor=asked["cursor"],
    )  # fmt: skip
    found = await visit.records.read(lambda reader: reader.segments(wanted, PAGE))
    more: dict[str, Any] = {**asked, "slower": slower or "", "failed": "1" if failed else ""}
    return visit.page(
        "traces.html", rows=found.rows, wanted=more, more={**more, "cursor": found.cursor},
        next=found.cursor, kinds=KINDS, services=[one.name for one in visit.runtime.services],
        recorded=visit.records.present,
    )  # fmt: skip


async def one(visit: Visit) -> Response:
    """Show a trace: what happened when, what went in and out, and what was logged. Raises
    NotFound where nothing of it is kept."""
    trace = visit.place("trace")
    if _TRACE.fullmatch(trace) is None:
        raise NotFound("A trace is named by 32 hexadecimal digits.")
    kept = await visit.records.read(lambda reader: reader.trace(trace))
    if not kept:
        raise NotFound("Nothing of this trace is kept, or not any more. What fails and what is slow"
                       " is kept, and a sample of the rest.")  # fmt: skip
    lines = await visit.records.read(lambda reader: reader.lines(trace=trace, limit=LINES_MAX))
    return visit.page(
        "trace.html", trace=trace, segments=kept, fall=drawn(kept), lines=lines[::-1],
        levels=LEVELS,
    )  # fmt: skip
