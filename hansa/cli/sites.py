"""Sites: list and make sites and keys, in a cell that nobody has open, or through a server."""

import argparse
import asyncio
import time
from datetime import datetime
from typing import Any, Final

import msgspec
import uvloop

from hansa.assembly import Cell
from hansa.cli.cells import Asked, Local, Through, every, hosts_of_sites, one_site, shown
from hansa.cli.remote import IN_USE, Server
from hansa.cli.serving import check_exists, failed, told
from hansa.cli.values import instant
from hansa.kernel import codec
from hansa.kernel.ids import ID, is_id
from hansa.kernel.migrating import MigrationFailed, MigrationRefused
from hansa.kernel.problems import Problem
from hansa.kernel.sealing import MasterKeyInvalid
from hansa.kernel.sqlite.connection import InUse
from hansa.kernel.storage import PLATFORM
from hansa.platform.sites.api import (
    ClockState,
    Key,
    NewKey,
    NewSite,
    NewTime,
    NewValue,
    SettingValue,
    Site,
    TestClock,
    advance_clock,
    create_key,
    create_site,
    get_clock,
    list_keys,
    list_settings,
    list_sites,
    reset_setting,
    revoke_key,
    set_setting,
)
from hansa.project import services

LOOK_S: Final = 0.2
STUCK_S: Final = 60.0
"""How long a test clock may stand on its way before it counts as stuck: one due work takes less."""


class Listed(Site):
    """A site with its hosts."""

    hosts: tuple[str, ...] = ()


def run(options: argparse.Namespace) -> int:
    """Do what the verb says."""
    try:
        return uvloop.run(_remote(options) if options.url else _local(options))
    except InUse as taken:
        return failed(f"{taken} {IN_USE}")
    except (
        Problem,
        MigrationRefused,
        MigrationFailed,
        OSError,
        ValueError,
        MasterKeyInvalid,
    ) as error:
        return failed(told(error))


async def _local(options: argparse.Namespace) -> int:
    from hansa.cli.main import place_of

    place = place_of(options)
    if options.verb != "create":
        check_exists(place)
    cell = Cell(place, services(), background=options.verb == "advance")
    await cell.open()
    try:
        return await _do(Local(cell), options)
    finally:
        await cell.close()


async def _remote(options: argparse.Namespace) -> int:
    async with Server(options.url, options.key or "") as server:
        return await _do(Through(server), options)


async def _do(cell: Asked, options: argparse.Namespace) -> int:
    """Do what the verb says and tell it, in words or with --json as it was answered."""
    answer = await _answer(cell, options)
    if options.json:
        encoded = codec.encode("done" if answer is None else answer)
        print(msgspec.json.format(encoded, indent=2).decode())
        return 0
    for line in _lines(options.verb, answer):
        print(line)
    return 0


async def _answer(cell: Asked, options: argparse.Namespace) -> Any:
    verb = options.verb
    if verb == "list":
        hosts = await hosts_of_sites(cell)
        return [
            Listed(**msgspec.structs.asdict(one), hosts=tuple(hosts.get(one.id, ())))
            for one in await every(cell, list_sites)
        ]
    if verb == "create":
        return await cell.do(create_site, body=_new_site(options))
    site = await _site(cell, options.site)
    if verb == "key":
        return await cell.do(create_key, site=site, body=_new_key(options))
    if verb == "keys":
        return await every(cell, list_keys, site=site)
    if verb == "revoke":
        return await cell.do(revoke_key, site=site, key=options.id)
    if verb == "settings":
        return await cell.do(list_settings, site=site)
    if verb == "advance":
        return await _advance(cell, site, instant(options.to))
    name = options.setting
    if verb == "set":
        body = _new_value(options)
        return await cell.do(set_setting, site=site, name=name, body=body)
    return await cell.do(reset_setting, site=site, name=name)


async def _site(cell: Asked, wanted: str) -> ID:
    """Return the site of an id or a host; `platform` is none, and has keys all the same."""
    if wanted == PLATFORM or is_id(wanted, "site"):
        return wanted
    return (await one_site(cell, wanted)).id


async def _advance(cell: Asked, site: ID, to: datetime) -> ClockState:
    """Move a test clock and wait until it has come there. Raises TimeoutError when it stands."""
    state = await cell.do(advance_clock, site=site, body=NewTime(to))
    moved = time.monotonic()
    while state.now < state.target:
        if time.monotonic() > moved + STUCK_S:
            raise TimeoutError(
                f"The clock stands at {state.now.isoformat()} since {STUCK_S:g} s and goes on to"
                f" {state.target.isoformat()}: `hansa log due` shows what holds it."
            )
        await asyncio.sleep(LOOK_S)
        before, state = state, await cell.do(get_clock, site=site)
        if state.now > before.now:
            moved = time.monotonic()
    return state


def _lines(verb: str, answer: Any) -> list[str]:
    """Return an answer in words."""
    if verb == "list":
        return [f"{one.id}  {one.state:<9}  {one.currency}  {one.zone:<16}  {one.name}"
                f"  {shown(one.hosts)}".rstrip() for one in answer]  # fmt: skip
    if verb == "create":
        return [answer.id]
    if verb == "key":
        return [str(answer.key)]
    if verb == "keys":
        return [f"{key.id}  {_life(key):<26}  {key.name:<16}  {' '.join(key.permissions)}"
                for key in answer]  # fmt: skip
    if verb == "settings":
        return [_setting(one) for one in answer]
    if verb == "set":
        return [_setting(answer)]
    if verb == "advance":
        return [answer.now.isoformat()]
    return ["revoked" if verb == "revoke" else "reset"]


def _new_site(options: argparse.Namespace) -> NewSite:
    clock = TestClock(instant(options.test_clock)) if options.test_clock else None
    return NewSite(
        options.name, options.locale, options.currency, options.zone, tuple(options.host), clock
    )


def _new_key(options: argparse.Namespace) -> NewKey:
    expires_at = instant(options.expires) if options.expires else None
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
