"""Inside: what Hansa costs without HTTP, each measured in a process and on a file of its own.

    calls    ctx.call, bare and as if remote, without and with a statement; goal: 4 us bare
    hot      reservations of one item per processor second; goal: 10,000
    sites    10,000 sites: milliseconds to create one (goal: 5), bytes of an idle one (goal: 20,000)
    pages    the engineers' pages with a million spans kept: milliseconds each; goal: 50
    import   a catalogue file: seconds and peak memory; goal: 19,406 products in 30 s and 300 MB

`import` takes its file (NDJSON, also gzipped) from the environment: HANSA_BENCH_CATALOGUE.
"""

import asyncio
import gc
import gzip
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
import uvloop

from benchmarks.installing import HERE

CALLERS: Final = 32
CALLS: Final = 20_000
RESERVATIONS: Final = 20_000
SITES: Final = 10_000
ROUNDS: Final = 3
LOOKS: Final = 25
LIMIT_S: Final = 600
CATALOGUE: Final = "HANSA_BENCH_CATALOGUE"


class Figure(msgspec.Struct):
    """One measured value with its unit, and the goal it is held against (none: 0)."""

    name: str
    value: float
    unit: str
    goal: float = 0.0
    higher_is_better: bool = False

    @property
    def holds(self) -> bool:
        """Tell whether the goal is reached; without a goal it is."""
        if not self.goal:
            return True
        return self.value >= self.goal if self.higher_is_better else self.value <= self.goal


def main(names: list[str], json_file: str | None) -> int:
    """Measure in turn, print a table, and return 1 when something could not be measured."""
    unknown = [name for name in names if name not in MEASURED]
    if unknown:
        print(f"inside: no {unknown}: {', '.join(MEASURED)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    failed = False
    for name in names or MEASURED:
        if name == "import" and CATALOGUE not in os.environ:
            print(f"not run: import: set {CATALOGUE} to a catalogue file", file=sys.stderr)
            continue
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.inside", name], cwd=HERE.parent,
            stdout=subprocess.PIPE, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"failed: {name}", file=sys.stderr)
            failed = True
            continue
        figures += msgspec.json.decode(done.stdout, type=list[Figure])
    print(f"load {' '.join(f'{value:.2f}' for value in os.getloadavg())}\n")
    print("| inside | value | unit | goal | |\n|---|--:|---|--:|---|")
    for figure in figures:
        goal = f"{figure.goal:,.0f}" if figure.goal else "-"
        held = "" if not figure.goal else "holds" if figure.holds else "MISSED"
        print(f"| {figure.name} | {figure.value:,.2f} | {figure.unit} | {goal} | {held} |")
    if json_file:
        Path(json_file).write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    return int(failed)


# ---- each in its process; imports of Hansa are here, so that the parent stays small


async def measure_calls(folder: Path) -> list[Figure]:
    """Measure `ctx.call` from a handler, by the thread's processor time."""
    from benchmarks import hansa_app
    from benchmarks.shelf import calls
    from benchmarks.workload import make_seed
    from hansa.assembly import Cell, Place
    from hansa.kernel.caller import Caller, Principal

    seed = make_seed()
    site = seed.sites[0]
    caller = Caller(
        site.id, Principal(site.key_id, frozenset(hansa_app.PERMISSIONS), "key", site.id)
    )
    handle = seed.products[site.id][0].handle
    figures: list[Figure] = []
    for remote in (False, True):
        cell = Cell(Place(folder), hansa_app.SERVICES, as_if_remote=remote, background=False)
        await cell.open()
        await hansa_app.fill(cell, seed)
        bare: list[float] = []
        read: list[float] = []
        for _ in range(ROUNDS):
            cost = await cell.runtime.do(calls.call_at_once, caller, {"times": CALLS})
            bare.append(cost.ns / 1e3)
            cost = await cell.runtime.do(
                calls.call_and_read, caller, {"times": CALLS, "handle": handle}
            )
            read.append(cost.ns / 1e3)
        await cell.close()
        how = ", as if remote" if remote else ""
        figures.append(Figure(f"ctx.call{how}", median(bare), "us", 0 if remote else 4))
        figures.append(Figure(f"ctx.call that reads 900 bytes{how}", median(read), "us"))
    return figures


async def measure_hot(folder: Path) -> list[Figure]:
    """Measure commands that all want the same item, with keys and fsync, from 32 callers."""
    from benchmarks import hansa_app
    from benchmarks.shelf.api import NewProduct, create_product, take_unit
    from hansa.assembly import SERVICES as SHOP
    from hansa.assembly import Cell, Place
    from hansa.business.commerce import api as shop
    from hansa.business.commerce.catalogue import NewVariant
    from hansa.kernel.caller import SYSTEM, Caller
    from hansa.kernel.commands import deadline_in, execute
    from hansa.kernel.run import Run
    from hansa.kernel.structs import Money

    cell = Cell(Place(folder), (*SHOP, hansa_app.SERVICES[-1]))
    await cell.open()
    site = await _new_site(cell, "hot")
    info = await cell.runtime.site(site)
    caller = Caller(site, SYSTEM)
    do = cell.runtime.do
    made = NewProduct("hot", "Hot", "", Money(100, "EUR"), 10_000_000, (), {})
    await do(create_product, caller, {"body": made})
    variant = NewVariant("HOT", Money(100, "EUR"), "", 10_000_000)
    product = await do(
        shop.create_product, caller, {"body": shop.NewProduct("hot", "Hot", (variant,))}
    )
    item = product.variants[0].id
    until = datetime.now(UTC) + timedelta(hours=1)

    async def take(number: int) -> None:
        await do(take_unit, caller, {"handle": "hot"}, key=f"take-{number}")

    async def reserve(number: int) -> None:
        # `reserve` is for other handlers only, so that it is run below the door that says so.
        run = Run(info, SYSTEM, shop.reserve.id, "commerce", "", deadline_in(10), serial_by="hot")
        body = shop.Demand(f"ref-{number}", ((item, 1),), until)
        await execute(
            cell.runtime, shop.reserve, run, {"body": body}, key=f"hold-{number}", request=""
        )

    figures: list[Figure] = []
    for name, work in (
        ("one hot item: take a unit", take),
        ("one hot item: commerce.reserve (hold and ledger)", reserve),
    ):
        numbers = itertools.count()
        cpu_s: list[float] = []
        wall_s: list[float] = []
        for _ in range(ROUNDS):
            cpu, wall = time.process_time(), time.perf_counter()
            await _by_many(work, numbers, RESERVATIONS)
            cpu_s.append(time.process_time() - cpu)
            wall_s.append(time.perf_counter() - wall)
        per_cpu_s = RESERVATIONS / median(cpu_s)
        figures.append(Figure(name, per_cpu_s, "a CPU-second", 10_000, higher_is_better=True))
        figures.append(Figure(f"{name}, by the clock", RESERVATIONS / median(wall_s), "a second"))
    level = await do(shop.get_stock, caller, {"variant": item})
    if level.reserved != ROUNDS * RESERVATIONS:
        raise AssertionError(f"{level.reserved} reserved, not {ROUNDS * RESERVATIONS}")
    await cell.close()
    return figures


async def measure_sites(folder: Path) -> list[Figure]:
    """Measure making sites one after another, and what a process keeps of each that was used."""
    from benchmarks import hansa_app
    from benchmarks.shelf.api import get_tally
    from hansa.assembly import Cell, Place
    from hansa.kernel.caller import SYSTEM, Caller

    cell = Cell(Place(folder), hansa_app.SERVICES)
    await cell.open()
    tally: Any = get_tally

    async def make_and_use(number: int) -> float:
        begun = time.perf_counter()
        site = await _new_site(cell, f"site {number}")
        took = time.perf_counter() - begun
        await cell.runtime.do(tally, Caller(site, SYSTEM), {})
        return took

    for number in range(200):  # caches of statements and pages fill first
        await make_and_use(number)
    before = _settled_rss()
    begun = time.perf_counter()
    took = sorted([await make_and_use(number) for number in range(SITES)])
    total_s = time.perf_counter() - begun
    await asyncio.sleep(2)  # events of the new sites are delivered
    after = _settled_rss()
    await cell.close()
    return [
        Figure("10,000 sites: create one, mean", sum(took) / SITES * 1e3, "ms", 5),
        Figure("10,000 sites: create one, p99", took[int(SITES * 0.99)] * 1e3, "ms"),
        Figure("10,000 sites: create and use all", total_s, "s"),
        Figure("10,000 sites: an idle one", (after - before) / SITES, "bytes", 20_000),
    ]


async def measure_import(folder: Path) -> list[Figure]:
    """Measure an import by the batches that the command line sends."""
    from hansa.assembly import SERVICES, Cell, Place
    from hansa.business.commerce import api as shop
    from hansa.business.commerce.importing import BATCH_MAX, LineFault, parse
    from hansa.kernel.caller import SYSTEM, Caller

    cell = Cell(Place(folder), SERVICES)
    await cell.open()
    site = await _new_site(cell, "import")
    do, caller = cell.runtime.do, Caller(site, SYSTEM)
    begun, cpu = time.perf_counter(), time.process_time()
    lines = enumerate(_lines(Path(os.environ[CATALOGUE])), start=1)
    first, faults, made = 1, 0, 0
    while batch := list(itertools.islice(lines, BATCH_MAX)):
        parsed = [parse(number, line, "EUR", 10) for number, line in batch]
        products = tuple(one for one in parsed if not isinstance(one, LineFault))
        faults += len(parsed) - len(products)
        body = shop.ImportBatch("bench", first, first + len(batch), products)
        made = (await do(shop.import_products, caller, {"body": body})).products
        first += len(batch)
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    await cell.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return [
        Figure("import: products", made, "rows"),
        Figure("import: faulty lines", faults, "lines"),
        Figure("import: time", took, "s", 30),
        Figure("import: processor time", cpu, "s"),
        Figure("import: peak memory", peak_mb, "MB", 300),
    ]


async def measure_pages(folder: Path) -> list[Figure]:
    """Measure each page, rendered, with a million spans in the file of what was observed."""
    from hansa.assembly import OPERATOR, Cell, Place
    from hansa.console import MOUNT, Door
    from hansa.kernel.storage import PLATFORM
    from hansa.platform.sites.api import NewKey, create_key

    file = folder / "observed.db"
    trace = _keep_a_million(file)
    cell = Cell(Place(folder))
    await cell.open()
    site = await _new_site(cell, "watched")
    form = {"site": PLATFORM, "body": NewKey("of the benchmark", ("*",))}
    key = (await cell.runtime.do(create_key, OPERATOR, form)).key
    pages = Door(cell.runtime, cell.app, cell.directory, file)
    body = f"key={key}".encode()
    status, headers, _ = await _page(pages, "POST", f"{MOUNT}/login", body)
    cookie = dict(headers)[b"set-cookie"].partition(b";")[0]
    figures: list[Figure] = []
    for path in (
        "/", "/services", "/services/commerce", "/api", "/log", "/deliveries", "/due", "/sites",
        f"/sites/{site}", "/cells", "/statements", "/traces", "/traces?service=shop&slower=40",
        "/traces?failed=1", "/traces?slower=9000000", "/traces?name=shop.op_7&kind=request",
        "/traces?site=site_nowhere", f"/traces/{trace}",
    ):  # fmt: skip
        took: list[float] = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            status, _, _ = await _page(pages, "GET", MOUNT + path, cookie=cookie)
            took.append((time.perf_counter() - began) * 1e3)
            if status != 200:
                raise RuntimeError(f"{path}: {status}")
        shown = path.replace(site, "...").replace(trace, "...")
        figures.append(Figure(f"page {shown}", median(took), "ms", 50))
    pages.close()
    await cell.close()
    return figures


def _keep_a_million(file: Path) -> str:
    """Keep 100,000 pieces of work of 10 spans each, of 1,000 kinds; return a trace."""
    import apsw

    from hansa.kernel.observe.archive import Archive
    from hansa.kernel.observe.spans import Segment
    from hansa.kernel.observe.traceparent import Tracer

    tracer, archive = Tracer(0.0), Archive(file, bytes_max=8 << 30)
    archive.start()
    sql = "SELECT shelf_products.id, shelf_products.title FROM shelf_products WHERE site = ?"
    for number in range(1_000):
        spans: Any = [
            (0, "sql", f"{sql} AND {number % 50} = {place}", 0.001 * place, 0.001 * place + 0.0005,
             place, "")
            for place in range(10)
        ]  # fmt: skip
        archive.keep(
            Segment(
                "request", f"shop.op_{number % 100}", "shop", f"site_{number % 200}",
                tracer.trace(""), began=number * 0.001, ended=number * 0.001 + number % 50 * 0.001,
                status=200, failed=number % 100 == 0, spans=spans,
            )
        )  # fmt: skip
    archive.stop()
    connection = apsw.Connection(str(file))
    names = [str(row[1]) for row in connection.execute("PRAGMA table_info(segments)")]
    values = {
        "id": "NULL",
        "trace": "lower(hex(randomblob(16)))",
        "start_us": "start_us + n * 1000",
    }
    columns = ", ".join(values.get(name, name) for name in names)
    connection.execute(
        "WITH RECURSIVE times(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM times WHERE n < 99)"
        f" INSERT INTO segments SELECT {columns} FROM segments CROSS JOIN times"
    )
    rows = connection.execute("SELECT count(*), sum(spans), max(trace) FROM segments").fetchall()
    connection.close()
    count, spans, trace = rows[0]
    print(f"{count:,} segments with {spans:,} spans", file=sys.stderr)
    return str(trace)


async def _page(
    pages: Any, method: str, target: str, body: bytes = b"", cookie: bytes = b""
) -> tuple[int, Any, bytes]:
    """Return the status, headers and body of a page."""
    path, _, query = target.partition("?")
    headers = [
        (b"host", b"bench"), (b"origin", b"http://bench"), (b"cookie", cookie),
        (b"content-type", b"application/x-www-form-urlencoded"),
    ]  # fmt: skip
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "root_path": "/hansa", "headers": headers,
        "scheme": "http", "server": ("bench", 80), "client": ("127.0.0.1", 1), "state": {},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await pages(scope, receive, send)
    whole = b"".join(one.get("body", b"") for one in sent[1:])
    return sent[0]["status"], sent[0]["headers"], whole


MEASURED: Final[dict[str, Callable[[Path], Awaitable[list[Figure]]]]] = {
    "calls": measure_calls,
    "hot": measure_hot,
    "sites": measure_sites,
    "pages": measure_pages,
    "import": measure_import,
}


async def _new_site(cell: Any, name: str) -> str:
    from hansa.assembly import OPERATOR
    from hansa.platform.sites.api import NewSite, create_site

    made = await cell.runtime.do(create_site, OPERATOR, {"body": NewSite(name)})
    return str(made.id)


async def _by_many(
    work: Callable[[int], Awaitable[None]], numbers: Iterator[int], count: int
) -> None:
    """Do `count` pieces of work, 32 at a time."""
    left = itertools.count()

    async def one() -> None:
        while next(left) < count:
            await work(next(numbers))

    await asyncio.gather(*(one() for _ in range(CALLERS)))


def _settled_rss() -> int:
    """Return the resident bytes of this process after a collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _lines(file: Path) -> Iterator[bytes]:
    """Return the lines of a file, gzipped or not, one at a time."""
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as source:
        yield from source


def _child(name: str) -> None:
    (HERE / ".run").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE / ".run") as folder:
        measure: Any = MEASURED[name]
        figures = uvloop.run(measure(Path(folder)))
    sys.stdout.buffer.write(msgspec.json.encode(figures))


if __name__ == "__main__":
    _child(sys.argv[1])
