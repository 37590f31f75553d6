"""Run: rounds of load and kills, with a look at everything in between and at the end."""

import argparse
import asyncio
import logging
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hansa.assembly import Place
from hansa.kernel.problems import StorageFailed, StorageFull
from hansa.testing.faulty_disk import FaultyDisk
from hansa.testing.postgres import Cluster
from hansa.torture import journal, load, plants
from hansa.torture.check import Books, look, violations
from hansa.torture.load import Scene
from hansa.torture.planting import planted

LOOK_EVERY: Final = 25
SHOWN_MAX: Final = 20
UP_S: Final = 30.0
KILL_AFTER_S: Final = (0.05, 0.5)


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; 0 when nothing was violated."""
    seed = options.seed if options.seed is not None else secrets.randbits(32)
    started = time.monotonic()
    if options.plant:  # what a planted bug breaks is known; only that it is found is told
        logging.getLogger("hansa").setLevel(logging.CRITICAL)
    tally = Tally()
    found = torture(
        options.engine, options.kills, seed, faults=options.faults, plant=options.plant,
        processes=options.processes, tell=print, tally=tally,
    )  # fmt: skip
    for one in found[:SHOWN_MAX]:
        print(f"VIOLATION: {one}", file=sys.stderr)
    print(
        f"{options.engine}: {_many(tally.kills, 'kill')}, seed {seed},"
        f" {_many(len(found), 'violation')}, {time.monotonic() - started:.0f} s"
    )
    print(f"checked in {_many(tally.looks, 'look')}, of which the last had {tally.seen}")
    return 1 if found else 0


@dataclass
class Tally:
    """How often was killed and looked, and what there was to check the last time."""

    kills: int = 0
    looks: int = 0
    seen: str = "a cell that could not be read"

    def look(self, books: Books, folder: Path) -> None:
        """Note what a look had before it."""
        answers = sum(line["kind"] == "answer" for line in journal.read(folder))
        self.seen = (
            f"{answers:,} acknowledged answers, {len(books.rows('hansa_events')):,} events,"
            f" {len(books.rows('commerce_orders')):,} orders with their money,"
            f" {len(books.rows('commerce_stock_moves')):,} moves of stock"
        )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def torture(
    engine: str,
    kills: int,
    seed: int,
    *,
    faults: bool = False,
    plant: str = "",
    processes: int = 1,
    tell: Callable[[str], object] = lambda _: None,
    tally: Tally | None = None,
) -> list[str]:
    """Run it and return the violations; with a planted bug, as soon as there are some."""
    if plant and plant not in plants.PLANTS:
        raise ValueError(f"the plants are {', '.join(plants.PLANTS)}")
    chance, tally = random.Random(seed), tally or Tally()
    with ExitStack() as stack:
        stack.enter_context(planted(plant, plants.PLANTS))
        folder = Path(tempfile.mkdtemp(prefix="hansa-torture-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        place, cluster = Place(folder), None
        if engine == "postgres":
            cluster = stack.enter_context(Cluster())
            dsns = cluster.new_database("torture")
            place = Place(folder, dsns.application, dsns.owner)
        scene = asyncio.run(load.set_up(place))
        powerless = engine == "sqlite" and (faults or plant == "no-fsync")
        serving = 1 if engine == "sqlite" else max(1, processes)
        found: list[str] = []
        for number in range(1, kills + 1):
            loaded = Load(place, scene, serving, chance, plant, powerless)
            loaded.start()
            found += loaded.wait_up()
            time.sleep(chance.uniform(*KILL_AFTER_S))
            if faults and cluster is not None and chance.random() < 0.3:
                cluster.restart()
            loaded.kill()
            tally.kills = number
            if number % LOOK_EVERY == 0 or number == kills:
                found += _look(place, scene, tally)
                tell(f"{engine}: {_many(number, 'kill')}, {_many(len(found), 'violation')}")
            if found:
                break
        return found


def _look(place: Place, scene: Scene, tally: Tally) -> list[str]:
    tally.looks += 1
    try:
        books, found = asyncio.run(look(place, scene))
    except StorageFailed as error:
        return [f"the cell cannot be opened: {error}"]
    if books is not None:
        tally.look(books, place.folder)
        found += violations(books, place.folder)
    return found


class Load:
    """The processes of one round. They are forked, so that a round costs no imports."""

    def __init__(
        self,
        place: Place,
        scene: Scene,
        count: int,
        chance: random.Random,
        plant: str,
        powerless: bool,
    ) -> None:
        self._place = place
        self._scene = scene
        self._seeds = [chance.getrandbits(31) for _ in range(count)]
        self._plant = plant
        self._powerless = powerless
        self._pids: list[int] = []

    def start(self) -> None:
        """Fork the workers."""
        for number, seed in enumerate(self._seeds):
            pid = os.fork()
            if pid == 0:
                self._work(number, seed)
            self._pids.append(pid)

    def _work(self, number: int, seed: int) -> None:
        status = 1
        try:
            place = self._place
            if self._powerless:
                disk = FaultyDisk("torture", seed=seed, leak=0.2)
                synchronous = "OFF" if self._plant == "no-fsync" else "FULL"
                place = replace(place, vfs=disk.name, synchronous=synchronous)
                if not self._plant:
                    _spoil(disk, random.Random(seed))
            load.work(place, self._scene, number, seed)
            status = 0
        except (StorageFailed, StorageFull) as error:
            # A disk that fails while the cell opens ends the process; so it may, and starts again.
            kind = "down" if self._powerless else "violation"
            journal.Journal(self._place.folder, number).note(
                kind, pid=os.getpid(), what=f"a worker ended: {error!r}"
            )
        except BaseException as error:  # a forked child must not return
            journal.Journal(self._place.folder, number).note(
                "violation", what=f"a worker ended: {error!r}"
            )
        finally:
            os._exit(status)

    def wait_up(self) -> list[str]:
        """Wait until every worker is under load; return what kept one from it."""
        end = time.monotonic() + UP_S
        for number, pid in enumerate(self._pids):
            path = self._place.folder / f"journal-{number}.ndjson"
            while not _has_noted(path, "up", pid):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    self._pids.remove(pid)
                    down = _has_noted(path, "down", pid)
                    return [] if down else ["a worker ended by itself"]
                if time.monotonic() > end:
                    return [f"a worker was not up after {UP_S:g} s"]
                time.sleep(0.01)
        return []

    def kill(self) -> None:
        """Kill all workers, as a power cut does."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitpid(pid, 0)


def _has_noted(path: Path, kind: str, pid: int) -> bool:
    """Tell whether a worker of this round has noted that it is up, or down."""
    if not path.exists():
        return False
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 200_000))
        return f'"{kind}", "pid": {pid}'.encode() in stream.read()


def _spoil(disk: FaultyDisk, chance: random.Random) -> None:
    """Let the disk fail now and then, in a thread, and heal it again."""

    def go() -> None:
        while True:
            time.sleep(chance.uniform(0.02, 0.2))
            what = chance.choice(("fill_up", "fail_write", "fail_sync"))
            getattr(disk, what)(chance.randrange(20) * (4096 if what == "fill_up" else 1))
            time.sleep(chance.uniform(0.005, 0.05))
            disk.heal()

    threading.Thread(target=go, daemon=True).start()
