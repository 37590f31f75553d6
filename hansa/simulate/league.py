"""League: what is served where. In one, each node has a port of its own, and they trade; in the
other a site roams between nodes that all serve its port, and trades with one at home."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from hansa.kernel import machine, migrating
from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller
from hansa.kernel.clock import Clock
from hansa.kernel.compiler import Statements
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.placement import Address, Entry, Placement
from hansa.kernel.sealing import Sealer
from hansa.kernel.service import Service
from hansa.kernel.site import SiteDirectory, SiteInfo, slot_of
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.storage import Storage
from hansa.platform.sites import sites
from hansa.platform.sites.asking import AskedRows
from hansa.platform.sites.directory import Directory
from hansa.platform.sites.rows import CellRows
from hansa.simulate.service import ACCOUNTS, BALANCE, ITEMS, ON_HAND, Port, ports
from hansa.testing.schema import make_tables

SITE: Final = SiteInfo("site_league", slot_of("site_league"))
HTTP_PORT: Final = 80
ROAMING, AT_HOME = 0, 1
"""The ports of the league in which a site roams."""


class OneSite:
    """A directory of one site, which never moves; anybody may call."""

    async def by_id(self, site: str) -> SiteInfo | None:
        """See `SiteDirectory`."""
        return SITE if site == SITE.id else None

    async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
        """See `SiteDirectory`."""
        return Caller(site, PUBLIC_PRINCIPAL)

    def forget(self, site: str) -> None:
        """See `SiteDirectory`."""

    async def zones(self) -> Sequence[str]:
        """See `SiteDirectory`."""
        return ("UTC",)

    async def in_zone(self, zone: str, after: str, limit: int) -> Sequence[SiteInfo]:
        """See `SiteDirectory`."""
        return [SITE] if after < SITE.id else []


class League:
    """So many nodes, of which the site roams between all but the first, or between none."""

    def __init__(self, nodes: int, *, roams: bool) -> None:
        self.nodes = nodes
        self.roams = roams
        self.ports: tuple[Port, ...] = ports(2 if roams else nodes)
        self.services: list[Service] = [one.service for one in self.ports]
        if roams:
            self.services.append(sites)
        self.statements = Statements("sqlite")
        """Compiled once for all nodes and seeds."""

    @cached_property
    def placement(self) -> Placement:
        """Where everything is: each node has a cell of its own."""
        return Placement(
            Entry(f"n{number}", f"n{number}", (Address(f"n{number}", HTTP_PORT),), names)
            for number, names in enumerate(map(self._served, range(self.nodes)))
        )

    def _served(self, node: int) -> tuple[str, ...]:
        if not self.roams:
            return (self.ports[node].service.name,)
        if node == 0:
            return (sites.name, self.ports[AT_HOME].service.name)
        return (self.ports[ROAMING].service.name,)

    def follows(self, node: int, other: int) -> bool:
        """Tell whether a node follows the log of another."""
        return node != other and not (self.roams and node and other)

    def aggregates_of(self, node: str) -> tuple[str, ...]:
        """Return with what the names of those aggregates begin all of whose events a node has."""
        if self.roams and node != self.placement.entries[0].name:
            return (f"{self.ports[ROAMING].service.name}:",)
        return tuple(f"{one.service.name}:" for one in self.ports)

    def directory(
        self, node: int, storage: Storage, remote: Remote, sealer: Sealer, clock: Clock
    ) -> SiteDirectory:
        """Return how a node knows of sites."""
        if not self.roams:
            return OneSite()
        rows = AskedRows(remote) if node else CellRows(storage)
        return Directory(rows, sealer, clock, alone=False, monotonic=machine.monotonic)

    # ---- what is there at the beginning

    def files(self, folder: Path) -> list[Path]:
        """Make the file of each node's cell, as it is at the beginning."""
        empty = folder / "empty.db"
        asyncio.run(self._make(empty, self._tables))
        made: list[Path] = []
        for node in range(self.nodes):
            path = folder / f"begin-{node}.db"
            shutil.copyfile(empty, path)
            asyncio.run(self._make(path, partial(self._fill, node)))
            made.append(path)
        return made

    async def _make(self, path: Path, work: Callable[[SqliteStorage], Awaitable[None]]) -> None:
        storage = SqliteStorage(path, synchronous="OFF")
        await storage.open()
        await work(storage)
        await storage.close()

    async def _tables(self, storage: SqliteStorage) -> None:
        await migrating.migrate(storage, [sites] if self.roams else [])
        for port in self.ports:
            await make_tables(storage, port.service)

    async def _fill(self, node: int, storage: SqliteStorage) -> None:
        there = [self.ports[node]] if not self.roams else []
        if self.roams and node < 2:
            there = [self.ports[(AT_HOME, ROAMING)[node]]]
        texts = [text for port in there for text in _rows_of(port)]
        if self.roams and node == 0:
            texts.append(_SITE_ROW)
        await storage.apply(texts)


_SITE_ROW: Final = f"""INSERT INTO sites_sites (id, name, state, locale, currency, zone, test_clock,
slot, epoch, cell, move, move_cell, created_at, changed_at)
VALUES ('{SITE.id}', 'league', 'active', 'en', 'EUR', 'UTC', 0, {SITE.slot}, 1, '',
'none', '', 0, 0)"""


def _rows_of(port: Port) -> list[str]:
    name = port.service.name
    accounts = [
        f"INSERT INTO {name}_accounts (site, name, balance, sent, received)"
        f" VALUES ('{SITE.id}', '{account}', {BALANCE}, 0, 0)"
        for account in ACCOUNTS
    ]
    stock = [
        f"INSERT INTO {name}_stock (site, item, on_hand, reserved)"
        f" VALUES ('{SITE.id}', '{item}', {ON_HAND}, 0)"
        for item in ITEMS
    ]
    return accounts + stock
