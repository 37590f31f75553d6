"""Split: the same services on cells of their own, with real sockets between them.

What is a function call and one transaction log in one process is an HTTP request and a copied log
here; a test that holds on both holds however the services are placed. All parts run in the test's
own loop, each with its own database, server and followers.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self

from hansa.assembly import Cell, Place
from hansa.kernel.http.server import serve
from hansa.kernel.remote.placement import Address, Entry, Placement
from hansa.kernel.sealing import new_master_key
from hansa.kernel.service import Service
from hansa.project import EVERYWHERE
from hansa.testing.cell import MEMORY, Part, TestCell, with_the_heard
from hansa.testing.postgres import free_port

HOME: Final = "sites"
"""The service of the part that a test's callers ask; it passes on what is elsewhere."""
_OPENED: Final = """SELECT COALESCE(MAX(position), 0) FROM hansa_events
WHERE type = ?1 OR (substr(?1, length(?1)) = '*'
AND substr(type, 1, length(?1) - 1) = substr(?1, 1, length(?1) - 1))"""
_COPIED: Final = "SELECT COALESCE(MAX(position), 0) FROM hansa_cursors WHERE subscriber = ?1"


class Served(Part):
    """A part with a server of its own."""

    def __init__(self, entry: Entry, cell: Cell) -> None:
        self.entry = entry
        self.cell = cell
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.cell.open()
        self.storage = self.cell.storage
        started = asyncio.Event()
        address = self.entry.addresses[0]
        self._serving = asyncio.create_task(
            serve(
                self.cell.app, address.host, address.port, mounts=self.cell.mounts,
                on_started=started.set, stop=self._stop, drain_s=5,
            )
        )  # fmt: skip
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait([self._serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not started.is_set():
            waiting.cancel()
            await self._serving  # which raises what went wrong
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cell.runtime.drain()
        self._stop.set()
        if self._serving is not None:
            await self._serving
        await self.cell.close()


class SplitCell(TestCell):
    """Services as on several processes and databases, open inside `async with`.

    The sites have a part of their own, and so has each service. `place` says where the rows of the
    first one are; all others are in SQLite files in memory.
    """

    def __init__(self, *services: Service, place: Place | None = None) -> None:
        every = with_the_heard(services)
        memory = str(MEMORY) if MEMORY.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="hansa-test-", dir=memory))
        apart = [HOME, *(one.name for one in every if one not in EVERYWHERE)]
        entries = [
            Entry(name, name, (Address("127.0.0.1", free_port()),), (name,)) for name in apart
        ]
        self.parts: dict[str, Served] = {}
        master = new_master_key()
        for entry in entries:
            where = Place(self._folder / entry.name, synchronous="OFF")
            if place is not None and entry.name == services[0].name:
                where = place
            _write_key(where.folder, master)
            cell = Cell(where, every, placement=Placement(entries), hosted=entry.services)
            cell.testpay = "commerce" in entry.services
            self.parts[entry.name] = Served(entry, cell)
        self.cell = self.parts[HOME].cell
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for part in self.parts.values():
            await self._open.enter_async_context(part)
        self.storage = self.cell.storage
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
        shutil.rmtree(self._folder)

    def at(self, service: str) -> Part:
        """Return the part that a service runs in."""
        return self.parts.get(service, self.parts[HOME])

    @property
    def every(self) -> Sequence[Part]:
        """All parts."""
        return list(self.parts.values())

    async def rest(self) -> None:
        """Return when every event has been handled, wherever it is heard."""
        reached: list[int] = []
        while (heads := [await part.head() for part in self.every]) != reached:
            await self.until(self._is_copied)
            for part in self.every:
                await part.runtime.dispatcher.rest()
            reached = heads

    async def _is_copied(self) -> bool:
        """Tell whether every part has a copy of all that its subscribers want of the others."""
        for part in self.parts.values():
            for name in part.cell.followed:
                there = self.at(name.partition(".")[0])
                ((opened,),) = await there.rows(_OPENED, name)
                cursor = f"follow:{name.partition('.')[0]}/{name}"
                ((copied,),) = await part.rows(_COPIED, cursor)
                if copied < opened:
                    return False
        return True


def _write_key(folder: Path, master: str) -> None:
    """Have a part read what the others seal: it is the same master key."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "master.key"
    file.touch(0o600)
    file.write_text(master)
