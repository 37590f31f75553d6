"""Density: a process that ten thousand sites may ask, of which it has some hundred open.

Each site has its collection with some documents in the cell's database, and its index in the
process's folder. The indexes are copies of one that was made of the same documents: they are what
the process itself would have made, and making 10,000 would take a quarter of an hour of fsyncs.
Then, in a process of its own, every site is asked once, in random order, each by a first query on
an index that is closed.

    python -m benchmarks.search.density FOLDER      is that process
"""

import asyncio
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import meter
from benchmarks.search.corpus import FACETS, MARKED, PRODUCTS, Collection, encoded
from benchmarks.search.hansa_index import build
from benchmarks.search.serving import NAME, make
from benchmarks.workload import percentile
from hansa.assembly import SERVICES, Cell, Place
from hansa.kernel import log
from hansa.kernel.caller import SYSTEM, Caller
from hansa.kernel.commands import deadline_in
from hansa.kernel.ids import ID
from hansa.kernel.site import slot_of
from hansa.kernel.storage import PLATFORM, Session
from hansa.platform.search import api
from hansa.platform.search.folders import begin, engine_of, mark_whole, note_point
from hansa.platform.search.indexes import OPEN_MAX, Indexes
from hansa.platform.search.point import Point

DOCUMENTS: Final = 20
AIM_MB: Final = 200
AIM_MS: Final = 15
ROOT: Final = Path(__file__).parents[2]
REQUEST: Final = api.SearchRequest("toner cartridge", facets=FACETS, highlight=MARKED)


class Measured(msgspec.Struct):
    """What a process measured of itself."""

    began_mb: float
    ended_mb: float
    threads: int
    opened: int
    cold_ms: list[float]
    warm_ms: list[float]


async def measure(folder: Path, sites: list[ID]) -> Measured:
    """Ask every site once, and the last ones again."""
    cell = Cell(Place(folder), SERVICES)
    await cell.open()
    began_mb = meter.rss_mb(os.getpid())

    async def ask(site: ID) -> float:
        at = time.perf_counter()
        arguments = {"name": NAME, "body": REQUEST}
        found = await cell.runtime.do(api.search_collection, Caller(site, SYSTEM), arguments)
        taken_ms = (time.perf_counter() - at) * 1e3
        assert found.found, f"{site} has lost its documents"
        return taken_ms

    await ask(sites[0])
    cold = [await ask(site) for site in sites[1:]]
    warm = [await ask(site) for site in sites[-100:] * 10]
    indexes = cell.runtime.resources[Indexes]
    found = Measured(
        began_mb, meter.rss_mb(os.getpid()), len(os.listdir("/proc/self/task")),
        len(indexes._opened), cold, warm[100:],
    )  # fmt: skip
    await cell.close()
    return found


async def _collections(folder: Path, sites: list[ID]) -> list[tuple[ID, Point]]:
    """Return the collection of each site, and where its history is."""
    cell = Cell(Place(folder), SERVICES, background=False)
    await cell.open()
    made = [
        await cell.runtime.do(api.get_collection, Caller(site, SYSTEM), {"name": NAME})
        for site in sites
    ]

    async def points(session: Session) -> list[Point]:
        tails = [await log.tail(session, site, f"search:{one.id}", 0)
                 for site, one in zip(sites, made, strict=True)]  # fmt: skip
        return [Point(seq, event, 0, cell.clock.now_us()) for seq, event, _ in tails]

    found = await cell.storage.read(points, site=PLATFORM, deadline=deadline_in(60), across=True)
    await cell.close()
    return [(one.id, point) for one, point in zip(made, found, strict=True)]


def run(say: Callable[[str], None], folder: Path, collection: Collection, count: int) -> None:
    """Make the sites and their indexes, ask them, and print what came of it."""
    documents = list(encoded(collection.documents[:DOCUMENTS]))
    made = make(folder / "cell", PRODUCTS, count, (body for _, body in documents))
    sites = [site for site, _ in made]
    template = folder / "template"
    begin(template, PRODUCTS)
    build(engine_of(template), PRODUCTS, documents).close()
    mark_whole(template, 1)
    collections = asyncio.run(_collections(folder / "cell", sites))
    for site, (id, point) in zip(sites, collections, strict=True):
        home = folder / "cell" / "search" / "0" / f"{slot_of(site):04d}" / site
        shutil.copytree(template, home / f"{id}-1")
        note_point(home / f"{id}-1", point)
    random.Random(4).shuffle(sites)
    (folder / "sites.json").write_bytes(msgspec.json.encode(sites))
    command = [sys.executable, "-m", "benchmarks.search.density", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=900)
    one = msgspec.json.decode(done.stdout, type=Measured)
    cold, warm = sorted(one.cold_ms), sorted(one.warm_ms)
    say("| sites | documents each | open at most | open in the end | RSS before MB | after MB | aim"
        " | threads | cold first query p50 ms | p99 ms | aim | open p50 ms | p99 ms |")  # fmt: skip
    say("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    say(f"| {count:,} | {DOCUMENTS} | {OPEN_MAX} | {one.opened} | {one.began_mb:.0f}"
        f" | {one.ended_mb:.0f} | {AIM_MB} | {one.threads} | {percentile(cold, 0.5):.1f}"
        f" | {percentile(cold, 0.99):.1f} | {AIM_MS} | {percentile(warm, 0.5):.2f}"
        f" | {percentile(warm, 0.99):.1f} |\n")  # fmt: skip


if __name__ == "__main__":
    where = Path(sys.argv[1])
    asked = msgspec.json.decode((where / "sites.json").read_bytes())
    measured = asyncio.run(measure(where / "cell", asked))
    sys.stdout.buffer.write(msgspec.json.encode(measured))
