"""Node: one machine with one process of the real kernel, which is killed and starts again."""

from contextvars import copy_context
from random import Random
from typing import Final

from hansa.kernel.http.app import HttpApp
from hansa.kernel.moving.face import MovingFace
from hansa.kernel.problems import StorageFailed, StorageFull
from hansa.kernel.remote.calls import Remote
from hansa.kernel.remote.face import Face
from hansa.kernel.remote.following import Follower, followers
from hansa.kernel.remote.passport import Seal
from hansa.kernel.runtime import Runtime
from hansa.kernel.sealing import Sealer
from hansa.kernel.sqlite import SqliteStorage
from hansa.kernel.sqlite.connection import Synchronous
from hansa.simulate.history import WORLD, History
from hansa.simulate.league import League
from hansa.simulate.loop import Process, VirtualLoop, current_process
from hansa.simulate.machinery import Disk, SkewedClock, VirtualWorker
from hansa.simulate.mint import Mint
from hansa.simulate.server import Serving

RESTART_S: Final = 0.5
LINK_KEY: Final = b"the link key of every simulation"


class Node:
    """See the module. `up` is whether its process has started to serve."""

    def __init__(
        self,
        loop: VirtualLoop,
        history: History,
        league: League,
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
        self._number = number
        self._league = league
        self._entry = league.placement.entries[number]
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
        league, seal, sealer = self._league, Seal([LINK_KEY]), Sealer([bytes(32)])
        remote = Remote(league.placement, self._entry, seal, self.clock)
        self.runtime = Runtime(
            league.services, storage,
            league.directory(self._number, storage, remote, sealer, self.clock), sealer,
            clock=self.clock, resources={Mint: self._mint, History: self._history},
            remote=remote, hosted=self._entry.services,
        )  # fmt: skip
        self.runtime.statements = league.statements
        app = HttpApp(self.runtime)
        app.inner = Face(self.runtime, seal, MovingFace(self.runtime, {}) if league.roams else None)
        await self.runtime.start()
        self._loop.network.listen(str(self._entry.addresses[0]), lambda: Serving(app))
        self.followers = followers(self.runtime, remote)
        for one in self.followers:
            await one.start()
        assert process is self.process
        self.up = True
        self._history.note(self.name, "serves")
