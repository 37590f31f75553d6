"""Freshness: from the sending of a put to the answer of a search that finds it, over HTTP, while a
thousand puts a second come to one site, or to a thousand sites.

The limits that hold (4 writers at once of 15 MB each, a commit of an index at most each 0.1 s) are
those of `writers` and `opened`. Each commit costs some fsyncs, so that many sites which each change
every second wait for a writer: how long is told here, and depends on the disk.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks import meter
from benchmarks.search.corpus import PRODUCTS, Collection, encoded
from benchmarks.search.over_http import _get
from benchmarks.search.serving import make, sent, served
from benchmarks.search.traffic import Ask, Put
from benchmarks.workload import percentile
from hansa.platform.search.engine.index import WRITER_BYTES
from hansa.platform.search.indexes import OPEN_MAX
from hansa.platform.search.opened import COMMIT_S
from hansa.platform.search.writers import WRITERS_MAX

PER_S: Final = 1_000
AIM_MS: Final = 250
CONNECTIONS: Final = 32
FEW: Final = 20


def run(
    say: Callable[[str], None], folder: Path, collection: Collection, sites: int, seconds: float
) -> None:
    """Measure one busy site among some, and all of them."""
    say(f"{WRITERS_MAX} writers at once of {WRITER_BYTES // 1_000_000} MB, {OPEN_MAX} open indexes,"
        f" a commit of one each {COMMIT_S:g} s at most\n")  # fmt: skip
    say("| puts to | asked for per s | taken per s | put p50 ms | put p99 ms | looked for | visible"
        " p50 ms | p99 ms | aim | not seen in time | server CPU | RSS MB |")  # fmt: skip
    say("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    bodies = [body for _, body in encoded(collection.documents[:FEW])]
    made = make(folder / "cell", PRODUCTS, sites, bodies)
    keys = [key for _, key in made]
    with served(folder / "cell", pinned=False) as (pid, port):
        sent(Ask(port, [_get(key, "toner") for key in keys[:1]] * 50, 1), 300)
        for what, some, patience_s in (
            ("one site", keys[:1], 10.0), (f"{len(keys):,} sites", keys, 60.0)
        ):  # fmt: skip
            before = meter.cpu_s(pid)
            order = Put(port, some, PER_S, seconds, CONNECTIONS, 20, patience_s)
            found = sent(order, seconds * 10 + 300)
            cpu_s = meter.cpu_s(pid) - before
            puts, visible = sorted(found.times_ms), sorted(found.visible_ms)
            aim = str(AIM_MS) if len(some) == 1 else ""
            told = [f"{percentile(visible, part):,.0f}" if visible else "-" for part in (0.5, 0.99)]
            say(f"| {what} | {PER_S:,} | {len(puts) / found.seconds:,.0f}"
                f" | {percentile(puts, 0.5):.1f} | {percentile(puts, 0.99):.0f} | {len(visible):,}"
                f" | {told[0]} | {told[1]} | {aim} | {found.unseen} | {cpu_s / found.seconds:.0%}"
                f" | {meter.rss_mb(pid):.0f} |")  # fmt: skip
            if set(found.statuses) != {200}:
                say(f"\nanswers: {found.statuses}; the first other one: {found.example}\n")
    say("")
