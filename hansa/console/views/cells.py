"""Cells: the database that this process stands on, its revisions, and who reads its log."""

import os
import platform
import resource
import time
from typing import Any, Final

from starlette.responses import Response

import hansa
from hansa.console.visit import Visit
from hansa.kernel import lag, log
from hansa.kernel.service import heard_in

ENGINES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
SUBSCRIBERS_MAX: Final = 500
EVENTS_MAX: Final = 2_000
"""How many of the last events are looked at for who has yet to take them."""
REVISIONS_MAX: Final = 500
LOOPBACK: Final = "127.0.0.1"

_BEGAN: Final = time.monotonic()
_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}
_ENGINE = {"sqlite": "SELECT sqlite_version()", "postgresql": "SHOW server_version"}
_FIRST = "SELECT coalesce(min(position), 0) FROM hansa_events"
_REVISIONS = f"""SELECT service, revision, phase, applied_at_us FROM hansa_migrations
ORDER BY applied_at_us DESC, service, revision DESC LIMIT {REVISIONS_MAX}"""


async def show(visit: Visit) -> Response:
    """Show the cell and the process, in figures."""
    runtime, storage = visit.runtime, visit.runtime.storage
    used = resource.getrusage(resource.RUSAGE_SELF)
    last = await visit.reading(log.last)
    subscriptions = heard_in(runtime.services)
    lags = await visit.reading(lambda session: lag.look(session, subscriptions, EVENTS_MAX))
    return visit.page(
        "cells.html",
        cell=storage.cell, engine=ENGINES[storage.dialect],
        engine_version=(await visit.rows(_ENGINE[storage.dialect]))[0][0],
        size=(await visit.rows(_SIZE[storage.dialect]))[0][0],
        first=(await visit.rows(_FIRST))[0][0], last=last,
        state="draining" if visit.app.draining else runtime.ready() or "serving",
        up_us=int((time.monotonic() - _BEGAN) * 1_000_000), requests=visit.app.gate.inside,
        memory=used.ru_maxrss * 1024, cpu_us=int((used.ru_utime + used.ru_stime) * 1_000_000),
        pid=os.getpid(), python=platform.python_version(), release=hansa.__version__,
        hosted=sorted(one.name for one in runtime.services if runtime.serves(one.name)),
        processes=_processes(visit),
        subscribers=lags[:SUBSCRIBERS_MAX], looked_at=EVENTS_MAX,
        revisions=await visit.rows(_REVISIONS),
    )  # fmt: skip


def _processes(visit: Visit) -> list[dict[str, Any]]:
    """Return the processes that the placement tells of; none where there is no placement."""
    remote = visit.runtime.remote
    if remote is None:
        return []
    # A browser sends its cookie along where the name of the host stays the same.
    here = visit.request.url.hostname or LOOPBACK
    return [
        {"name": one.name, "cell": one.cell, "services": ", ".join(one.services),
         "addresses": [
             f"{here if to.host == LOOPBACK else to.host}:{to.port}" for to in one.addresses
         ],
         "own": one is remote.own}
        for one in remote.placement.entries
    ]  # fmt: skip
