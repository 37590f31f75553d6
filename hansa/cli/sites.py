"""Sites: list and make sites and keys, in a cell that nobody has open, or through a server."""

import argparse
from datetime import datetime
from http.client import HTTPException
from typing import Any

import msgspec
import uvloop

from hansa.assembly import OPERATOR, Cell
from hansa.cli.remote import Server
from hansa.cli.serving import check_exists, failed, told
from hansa.kernel import codec
from hansa.kernel.ids import ID
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Invalid, NotFound, Problem
from hansa.kernel.sealing import MasterKeyInvalid
from hansa.kernel.structs import PageRequest
from hansa.platform.sites.api import (
    Key,
    NewKey,
    NewSite,
    NewValue,
    SettingValue,
    Site,
    TestClock,
    create_key,
    create_site,
    list_keys,
    list_settings,
    list_sites,
    reset_setting,
    revoke_key,
    set_setting,
)
from hansa.project import services


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


def _new_key(options: argparse.Namespace) -> NewKey:
    expires_at = datetime.fromisoformat(options.expires) if options.expires else None
    return NewKey(options.name, tuple(options.permissions), expires_at)


def _new_value(options: argparse.Namespace) -> NewValue:
    try:
        return NewValue(msgspec.json.decode(options.value))
    except msgspec.DecodeError as error:
        raise ValueError(f"{options.value!r} is no JSON (a text needs quotes): {error}") from None


def _setting(one: SettingValue) -> str:
    """Return a line about a setting: an asterisk where the site has a value of its own."""
    mark = "*" if one.is_set else " "
    value = "(secret)" if one.secret else codec.encode(one.value).decode()
    return f"{mark} {one.name:<20}  {value}"


def _life(key: Key) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
    return "for good" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M}"


async def _every_key(cell: Cell, site: ID) -> list[Key]:
    found: list[Key] = []
    cursor: str | None = None
    while True:
        page = await cell.runtime.do(
            list_keys, OPERATOR, {"site": site, "page": PageRequest(100, cursor)}
        )
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


async def _local(options: argparse.Namespace) -> int:
    from hansa.cli.main import place_of

    place = place_of(options)
    if options.verb != "create":
        check_exists(place)
    cell = Cell(place, services(), background=options.verb == "advance")
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
        new = {"site": options.site, "body": _new_key(options)}
        print(str((await runtime.do(create_key, OPERATOR, new)).key))
    elif options.verb == "keys":
        for key in await _every_key(cell, options.site):
            print(f"{key.id}  {_life(key):<26}  {key.name:<16}  {' '.join(key.permissions)}")
    elif options.verb == "revoke":
        await runtime.do(revoke_key, OPERATOR, {"site": options.site, "key": options.id})
        print("revoked")
    elif options.verb == "settings":
        for one in await runtime.do(list_settings, OPERATOR, {"site": options.site}):
            print(_setting(one))
    elif options.verb == "set":
        new = {"site": options.site, "name": options.setting, "body": _new_value(options)}
        print(_setting(await runtime.do(set_setting, OPERATOR, new)))
    elif options.verb == "reset":
        new = {"site": options.site, "name": options.setting}
        await runtime.do(reset_setting, OPERATOR, new)
        print("reset")
    elif options.verb == "advance":
        print((await runtime.advance(options.site, datetime.fromisoformat(options.to))).isoformat())


async def _remote(options: argparse.Namespace) -> int:
    async with Server(options.url, options.key or "", "") as server:
        method, path, body = _request(options)
        answer = await server.call(method, path, body)
    print(msgspec.json.format(answer, indent=2).decode() if answer else "done")
    return 0


def _request(options: argparse.Namespace) -> tuple[str, str, Any]:
    if options.verb == "list":
        return "GET", "/sites?limit=100", None
    if options.verb == "create":
        return "POST", "/sites", _new_site(options)
    if options.verb == "key":
        return "POST", f"/sites/{options.site}/keys", _new_key(options)
    if options.verb == "keys":
        return "GET", f"/sites/{options.site}/keys?limit=100", None
    if options.verb == "revoke":
        return "DELETE", f"/sites/{options.site}/keys/{options.id}", None
    if options.verb == "settings":
        return "GET", f"/sites/{options.site}/settings", None
    if options.verb == "set":
        return "PUT", f"/sites/{options.site}/settings/{options.setting}", _new_value(options)
    if options.verb == "reset":
        return "DELETE", f"/sites/{options.site}/settings/{options.setting}", None
    return "POST", f"/sites/{options.site}/clock/advance", {"to": options.to}
