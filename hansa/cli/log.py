"""Log: look at what happened and at what hangs, and skip or replay it by hand.

Reading works beside a running server; skipping and replaying need a cell that nobody has open, or
PostgreSQL, where any process may.
"""

import argparse
import re
from datetime import UTC, datetime
from typing import Any

import apsw
import uvloop

from hansa.assembly import Cell
from hansa.cli.serving import check_exists, failed, told
from hansa.kernel import lag
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.commands import deadline_in
from hansa.kernel.interventions import carry_out, replay_delivery, retry_due, skip_delivery
from hansa.kernel.problems import Problem, StorageFailed
from hansa.kernel.service import Subscription, heard_in
from hansa.kernel.sqlite.connection import InUse
from hansa.kernel.storage import PLATFORM, Session
from hansa.project import services

_EVENTS = """SELECT position, recorded_at_us, site, type, aggregate, seq, data FROM hansa_events
WHERE position IS NOT NULL {where} ORDER BY position DESC LIMIT {limit}"""
_DELIVERIES = """SELECT subscriber, event, site, aggregate, state, attempt, trace, error
FROM hansa_deliveries ORDER BY position LIMIT 200"""
_TYPE = re.compile(r"[a-z][a-z0-9]{1,30}\.(?:\*|[a-z0-9_]{1,80})")
DATA_LETTERS_MAX = 1_000
EVENTS_MAX = 1_000_000
"""More of the last events than these are not looked at for what subscribers have yet to take."""
_DUE = """SELECT site, id, name, state, attempt, run_at_us, error FROM hansa_due
ORDER BY run_at_us LIMIT 200"""


def run(options: argparse.Namespace) -> int:
    """Do what the verb says."""
    try:
        return uvloop.run(_run(options))
    except InUse as taken:
        return failed(f"{taken} Or do it on its engineers' pages, /hansa, which `hansa up` and"
                      " `hansa serve --pages` have.")  # fmt: skip
    except (Problem, apsw.Error, OSError) as error:
        return failed(told(error))


async def _run(options: argparse.Namespace) -> int:
    if options.verb in ("events", "deliveries", "subscribers", "due"):
        rows = await _rows(options, _statement(options))
        if options.verb == "events" and not rows and not await _is_site(options):
            return failed(f"There is no site {options.site} here; `hansa sites list` shows them.")
        for line in _lines(options.verb, rows):
            print(line)
        return 0
    from hansa.cli.main import place_of

    place = place_of(options)
    check_exists(place)
    cell = Cell(place, services(), background=False)
    await cell.open(migrate=False)
    caller = Caller(options.site, SYSTEM)
    try:
        if options.verb == "replay-due":
            await carry_out(cell.runtime, retry_due, caller, id=options.id)
        else:
            operation = skip_delivery if options.verb == "skip" else replay_delivery
            named = {"subscriber": options.subscriber, "event": options.event}
            await carry_out(cell.runtime, operation, caller, **named)
    finally:
        await cell.close()
    print("done")
    return 0


def _statement(options: argparse.Namespace) -> str:
    if options.verb == "deliveries":
        return _DELIVERIES
    if options.verb == "due":
        return _DUE
    if options.verb == "subscribers":
        return lag.statement(_subscriptions()).replace("?1", str(EVENTS_MAX))
    site = options.site
    if site and not site.replace("_", "").isalnum():
        raise StorageFailed("A site's id is made of letters, digits and underscores.")
    where = f"AND site = '{site}'" if site else ""
    if options.type:
        where += f" AND ({' OR '.join(_of_type(one) for one in options.type)})"
    return _EVENTS.format(where=where, limit=options.limit)


def _of_type(pattern: str) -> str:
    """Return the condition that an event is of a type, or of all of a service: ``commerce.*``."""
    if _TYPE.fullmatch(pattern) is None:
        raise StorageFailed(
            f"{pattern[:64]!r} is no type such as commerce.order_placed, commerce.*"
        )
    service, _, name = pattern.partition(".")
    if name == "*":
        return f"type LIKE '{service}.%'"
    return f"type = '{pattern}'"


def _subscriptions() -> list[Subscription]:
    return heard_in(services())


async def _is_site(options: argparse.Namespace) -> bool:
    """Tell whether the site that was asked for is one, where one was."""
    if options.site in ("", PLATFORM):
        return True
    return bool(await _rows(options, f"SELECT 1 FROM sites_sites WHERE id = '{options.site}'"))


async def _rows(options: argparse.Namespace, statement: str) -> list[tuple[Any, ...]]:
    """Read beside whoever has the cell open: SQLite's file read-only, or PostgreSQL."""
    from hansa.cli.main import place_of

    place = place_of(options)
    if not place.database:
        check_exists(place)
        connection = apsw.Connection(
            str(place.folder / "hansa.db"), flags=apsw.SQLITE_OPEN_READONLY
        )
        return list(connection.execute(statement))
    storage = place.storage()
    await storage.open()

    async def body(session: Session) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await session.fetch(statement)]

    try:
        await storage.sequence()  # what no server has numbered yet is there, too
        return await storage.read(body, site=PLATFORM, deadline=deadline_in(30), across=True)
    finally:
        await storage.close()


def _shown(data: bytes) -> str:
    text = data.decode()
    return text if len(text) <= DATA_LETTERS_MAX else f"{text[:DATA_LETTERS_MAX]}..."


def _lines(verb: str, rows: list[tuple[Any, ...]]) -> list[str]:
    if verb == "events":
        return [
            f"{position:>8}  {_at(at_us)}  {kind:<28}  {aggregate} #{seq}  {_shown(bytes(data))}"
            for position, at_us, _, kind, aggregate, seq, data in reversed(rows)
        ]
    if verb == "subscribers":
        return [
            f"{one.subscriber:<32}  {_lag(one.behind):<24}  open {one.open}  last seen"
            f" {_at(one.seen_at_us)}"
            for one in lag.lags(rows, _subscriptions())
        ]
    if verb == "due":
        return [
            f"{_at(run_at_us)}  {state:<8}  {name:<28}  {site}  {identity}  tries {attempt}"
            + (f"\n    {error.strip().splitlines()[-1]}" if error else "")
            for site, identity, name, state, attempt, run_at_us, error in rows
        ]
    return [
        f"{state:<8}  {subscriber:<28}  {site}  {event}  {aggregate}  tries {attempt}"
        + (f"  trace {trace}" if trace else "")
        + (f"\n    {error.strip().splitlines()[-1]}" if error else "")
        for subscriber, event, site, aggregate, state, attempt, trace, error in rows
    ]


def _lag(behind: int | None) -> str:
    if behind is None:
        return "of no service here"
    if not behind:
        return "up to date"
    return "1 event behind" if behind == 1 else f"{behind} events behind"


def _at(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
