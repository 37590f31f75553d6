"""Sites: list and make sites and keys, in a cell that nobody has open, or through a server."""

import argparse
from datetime import datetime
from http.client import HTTPException
from typing import Any

import msgspec
import uvloop

from hansa.assembly import OPERATOR, Cell
from hansa.cli.remote import Server
from hansa.cli.serving import failed, told
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Invalid, NotFound, Problem
from hansa.kernel.sealing import MasterKeyInvalid
from hansa.kernel.structs import PageRequest
from hansa.platform.sites.api import (
    NewKey,
    NewSite,
    Site,
    TestClock,
    create_key,
    create_site,
    list_sites,
)


def run(options: argparse.Namespace) -> int:
    """Do what the verb says."""
    try:
        return uvloop.run(_remote(options) if options.url else _local(options))
    except (
        Problem,
        HTTPException,
        MigrationRefused,
        MigrationFailed,
        OSError,
        ValueError,
        MasterKeyInvalid,
    ) as error:
        return failed(told(error))


async def every_site(cell: Cell) -> list[Site]:
    """Return all sites of a cell."""
    found: list[Site] = []
    cursor: str | None = None
    while True:
        page = await cell.runtime.do(list_sites, OPERATOR, {"page": PageRequest(100, cursor)})
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


async def one_site(cell: Cell, wanted: str) -> Site:
    """Return the site of an id, a host or a name; without one the only site there is."""
    every = await every_site(cell)
    if wanted:
        info = await cell.directory.by_host(wanted)
        identity = info.id if info else wanted
        every = [site for site in every if identity in (site.id, site.name)]
    if len(every) == 1:
        return every[0]
    if not every:
        raise NotFound(f"There is no site {wanted or 'yet'}; `hansa sites create NAME` makes one.")
    raise Invalid("There are several sites; say which with --site.")


def _new_site(options: argparse.Namespace) -> NewSite:
    clock = None
    if options.test_clock:
        clock = TestClock(datetime.fromisoformat(options.test_clock))
    return NewSite(
        options.name, options.locale, options.currency, options.zone, tuple(options.host), clock
    )


async def _local(options: argparse.Namespace) -> int:
    from hansa.cli.main import place_of

    cell = Cell(place_of(options), background=options.verb == "advance")
    await cell.open()
    try:
        await _do(cell, options)
    finally:
        await cell.close()
    return 0


async def _do(cell: Cell, options: argparse.Namespace) -> None:
    runtime = cell.runtime
    if options.verb == "list":
        for site in await every_site(cell):
            print(f"{site.id}  {site.state:<9}  {site.currency}  {site.zone:<16}  {site.name}")
    elif options.verb == "create":
        site = await runtime.do(create_site, OPERATOR, {"body": _new_site(options)})
        print(site.id)
    elif options.verb == "key":
        body = NewKey(options.name, tuple(options.permissions))
        made = await runtime.do(create_key, OPERATOR, {"site": options.site, "body": body})
        print(str(made.key))
    elif options.verb == "advance":
        print((await runtime.advance(options.site, datetime.fromisoformat(options.to))).isoformat())


async def _remote(options: argparse.Namespace) -> int:
    async with Server(options.url, options.key or "", "") as server:
        method, path, body = _request(options)
        answer: Any = msgspec.json.decode(await server.call(method, path, body))
    print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    return 0


def _request(options: argparse.Namespace) -> tuple[str, str, Any]:
    if options.verb == "list":
        return "GET", "/sites?limit=100", None
    if options.verb == "create":
        return "POST", "/sites", _new_site(options)
    if options.verb == "key":
        body = NewKey(options.name, tuple(options.permissions))
        return "POST", f"/sites/{options.site}/keys", body
    return "POST", f"/sites/{options.site}/clock/advance", {"to": options.to}
