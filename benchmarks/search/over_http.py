"""Over HTTP: queries by processor seconds of a real `hansa serve`, with all that a request gets
there: key, site, limits, deadline, trace.

The judged queries are few and are asked again and again, so what the server keeps of answers shows
there; the others, out of titles, are asked once each.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from benchmarks import meter
from benchmarks.search.corpus import FACETS, MARKED, PRODUCTS, Collection, asked, encoded
from benchmarks.search.serving import NAME, NotServed, make, sent, served, until_idle
from benchmarks.search.traffic import Ask, request
from benchmarks.workload import percentile

AIM: Final = 2_500
CONNECTIONS: Final = 16
SEARCH: Final = f"/search/collections/{NAME}/search"


def _get(key: str, q: str) -> bytes:
    return request("GET", f"{SEARCH}?q={quote(q)}", key, b"")


def _post(key: str, q: str) -> bytes:
    body = {"q": q, "facets": FACETS, "highlight": MARKED}
    return request("POST", SEARCH, key, msgspec.json.encode(body))


def run(say: Callable[[str], None], folder: Path, collection: Collection, count: int) -> None:
    """Serve the collection and ask it."""
    bodies = (body for _, body in encoded(collection.documents))
    ((_, key),) = make(folder, PRODUCTS, 1, bodies)
    others = asked(collection.documents, count)
    again = collection.queries * (count // len(collection.queries))
    say("| asked | queries | answers | server CPU us | queries per CPU-s | aim | p50 ms | p99 ms |")
    say("|---|---|--:|--:|--:|--:|--:|--:|")
    with served(folder) as (pid, port):
        warm = [_post(key, q) for q in ("qwrtzpl notbook", *collection.queries)]
        first = sent(Ask(port, warm[:1] * 200, 1), 300)  # until its index is made
        if 200 not in first.statuses:
            raise NotServed(first.example)
        sent(Ask(port, warm, 1), 100)
        until_idle(pid)  # the new index comes to rest
        for what, make_request in (("page only", _get), ("facets and marks", _post)):
            for which, queries in (("each once", others), ("the judged, repeated", again)):
                requests = [make_request(key, q) for q in queries]
                before = meter.cpu_s(pid)
                found = sent(Ask(port, requests, CONNECTIONS), 300)
                cpu_s = meter.cpu_s(pid) - before
                if set(found.statuses) != {200}:
                    raise NotServed(f"{found.statuses}: {found.example}")
                times = sorted(found.times_ms)
                say(f"| {what} | {which} | {len(times):,} | {cpu_s / len(times) * 1e6:.0f}"
                    f" | {len(times) / cpu_s:,.0f} | {AIM:,} | {percentile(times, 0.5):.1f}"
                    f" | {percentile(times, 0.99):.1f} |")  # fmt: skip
        say(f"\nRSS of the server {meter.rss_mb(pid):.0f} MB\n")
