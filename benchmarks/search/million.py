"""Million: real products multiplied, with titles, series, models and prices of their own.

The index is made here as the service makes one of so many documents, in its portions (what that
costs is told), and then opened in a process of its own, whose memory and speed are those of a
server that has been started. Queries are the judged ones and others out of titles, each once; what
is kept of answers does not count.

    python -m benchmarks.search.million FOLDER FACETS     is that process: 0 or 1 for with facets
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import meter
from benchmarks.search.answers import PAGE
from benchmarks.search.corpus import (
    FACETS,
    MARKED,
    PRODUCTS,
    Collection,
    asked,
    encoded,
    multiplied,
)
from benchmarks.search.hansa_index import NOBODY, build
from benchmarks.workload import percentile
from hansa.platform.search.engine.index import COMPACT_MAX, Index
from hansa.platform.search.request import SearchRequest

QUERIES: Final = 1_500
AIM_PER_S: Final = 800
AIM_P99_MS: Final = 10
ROOT: Final = Path(__file__).parents[2]


class Measured(msgspec.Struct):
    """What a process measured of itself."""

    queries: int
    per_cpu_s: float
    p50_ms: float
    p99_ms: float
    cpu_p99_ms: float
    first_ms: float
    found: int
    rss_mb: float


def measure(folder: Path, *, full: bool) -> Measured:
    """Open an index and ask each query once."""
    queries: list[str] = msgspec.json.decode((folder / "queries.json").read_bytes())
    begun = time.perf_counter()
    index = Index.open(folder / "index", PRODUCTS)
    more = {"facets": FACETS, "highlight": MARKED} if full else {}
    times, cpu_times, found = [], [], 0
    # The dictionary of similar words is read once, by the first query with an unknown word.
    for q in ("qwrtzpl notbook", *queries[-20:]):
        request = SearchRequest(q=q, per_page=PAGE, **more)  # type: ignore[arg-type]
        index.search(request, always=None, curation=NOBODY, learned={})
        times.append(time.perf_counter() - begun)
    first_ms, times = times[0] * 1e3, []
    for q in queries[:-20]:
        request = SearchRequest(q=q, per_page=PAGE, **more)  # type: ignore[arg-type]
        at, cpu = time.perf_counter(), time.process_time()
        answer = index.search(request, always=None, curation=NOBODY, learned={})
        cpu_times.append(time.process_time() - cpu)
        times.append(time.perf_counter() - at)
        found += answer.found
    times.sort()
    cpu_s = sum(cpu_times)
    cpu_times.sort()
    return Measured(
        len(times), len(times) / cpu_s, percentile(times, 0.5) * 1e3, percentile(times, 0.99) * 1e3,
        percentile(cpu_times, 0.99) * 1e3, first_ms, found // len(times), meter.rss_mb(os.getpid()),
    )  # fmt: skip


def run(say: Callable[[str], None], folder: Path, collection: Collection, count: int) -> None:
    """Make the index, and print what it costs and how fast it is."""
    begun, cpu = time.perf_counter(), time.process_time()
    documents = encoded(multiplied(collection.documents, count))
    index = build(folder / "index", PRODUCTS, documents, count)
    if index.documents <= COMPACT_MAX:
        index.compact()  # as the service does when it has been quiet for a while
    cpu_s, seconds = time.process_time() - cpu, time.perf_counter() - begun
    index.close()
    queries = collection.queries + asked(collection.documents, QUERIES)
    random.Random(3).shuffle(queries)
    (folder / "queries.json").write_bytes(msgspec.json.encode(queries))
    size = sum(one.stat().st_size for one in (folder / "index").rglob("*") if one.is_file()) / 1e6
    say(
        f"{count:,} documents: index of {size:,.0f} MB made in {seconds:.0f} s, {cpu_s:.0f} s of"
        f" processor time ({count / cpu_s:,.0f} documents per CPU-second, with making them up)\n"
    )
    say("| asked | queries | found, mean | queries per CPU-s | aim | p50 ms | p99 ms | p99 CPU ms"
        " | aim ms | first ms | RSS MB |")  # fmt: skip
    say("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for full in (False, True):
        command = [sys.executable, "-m", "benchmarks.search.million", str(folder), str(int(full))]
        text = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=900)
        one = msgspec.json.decode(text.stdout, type=Measured)
        say(f"| {'facets and marks' if full else 'page only'} | {one.queries:,} | {one.found:,}"
            f" | {one.per_cpu_s:,.0f} | {AIM_PER_S} | {one.p50_ms:.2f} | {one.p99_ms:.1f}"
            f" | {one.cpu_p99_ms:.1f} | {AIM_P99_MS} | {one.first_ms:.0f}"
            f" | {one.rss_mb:.0f} |")  # fmt: skip
    say("")


if __name__ == "__main__":
    measured = measure(Path(sys.argv[1]), full=sys.argv[2] == "1")
    sys.stdout.buffer.write(msgspec.json.encode(measured))
