"""Machinery: the disk, the threads and the wall clock of a simulated machine.

The disk is a `FaultyDisk`: what was not synced when the power fails is gone, but for some of it,
torn. The threads run their errands at a later virtual instant, as slow as the disk is just then.
The wall clock is some seconds off, and drifts.
"""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw

from hansa.kernel.sqlite.thread import Done, Worker
from hansa.simulate.loop import START_S, VirtualLoop
from hansa.testing.faulty_disk import FaultyDisk

EPOCH_US: Final = 1_790_000_000_000_000
"""The wall-clock time at which every run begins, in microseconds since 1970."""
SKEW_S: Final = 8.0
DRIFT: Final = 2e-4
FILE: Final = "hansa.db"
LEAK: Final = 0.2
ERRAND_S: Final = (0.0001, 0.003)
SLOW_S: Final = (0.05, 1.2)


class Disk:
    """One machine's disk. It outlives the processes on it; `power_off` is what kills one."""

    def __init__(self, name: str, folder: Path, chance: Random) -> None:
        self._name = name
        self._folder = folder
        self._chance = chance
        self._boots = 0
        self.slow = False
        self._vfs: FaultyDisk

    def format(self, template: Path) -> None:
        """Put the file of a cell on it."""
        self.power_on(template)

    @property
    def path(self) -> Path:
        """Where the file is, for SQLite."""
        return self._folder / f"{self._name}-{self._boots}" / FILE

    @property
    def vfs(self) -> str:
        """The name of the VFS that the file is to be opened with."""
        return self._vfs.name

    def power_on(self, source: Path) -> None:
        """Begin anew with what is on the disk.

        The files move to a folder of their own with each start, since locks and shared memory of
        the dead process are still this process's.
        """
        self._boots += 1
        self.path.parent.mkdir()
        for suffix in ("", "-wal"):
            before = source.with_name(source.name + suffix)
            if before.exists():
                shutil.copyfile(before, self.path.with_name(FILE + suffix))
        if self._boots > 1:
            self._vfs.unregister()
        seed = self._chance.getrandbits(32)
        self._vfs = FaultyDisk(f"{self._name}-{self._boots}", seed=seed, leak=LEAK)

    def power_off(self) -> None:
        """Lose what was not synced."""
        self._vfs.cut_power()
        path = str(self.path)
        for connection in apsw.connections():
            if connection.filename == path:
                with suppress(apsw.Error):  # closing tries to write
                    connection.close(True)

    def scrap(self) -> None:
        """Have nothing of it left in this process."""
        self.power_off()
        self._vfs.unregister()

    def fail(self, how: str) -> None:
        """Have the disk be full, or fail a write or a sync soon, until it heals."""
        if how == "full":
            self._vfs.fill_up(self._chance.randrange(20) * 4096)
        elif how == "write-fails":
            self._vfs.fail_write(self._chance.randrange(20))
        else:
            self._vfs.fail_sync(self._chance.randrange(3))

    def heal(self) -> None:
        """Have it work again."""
        self._vfs.heal()

    def restart(self) -> None:
        """Go from `power_off` to `power_on`."""
        self.power_on(self.path)

    def errand_s(self) -> float:
        """Return how long the next errand of a thread takes."""
        if self.slow or self._chance.random() < 0.01:
            return self._chance.uniform(*SLOW_S)
        return self._chance.uniform(*ERRAND_S)


class VirtualWorker(Worker):
    """A thread of a simulated process: an errand is done at a later virtual instant, in order, and
    reported yet later, so that a crash comes between any two of these."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, disk: Disk) -> None:
        super().__init__(loop, name)
        self._virtual = loop
        self._disk = disk
        self._free_at = 0.0
        self._told_at = 0.0

    def post(self, errand: Callable[[], Any], done: Done) -> None:
        """See `Worker`."""
        self._free_at = max(self._virtual.time(), self._free_at) + self._disk.errand_s()
        self._virtual.call_at(self._free_at, self._do, errand, done)

    def stop(self) -> None:
        """See `Worker`."""

    def _do(self, errand: Callable[[], Any], done: Done) -> None:
        result, error = None, None
        try:
            result = errand()
        except BaseException as raised:  # reported where it is waited for
            error = raised
        self._told_at = max(self._virtual.time() + 0.00005, self._told_at)
        self._virtual.call_at(self._told_at, done, result, error)


class SkewedClock:
    """The wall clock of a machine; like `MachineClock` it never goes back while a process runs."""

    def __init__(self, loop: VirtualLoop, chance: Random) -> None:
        self._loop = loop
        self._last_us = 0
        self._skew_s = chance.uniform(-SKEW_S, SKEW_S)
        self._rate = 1.0 + chance.uniform(-DRIFT, DRIFT)

    def step(self, seconds: float) -> None:
        """Be set by so much, as a time server does it."""
        self._skew_s += seconds

    def now_us(self) -> int:
        """Return microseconds since 1970 in UTC, as this machine believes."""
        passed_s = (self._loop.now - START_S) * self._rate + self._skew_s
        self._last_us = max(self._last_us, EPOCH_US + int(passed_s * 1_000_000))
        return self._last_us
