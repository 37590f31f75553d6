"""Tracing: what recording every request costs, and how long it takes to look at a million spans.

    python -m benchmarks.tracing [--spans 1000000]

Recording: requests through the whole application in one process on SQLite, with and without a
recorder in many short turns, by the processor time of the event loop's thread, and of those the
lower quartile: above it is what other work adds, and below it a few turns in which the writer's
thread woke the loop less often. What is kept costs a thread more, and that is measured
by itself: by default it is paid for a hundredth of the requests, and for what failed or was slow.

Looking: a file is filled as a process fills it, then each query of `observe.reading` is asked on a
connection of its own (nothing of the file in SQLite's cache): the median of the time on the wall,
and the most processor time that any of them took, which a busy machine does not change as much.
"""

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
import uvloop

from benchmarks import hansa_app
from benchmarks.inside import Figure
from benchmarks.installing import HERE
from benchmarks.shelf.api import NewProduct
from benchmarks.workload import Seed, make_seed
from hansa.assembly import Cell, Place
from hansa.kernel.http.asgi import AsgiHeaders
from hansa.kernel.http.message import Request
from hansa.kernel.http.server import settle_memory
from hansa.kernel.observe.archive import Archive
from hansa.kernel.observe.options import Options
from hansa.kernel.observe.rates import Snapshots
from hansa.kernel.observe.reading import Reader, Wanted
from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.observe.spans import KINDS, Noted, Segment
from hansa.kernel.observe.traceparent import Tracer
from hansa.kernel.observe.waterfall import bars
from hansa.kernel.structs import Money

SPANS: Final = 1_000_000
TURNS: Final = 150
KEPT: Final = 400
ASKED: Final = 20
SERVICES, NAMES, SITES, STATEMENTS = 40, 20, 1_000, 800
ADDED_US: Final = 3
QUERY_MS: Final = 50


def main() -> int:
    """Measure both and print a table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing")
    parser.add_argument("--spans", type=int, default=SPANS)
    options = parser.parse_args()
    (HERE / ".run").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE / ".run") as folder:
        figures = uvloop.run(measure_recording(Path(folder)))
        figures += measure_looking(Path(folder) / "million.db", options.spans)
    print("| tracing | value | unit | goal | |\n|---|--:|---|--:|---|")
    for figure in figures:
        held = "" if not figure.goal else "holds" if figure.holds else "MISSED"
        goal = f"{figure.goal:,.0f}" if figure.goal else "-"
        print(f"| {figure.name} | {figure.value:,.2f} | {figure.unit} | {goal} | {held} |")
    return int(not all(figure.holds for figure in figures))


# ---- recording


async def measure_recording(folder: Path) -> list[Figure]:
    """Measure requests with and without a recorder."""
    seed = make_seed()
    site = seed.sites[0]
    handle = seed.products[site.id][0].handle
    bearer = (b"authorization", f"Bearer {site.key}".encode())
    numbers = itertools.count()
    cells: dict[str, Cell] = {}
    for name, options in (("off", None), ("on", Options(folder / "on.db"))):
        cells[name] = Cell(
            Place(folder / name, synchronous="OFF"), hansa_app.SERVICES, background=False,
            observe=options,
        )  # fmt: skip
        await cells[name].open()
        await hansa_app.fill(cells[name], seed)

    async def read(cell: Cell) -> None:
        headers = AsgiHeaders([bearer])
        request = Request("GET", f"/bench/products/{handle}", "", "localhost", headers, _no_body)
        response = await cell.app.respond(request)
        assert response.status == 200, response.body

    async def write(cell: Cell) -> None:
        new = NewProduct(f"n-{next(numbers)}", "New", "", Money(100, "EUR"), 1, (), {})
        body = msgspec.json.encode(new)

        async def given(length: int, most: int) -> bytes:
            return body

        headers = AsgiHeaders([bearer, (b"content-type", b"application/json")])
        request = Request("POST", "/bench/products", "", "localhost", headers, given, len(body))
        assert (await cell.app.respond(request)).status == 201

    figures: list[Figure] = []
    for what, work, times in (("a GET of one statement", read, 400), ("a POST", write, 100)):
        figures += await _in_turns(what, work, times, cells)
    for cell in cells.values():
        await cell.close()
    kept: list[Segment] = []
    async with _recorded(folder, seed, kept) as cell:
        for _ in range(KEPT):
            await read(cell)
    figures.append(Figure("keeping a trace with payloads, in a thread", _write(folder, kept), "us"))
    return figures


@asynccontextmanager
async def _recorded(folder: Path, seed: Seed, kept: list[Segment]) -> AsyncIterator[Cell]:
    """Give a cell that hands over all that it records."""
    options = Options(folder / "all.db", sample=1.0, payloads=True)
    cell = Cell(Place(folder / "all", synchronous="OFF"), hansa_app.SERVICES, background=False,
                observe=options)  # fmt: skip
    await cell.open()
    await hansa_app.fill(cell, seed)
    assert cell.observer is not None
    cell.observer.recorder.settle()
    cell.observer.recorder.keep = kept.append
    yield cell
    cell.observer.recorder.settle()
    await cell.close()


def _write(folder: Path, kept: list[Segment]) -> float:
    """Return the microseconds of processor time that writing one of them takes."""
    archive = Archive(folder / "written.db")
    for one in kept:
        archive.keep(one)
    begun = time.process_time()
    archive.start()
    archive.stop()
    assert not archive.lost
    return (time.process_time() - begun) / len(kept) * 1e6


async def _no_body(length: int, most: int) -> bytes:
    return b""


async def _in_turns(
    what: str, work: Callable[[Cell], Awaitable[None]], times: int, cells: dict[str, Cell]
) -> list[Figure]:
    cost: dict[str, list[float]] = {name: [] for name in cells}
    settle_memory()  # as the server does
    for _ in range(TURNS):
        for name, cell in cells.items():
            begun = time.thread_time()
            for _ in range(times):
                await work(cell)
            if cell.observer is not None:
                cell.observer.recorder.settle()  # each turn pays for its own counting
            cost[name].append((time.thread_time() - begun) / times * 1e6)
            await asyncio.sleep(0)  # uvloop's clock goes on between two turns only
    low = {name: sorted(found)[len(found) // 4] for name, found in cost.items()}
    return [
        Figure(f"{what}, not recorded", low["off"], "us"),
        Figure(f"{what}: recording adds", low["on"] - low["off"], "us", ADDED_US),
    ]


# ---- looking


def measure_looking(file: Path, spans: int) -> list[Figure]:
    """Fill a file with many spans, and measure each query."""
    traces = _fill(file, spans)
    size = file.stat().st_size
    newest = Reader(file)
    first_us = newest.segments(Wanted()).rows[0].start_us
    far = newest.segments(Wanted(before_us=first_us - 400_000_000), 1).rows[0]
    newest.close()
    some, site = "s7", "site_0123"
    queries: dict[str, Callable[[Reader], Any]] = {
        "the newest page": lambda r: r.segments(Wanted()),
        "requests": lambda r: r.segments(Wanted(kind="request")),
        "of a service": lambda r: r.segments(Wanted(service=some)),
        "of an operation": lambda r: r.segments(Wanted(name=f"{some}.op3")),
        "of a site": lambda r: r.segments(Wanted(site=site)),
        "of a site and a service": lambda r: r.segments(Wanted(site=site, service=some)),
        "failed": lambda r: r.segments(Wanted(failed=True)),
        "failed of a service": lambda r: r.segments(Wanted(failed=True, service=some)),
        "slow": lambda r: r.segments(Wanted(took_us=500_000)),
        "slower than any": lambda r: r.segments(Wanted(took_us=10**9)),
        "slower than any, of a service": lambda r: r.segments(Wanted(took_us=10**9, service=some)),
        "of an hour that is long past": lambda r: r.segments(Wanted(before_us=far.start_us)),
        "a page far back": lambda r: r.segments(Wanted(cursor=f"{far.start_us}-{far.id}")),
        "of nobody": lambda r: r.segments(Wanted(site="site_none")),
        "a trace as a waterfall": lambda r: bars(r.trace(traces())),
        "operations": lambda r: r.operations(),
        "statements": lambda r: r.statements(),
        "flow": lambda r: r.flow(),
        "lines of the log": lambda r: r.lines(),
        "the file's size": lambda r: r.size(),
    }  # fmt: skip
    figures = [
        Figure("spans kept", float(spans), ""),
        Figure("bytes a span", size / spans, "bytes"),
    ]
    longest, most = ("", 0.0), ("", 0.0)
    for name, ask in queries.items():
        took = [_asked(file, ask) for _ in range(ASKED)]
        figures.append(Figure(f"{name}, median", median(wall for wall, _ in took), "ms", QUERY_MS))
        longest = max(longest, (name, max(wall for wall, _ in took)), key=lambda one: one[1])
        most = max(most, (name, max(cpu for _, cpu in took)), key=lambda one: one[1])
    return [
        *figures,
        Figure(f"the longest of all ({longest[0]})", longest[1], "ms"),
        Figure(f"the most processor time of all ({most[0]})", most[1], "ms", QUERY_MS),
    ]


def _asked(file: Path, ask: Callable[[Reader], Any]) -> tuple[float, float]:
    """Return the milliseconds on the wall, and those of processor time."""
    reader = Reader(file)
    begun = time.perf_counter(), time.thread_time()
    ask(reader)
    took = (time.perf_counter() - begun[0]) * 1e3, (time.thread_time() - begun[1]) * 1e3
    reader.close()
    return took


def _fill(file: Path, spans: int) -> Callable[[], str]:
    """Write a file as a process writes it; return what gives one of its traces after another."""
    chance = random.Random(1)
    tracer = Tracer(1.0)
    recorder = Recorder()
    texts = [f"SELECT a, b, c FROM t{n} WHERE site = ?1 AND k{n} = ?2" for n in range(STATEMENTS)]
    archive = Archive(file, bytes_max=1 << 34)
    archive.start()
    traces: list[str] = []
    made = 0
    began = time.perf_counter() - 100_000.0
    for number in itertools.count():
        if made >= spans:
            break
        began += 0.01
        service = f"s{int(chance.paretovariate(1)) % SERVICES}"
        took_s = chance.lognormvariate(-6, 1)
        inside = [_statement(chance, texts, began, took_s) for _ in range(chance.randint(1, 9))]
        segment = Segment(
            chance.choices(KINDS, (6, 1, 2, 1))[0], f"{service}.op{chance.randrange(NAMES)}",
            service, f"site_{chance.randrange(SITES):04}", tracer.trace(""), began, began + took_s,
            status=200, failed=chance.random() < 0.01, reason="sample", spans=[*inside],
            arguments={"id": "prod_01m7ykpezdfqhr4zb8b8gngpdd", "limit": 50},
        )  # fmt: skip
        traces.append(segment.trace.id)
        archive.keep(segment)
        recorder.end(segment)
        recorder.edge(service, f"s{chance.randrange(SERVICES)}", "x.y")
        segment.ended = began + took_s
        made += 1 + len(inside)
        if not number % 2_000:
            archive.flush()
    recorder.settle()
    archive.keep_counts(Snapshots(recorder).changed())
    archive.stop()
    assert not archive.lost
    return lambda: chance.choice(traces)


def _statement(chance: random.Random, texts: list[str], began: float, took_s: float) -> Noted:
    begin = began + chance.random() * took_s
    return (0, "sql", chance.choice(texts), begin, begin + took_s / 20, chance.randrange(50), "")


if __name__ == "__main__":
    sys.exit(main())
