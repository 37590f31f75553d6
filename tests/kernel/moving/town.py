"""A league of three cells: one with the platform, and two that share the sites.

All are in the test's own process and loop; what goes between them goes over real sockets.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hansa.assembly import OPERATOR, Cell, Place
from hansa.kernel import migrating
from hansa.kernel.attempts import attempts
from hansa.kernel.caller import PUBLIC_PRINCIPAL, Caller
from hansa.kernel.clock import Clock, MachineClock
from hansa.kernel.http.server import serve
from hansa.kernel.problems import Problem
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Address, Entry, Placement
from hansa.kernel.sealing import load_sealer
from hansa.kernel.storage import PLATFORM, Session
from hansa.platform.sites import sites
from hansa.platform.sites.api import NewSite, create_site
from hansa.platform.sites.mover import OWN, Moved, Mover
from hansa.testing.looking import soon
from hansa.testing.schema import make_tables
from tests.cli.server import free_port
from tests.kernel.moving import ledger as L

SERVICES: Final = (attempts, sites, L.book, L.archive)


class Town:
    """A process of the league."""

    def __init__(
        self,
        place: Place,
        placement: Placement,
        entry: Entry,
        replica: int = 0,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.place = place
        self.clock = clock or MachineClock()
        self.address = entry.addresses[replica]
        self.placement = placement
        self.entry = entry
        self.cell: Cell
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def make(self) -> None:
        """Make the cell."""
        storage = self.place.storage()
        await storage.open()
        await migrating.migrate(storage, [sites])
        for service in (L.book, L.archive):
            await make_tables(storage, service)
        await storage.close()

    async def start(self) -> None:
        """Open and serve."""
        self.cell = Cell(
            self.place, SERVICES, placement=self.placement, hosted=self.entry.services,
            process=self.entry.name, clock=self.clock,
        )  # fmt: skip
        await self.cell.open(migrate=False)
        started, self._stop = asyncio.Event(), asyncio.Event()
        address = self.address
        self._serving = asyncio.create_task(
            serve(
                self.cell.app, address.host, address.port, on_started=started.set,
                stop=self._stop, drain_s=10,
            )
        )  # fmt: skip
        await started.wait()

    async def stop(self) -> None:
        """Stop as a process does that is told to."""
        self._stop.set()
        if self._serving is not None:
            await self._serving
            self._serving = None
            await self.cell.close()

    async def rows(self, text: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Return rows of this cell."""

        async def body(session: Session) -> list[tuple[Any, ...]]:
            mark = text if session.dialect == "sqlite" else text.replace("?", "$")
            return [tuple(row) for row in await session.fetch(mark, arguments)]

        return await self.cell.storage.read(body, site=PLATFORM, deadline=soon(), across=True)

    async def prune(self) -> int:
        """Take away all that is old, every subscriber being past; return how many events went."""

        async def body(session: Session) -> None:
            await session.run("UPDATE hansa_subscribers SET floor = 1000000")

        await self.cell.storage.write(body, site=PLATFORM, deadline=soon(), across=True)
        return (await self.cell.runtime.pruner.prune())["hansa_events"]


@dataclass
class League:
    """The three, and who moves sites between them."""

    home: Town
    north: Town
    south: Town
    site: str = ""
    steps: list[str] = field(default_factory=list[str])

    def mover(self, told: Any = None) -> tuple[Mover, Remote]:
        """Return a mover, with what is to be closed after it."""
        sealer = load_sealer(self.home.place.folder / "master.key", None)
        seal = Seal(lambda: sealer.derived("hansa/link"))
        remote = Remote(self.home.placement, OWN, seal, self.home.clock)
        return Mover(self.home.placement, remote, told or self.steps.append), remote

    async def move(self, to: str, told: Any = None) -> Moved:
        """Move the site."""
        mover, remote = self.mover(told)
        try:
            return await mover.move(self.site, to)
        finally:
            remote.close()

    async def post(self, town: Town, name: str, key: str) -> L.Sum:
        """Post at a process, again and again until it is done, as a client with a key does."""
        caller = Caller(self.site, PUBLIC_PRINCIPAL)
        found: L.Sum = await town.cell.runtime.do(L.post, caller, {"name": name}, key=key)
        return found

    def town(self, name: str) -> Town:
        """Return a town by the name of its cell."""
        return {"home": self.home, "north": self.north, "south": self.south}[name]

    async def until(self, town: Town, wanted: Any, text: str, *arguments: Any) -> None:
        """Wait until rows are as they should be."""
        deadline = soon()
        found: Any = None
        while asyncio.get_running_loop().time() < deadline:
            found = await town.rows(text, *arguments)
            if found == wanted:
                return
            await asyncio.sleep(0.02)
        missing, more = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
        assert found == wanted, f"{text}: missing {missing}, too many {more}"

    async def check(self, town: Town, counts: dict[str, int]) -> None:
        """See that all is in one cell, that each event took effect once and in order, there and at
        home, and that all due work was done once."""
        names = sorted(counts)
        sums = [(name, counts[name]) for name in names]
        await self.until(town, sums, "SELECT name, count FROM book_sums ORDER BY name")
        each = [(name, n) for name in names for n in range(1, counts[name] + 1)]
        order = [(name, n, n) for name, n in each]
        await self.until(
            town, order, "SELECT name, number, count FROM book_heard ORDER BY name, number"
        )
        await self.until(town, each, "SELECT name, count FROM book_noted ORDER BY name, count")
        home = self.home
        await self.until(home, each, "SELECT name, count FROM archive_filed ORDER BY name, count")
        ids = "SELECT count FROM archive_filed WHERE name = ?1 ORDER BY id"
        for name in names:
            assert [row[0] for row in await home.rows(ids, name)] == [*range(1, counts[name] + 1)]
        assert await town.rows("SELECT count(*) FROM hansa_due WHERE site = ?1", self.site) == [
            (0,)
        ]

    async def gone(self, town: Town) -> None:
        """See that nothing of the site is in a cell, but that it has left."""
        for table in ("book_sums", "book_heard", "book_noted", "hansa_events", "hansa_due",
                      "hansa_keys", "hansa_receipts", "hansa_aggregates"):  # fmt: skip
            text = f"SELECT count(*) FROM {table} WHERE site = ?1"
            assert await town.rows(text, self.site) == [(0,)], table
        state = await town.rows("SELECT state FROM hansa_sites WHERE site = ?1", self.site)
        assert state == [("gone",)]


def _addresses(count: int) -> tuple[Address, ...]:
    return tuple(Address("127.0.0.1", free_port()) for _ in range(count))


def _placement(replicas: int) -> tuple[Placement, Sequence[Entry]]:
    entries = [
        Entry("home", "home", _addresses(1), ("sites", "archive")),
        Entry("north", "north", _addresses(1), ("book",)),
        Entry("south", "south", _addresses(replicas), ("book",)),
    ]
    return Placement(entries), entries


@asynccontextmanager
async def league(
    folder: Path,
    north: Place,
    south: Place,
    *,
    replicas: int = 1,
    home: Place | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[League]:
    """Start a league with a site, which is in the north. `replicas` is how many processes the south
    has, on PostgreSQL; `clock` is that of all machines."""
    placement, entries = _placement(replicas)
    places = (home or Place(folder / "home", synchronous="OFF"), north, south)
    towns = [
        Town(place, placement, entry, clock=clock)
        for place, entry in zip(places, entries, strict=True)
    ]
    for town in towns:
        await town.make()
        if town is not towns[0]:
            master = (folder / "home" / "master.key").read_bytes()
            (town.place.folder / "master.key").write_bytes(master)
            (town.place.folder / "master.key").chmod(0o600)
        else:
            load_sealer(town.place.folder / "master.key", None)
    towns += [
        Town(south, placement, entries[2], number, clock=clock) for number in range(1, replicas)
    ]
    for town in towns:
        await town.start()
    try:
        made = League(towns[0], towns[1], towns[2])
        site = await towns[0].cell.runtime.do(create_site, OPERATOR, {"body": NewSite("shop")})
        made.site = site.id
        yield made
    finally:
        for town in towns:
            with contextlib.suppress(Problem):
                await town.stop()
