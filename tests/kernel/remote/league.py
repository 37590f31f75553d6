"""A league of two: a service that tells and one that hears, each in a process of its own.

Both are in the test's own process and loop, but all that goes between them goes over real sockets,
through the server that serves everybody.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from hansa.kernel import migrating
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.clock import MachineClock
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.server import serve
from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.face import Face
from hansa.kernel.remote.following import Follower, followers
from hansa.kernel.remote.passport import Seal
from hansa.kernel.remote.placement import Address, Entry, Placement
from hansa.kernel.runtime import Runtime
from hansa.kernel.sealing import Sealer
from hansa.kernel.storage import Storage
from hansa.testing.schema import make_tables
from tests.cli.server import free_port
from tests.kernel.cells import MASTER, REAL, Sites, TestCell
from tests.kernel.remote.hearing import hearer
from tests.kernel.remote.telling import teller

KEY: Final = b"a key of the league, for testing"


class Node:
    """One process of the league: it can be started, stopped and started again."""

    def __init__(self, name: str, storage: Storage, placement: Placement, entry: Entry) -> None:
        self.name = name
        self.storage = storage
        self.services = [teller, hearer]
        self.entry = entry
        self.placement = placement
        self.runtime: Runtime
        self.cell: TestCell
        self.remote: Remote
        self.app: HttpApp
        self.recorder: Recorder | None = None
        self.followers: list[Follower] = []
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def make(self) -> None:
        """Make the cell."""
        await self.storage.open()
        await migrating.migrate(self.storage, [])
        for service in self.services:
            await make_tables(self.storage, service)
        await self.storage.close()

    async def start(self) -> None:
        """Open, serve and follow."""
        await self.storage.open()
        seal = Seal([KEY])
        clock = MachineClock()
        self.remote = Remote(self.placement, self.entry, seal, clock)
        self.runtime = Runtime(
            self.services, self.storage, Sites(), Sealer([MASTER]), clock=clock,
            remote=self.remote, hosted=self.entry.services, recorder=self.recorder,
        )  # fmt: skip
        self.cell = TestCell(self.storage, self.services, self.runtime)
        self.app = HttpApp(self.runtime, recorder=self.recorder)
        self.app.inner = Face(self.runtime, seal)
        self._stop = asyncio.Event()
        started = asyncio.Event()
        address = self.entry.addresses[0]
        await self.runtime.start()
        self._serving = asyncio.create_task(
            serve(
                self.app, address.host, address.port, on_started=started.set, stop=self._stop,
                drain_s=10,
            )
        )  # fmt: skip
        await started.wait()
        self.followers = followers(self.runtime, self.remote)
        for one in self.followers:
            await one.start()

    async def stop(self) -> None:
        """Stop as a process does that is told to."""
        for one in self.followers:
            await one.stop()
        self._stop.set()
        if self._serving is not None:
            await self._serving
        await self.runtime.stop()
        self.remote.close()
        await self.storage.close()

    async def do(self, operation: Any, key: str | None = None, **arguments: Any) -> Any:
        """Run an operation as the site's owner."""
        return await self.runtime.do(operation, Caller(REAL.id, SYSTEM), arguments, key=key)


@asynccontextmanager
async def league(
    telling: Storage,
    hearing: Storage,
    *,
    shared: bool = False,
    recorders: Sequence[Recorder | None] = (None, None),
) -> AsyncIterator[tuple[Node, Node]]:
    """Start both, each on a database of its own, or on a `shared` one."""
    entries = [
        Entry(name, "shared" if shared else name, (Address("127.0.0.1", free_port()),), (name,))
        for name in ("teller", "hearer")
    ]
    placement = Placement(entries)
    nodes = (
        Node("teller", telling, placement, entries[0]),
        Node("hearer", hearing, placement, entries[1]),
    )
    for node, recorder in zip(nodes, recorders, strict=True):
        node.recorder = recorder
        if node is nodes[0] or not shared:
            await node.make()
        await node.start()
    try:
        yield nodes
    finally:
        for node in nodes:
            await node.stop()
