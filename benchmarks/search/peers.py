"""Peers: relevance and speed of the three engines, on the same data and the same queries, in turns.

Each round gives each engine the judged queries, again and again until it has used its share of
processor time; its figure is queries by that time. Ratios are of the same round. Latencies are by
the clock, so they show what else the machine does.
"""

import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.search.answers import PAGE, Engine
from benchmarks.search.bare import Bare
from benchmarks.search.corpus import Collection
from benchmarks.search.fts5 import Fts5
from benchmarks.search.hansa_index import HansaIndex
from benchmarks.search.postgres_text import SETTINGS, PostgresText
from benchmarks.workload import percentile
from hansa.platform.search.evaluation import evaluate
from hansa.platform.search.metrics import Measured
from hansa.testing.postgres import Cluster, PostgresMissing

AIMS: Final = {"fts5": 10, "postgres": 15}
"""How many times the queries per CPU-second Hansa is to have, with counts and marks."""


class Wrong(Exception):
    """An engine answered what cannot be."""


@dataclass
class Speed:
    """Queries by processor seconds of each round, and how long each took, in seconds."""

    per_cpu_s: list[float]
    times: list[float]

    @property
    def row(self) -> str:
        """As cells of a table."""
        times = sorted(self.times)
        return (
            f"{median(self.per_cpu_s):,.0f} | {percentile(times, 0.5) * 1e3:.2f}"
            f" | {percentile(times, 0.99) * 1e3:.2f}"
        )


Kind = tuple[str, bool, bool]
"""What is asked of an engine: its name, with counts and marks, without forgetting in between."""


def engines(stack: ExitStack, folder: Path, collection: Collection) -> list[Engine]:
    """Fill all that there are."""
    hansa = HansaIndex(folder / f"{collection.name}-hansa", collection)
    made: list[Engine] = [
        hansa,
        Bare(hansa, collection),
        Fts5(folder / f"{collection.name}-fts5", collection),
    ]
    try:
        cluster = stack.enter_context(Cluster(durable=False, settings=SETTINGS))
        made.append(PostgresText(cluster, collection))
    except PostgresMissing as missing:
        print(f"not run: PostgreSQL: {missing}")
    for one in made:
        stack.callback(one.close)
    return made


def relevance(engine: Engine, collection: Collection) -> Measured:
    """Return what the judged queries find is worth."""
    return evaluate(
        lambda q, limit: engine.search(q, limit, full=False).ids[:limit], collection.judgements
    ).total


def check(found: Iterable[Engine], collection: Collection) -> None:
    """Have all engines answer all that they are measured by. Raises Wrong."""
    for engine in found:
        marked = counted = 0
        for q in collection.queries:
            answer = engine.search(q, PAGE, full=True)
            if len(answer.ids) > PAGE or len(set(answer.ids)) != len(answer.ids):
                raise Wrong(f"{engine.title}: {q!r} finds {answer.ids}")
            if len(answer.bodies) != len(answer.ids) or not all(answer.bodies):
                raise Wrong(f"{engine.title}: {q!r} has no documents")
            marked += any("<mark>" in text for texts in answer.marked for text in texts)
            counted += sum(map(sum, (facet.values() for facet in answer.counts)))
        if engine.name != "bare" and marked < 0.9 * len(collection.queries):
            raise Wrong(f"{engine.title}: only {marked} answers have marks")
        if collection.has_facets and counted < len(collection.queries):
            raise Wrong(f"{engine.title}: only {counted} are counted")


def passes(
    engine: Engine, queries: list[str], seconds: float, *, full: bool, kept: bool, speed: Speed
) -> None:
    """Ask all queries again and again for so many processor seconds."""
    cpu, count = 0.0, 0
    while cpu < seconds:
        if not kept:
            engine.forget()
        begun = engine.cpu_s()
        for q in queries:
            at = time.perf_counter()
            engine.search(q, PAGE, full=full)
            speed.times.append(time.perf_counter() - at)
        cpu += engine.cpu_s() - begun
        count += len(queries)
    speed.per_cpu_s.append(count / cpu)


def race(
    found: list[Engine], collection: Collection, rounds: int, seconds: float
) -> dict[Kind, Speed]:
    """Let the engines take turns."""
    kinds: list[tuple[Engine, bool, bool]] = [
        (engine, full, False) for full in (True, False) for engine in found
    ]
    kinds += [(engine, True, True) for engine in found if engine.name == "hansa"]
    speeds = {(engine.name, full, kept): Speed([], []) for engine, full, kept in kinds}
    for _ in range(rounds):
        for engine, full, kept in kinds:
            speed = speeds[engine.name, full, kept]
            passes(engine, collection.queries, seconds, full=full, kept=kept, speed=speed)
    return speeds


def run(
    say: Callable[[str], None], folder: Path, collection: Collection, rounds: int, seconds: float
) -> None:
    """Fill the engines with a collection, and print the table."""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir()
        found = engines(stack, folder, collection)
        check(found, collection)
        worth = {engine.name: relevance(engine, collection) for engine in found}
        speeds = race(found, collection, rounds, seconds)
        documents, queries = len(collection.documents), len(collection.queries)
        what = "facets and marks" if collection.has_facets else "marks"
        say(f"### {collection.name}: {documents:,} documents, {queries} judged queries\n")
        say("| engine | nDCG@10 | nDCG' | judged@10 | recall@100 | asked | queries per CPU-s"
            " | p50 ms | p99 ms | Hansa is | aim | index CPU s | MB |")  # fmt: skip
        say("|---|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|")
        titles = {engine.name: engine for engine in found}
        for (name, full, kept), speed in speeds.items():
            ratios = [
                ours / theirs for ours, theirs in
                zip(speeds["hansa", full, False].per_cpu_s, speed.per_cpu_s, strict=True)
            ]  # fmt: skip
            ratio = f"x{median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})"
            aim = f"{AIMS[name]}" if full and name in AIMS and collection.has_facets else ""
            total, engine = worth[name], titles[name]
            asked = (what if full else "page only") + (", repeated" if kept else "")
            say(f"| {engine.title} | {total.ndcg:.3f} | {total.condensed_ndcg:.3f}"
                f" | {total.judged:.2f} | {total.recall:.3f} | {asked} | {speed.row}"
                f" | {'-' if name == 'hansa' else ratio} | {aim} | {engine.build_s:.1f}"
                f" | {engine.megabytes():.0f} |")  # fmt: skip
        say("")
