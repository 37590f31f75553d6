"""Node: one machine with one process of the real kernel, which is killed and starts again."""

import asyncio
from collections.abc import Sequence
from contextvars import copy_context
from pathlib import Path
from random import Random
from typing import Final

from hansa.kernel import migrating
from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller
from hansa.kernel.compiler import Statements
from hansa.kernel.http.app import HttpApp
from hansa.kernel.problems import StorageFailed, StorageFull
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.face import Face
from hansa.kernel.remote.following import Follower, followers
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Address, Entry, Placement
from hansa.kernel.runtime import Runtime
from hansa.kernel.sealing import Sealer
from hansa.kernel.site import SiteInfo, slot_of
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.sqlite.connection import Synchronous
from hansa.simulate.history import WORLD, History
from hansa.simulate.loop import Process, VirtualLoop, current_process
from hansa.simulate.machinery import Disk, SkewedClock, VirtualWorker
from hansa.simulate.mint import Mint
from hansa.simulate.server import Serving
from hansa.simulate.service import ACCOUNTS, BALANCE, ITEMS, ON_HAND, Port
from hansa.testing.schema import make_tables

SITE: Final = SiteInfo("site_league", slot_of("site_league"))
HTTP_PORT: Final = 80
RESTART_S: Final = 0.5
LINK_KEY: Final = b"the link key of every simulation"
_statements: Final = Statements("sqlite")


class OneSite:
    """The directory of the simulation: one site, and anybody may call."""

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


def placement_of(ports: Sequence[Port]) -> Placement:
    """Return where the ports are: each on a node and a cell of its own."""
    return Placement(
        Entry(f"n{one.number}", f"n{one.number}", (Address(f"n{one.number}", HTTP_PORT),),
              (one.service.name,))
        for one in ports
    )  # fmt: skip


class Node:
    """See the module. `up` is whether its process has started to serve."""

    def __init__(
        self,
        loop: VirtualLoop,
        history: History,
        ports: Sequence[Port],
        number: int,
        mint: Mint,
        disk: Disk,
        chance: Random,
        synchronous: Synchronous,
    ) -> None:
        self.name = f"n{number}"
        self.clock = SkewedClock(loop, chance)
        self.disk = disk
        self.up = False
        self.process: Process | None = None
        self.runtime: Runtime
        self.followers: list[Follower]
        self._loop = loop
        self._history = history
        self._services = [one.service for one in ports]
        self._placement = placement_of(ports)
        self._entry = self._placement.entries[number]
        self._mint = mint
        self._synchronous: Synchronous = synchronous

    def start(self) -> None:
        """Begin a process; it serves when it has opened its file and looked at its log."""
        self.process = Process(self.name)
        self._loop.spawn(self.process, self._live())

    async def _live(self) -> None:
        """Serve; a process that cannot open its file ends, and somebody starts another."""
        try:
            await self._serve()
        except (StorageFailed, StorageFull):
            self._history.note(self.name, "cannot start: its disk fails")
            self._loop.call_later(RESTART_S, self._again, context=copy_context())
        except Exception as error:
            self._loop.failures.append(f"{self.name} cannot start: {error!r}")

    def _again(self) -> None:
        if not self.up:
            self.crash()
            self.restart()

    def crash(self) -> None:
        """Cut the power."""
        assert self.process is not None
        self.process.die()
        self.up = False
        self._loop.network.lose(self.process)
        self.process = None
        self.disk.power_off()
        self._history.note(WORLD, f"{self.name} loses its power")

    def restart(self) -> None:
        """Give it power again."""
        self.disk.restart()
        self._history.note(WORLD, f"{self.name} starts again")
        self.start()

    async def _serve(self) -> None:
        process = current_process()
        storage = SqliteStorage(
            self.disk.path, cell=self.name, vfs=self.disk.vfs, synchronous=self._synchronous,
            readers=1, cache_kb=2048,
            workers=lambda loop, name: VirtualWorker(loop, name, self.disk),
        )  # fmt: skip
        await storage.open()
        seal = Seal([LINK_KEY])
        remote = Remote(self._placement, self._entry, seal, self.clock)
        self.runtime = Runtime(
            self._services, storage, OneSite(), Sealer([bytes(32)]), clock=self.clock,
            resources={Mint: self._mint, History: self._history}, remote=remote,
            hosted=self._entry.services,
        )  # fmt: skip
        self.runtime.statements = _statements  # compiled once for all nodes and seeds
        app = HttpApp(self.runtime)
        app.inner = Face(self.runtime, seal)
        await self.runtime.start()
        self._loop.network.listen(str(self._entry.addresses[0]), lambda: Serving(app))
        self.followers = followers(self.runtime, remote)
        for one in self.followers:
            await one.start()
        assert process is self.process
        self.up = True
        self._history.note(self.name, "serves")


def template_in(folder: Path, ports: Sequence[Port]) -> Path:
    """Make the file of a cell as every node begins with it."""
    path = folder / "template.db"

    async def make() -> None:
        storage = SqliteStorage(path, synchronous="OFF")
        await storage.open()
        await migrating.migrate(storage, [])
        for port in ports:
            await make_tables(storage, port.service)
            name = port.service.name
            await storage.apply(
                [
                    f"INSERT INTO {name}_accounts (site, name, balance, sent, received)"
                    f" VALUES ('{SITE.id}', '{account}', {BALANCE}, 0, 0)"
                    for account in ACCOUNTS
                ]
                + [
                    f"INSERT INTO {name}_stock (site, item, on_hand, reserved)"
                    f" VALUES ('{SITE.id}', '{item}', {ON_HAND}, 0)"
                    for item in ITEMS
                ]
            )
        await storage.close()

    asyncio.run(make())
    return path
