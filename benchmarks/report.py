"""Report: medians over the rounds, as a table for people and as JSON for machines."""

import os
import platform
import sqlite3
from collections.abc import Iterable
from statistics import median

import msgspec

from benchmarks.client import Operation
from benchmarks.race import OPERATIONS, Plan, Sample
from benchmarks.target import TITLES, Engine


class Line(msgspec.Struct):
    """A target's medians for one operation.

    `ratio` is how many times the operations per processor second Hansa does compared with this
    target, as the median of the ratios within each round; 0 when Hansa was not in the run.
    """

    target: str
    title: str
    operation: Operation
    per_s: float
    server_us: float
    database_us: float
    per_cpu_s: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    ratio: float
    ratio_low: float
    ratio_high: float


class Results(msgspec.Struct):
    """All of one run."""

    engine: Engine
    rounds: int
    seconds: float
    connections: int
    machine: str
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float]
    missing: dict[str, str]
    lines: list[Line]
    samples: list[Sample]


def summarise(samples: list[Sample]) -> list[Line]:
    """Return a line for each operation and target, in the order of the run."""
    lines: list[Line] = []
    for operation in OPERATIONS:
        of_all = [sample for sample in samples if sample.operation == operation]
        ours = {sample.round: sample.per_cpu_s for sample in of_all if sample.target == "hansa"}
        for name in dict.fromkeys(sample.target for sample in of_all):
            lines.append(_line(operation, [s for s in of_all if s.target == name], ours))
    return lines


def _line(operation: Operation, found: list[Sample], ours: dict[int, float]) -> Line:
    ratios = [ours[s.round] / s.per_cpu_s for s in found if s.round in ours and s.per_cpu_s]
    return Line(
        found[0].target, TITLES[found[0].target], operation,
        median(s.done / s.seconds for s in found),
        median(s.server_us for s in found),
        median(s.database_us for s in found),
        median(s.per_cpu_s for s in found),
        median(s.p50_ms for s in found),
        median(s.p99_ms for s in found),
        median(s.rss_mb for s in found),
        median(ratios) if ratios else 0.0,
        min(ratios, default=0.0),
        max(ratios, default=0.0),
    )  # fmt: skip


def results(
    engine: Engine,
    plan: Plan,
    samples: list[Sample],
    missing: dict[str, str],
    load_before: tuple[float, float, float],
) -> Results:
    """Return a run with its machine and its load."""
    return Results(
        engine, plan.rounds, plan.seconds, plan.connections, machine(), load_before,
        os.getloadavg(), missing, summarise(samples), samples,
    )  # fmt: skip


def machine() -> str:
    """Return what the figures were measured on."""
    model = "unknown processor"
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()},"
        f" CPython {platform.python_version()}, SQLite of its library {sqlite3.sqlite_version}"
    )


def table(found: Results) -> str:
    """Return the run as a table in Markdown, readable as it is."""
    rows = [
        f"{found.engine}: {found.rounds} rounds of {found.seconds:g} s, {found.connections}"
        " connections, medians; server and database on one core, client on the other",
        f"{found.machine}; load before {_load(found.load_before)}, after {_load(found.load_after)}",
        "",
        "| operation | target | op/s | server us/op | db us/op | op per CPU-s | p50 ms | p99 ms"
        " | RSS MB | Hansa is |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_row(line) for line in found.lines),
    ]
    rows += [f"\nnot run: {TITLES[name]}: {why}" for name, why in found.missing.items()]
    return "\n".join(rows)


def _row(line: Line) -> str:
    ratio = "-"
    if line.ratio and line.target != "hansa":
        ratio = f"x{line.ratio:.2f} ({line.ratio_low:.2f}-{line.ratio_high:.2f})"
    return (
        f"| {line.operation} | {line.title} | {line.per_s:,.0f} | {line.server_us:.0f}"
        f" | {line.database_us:.0f} | {line.per_cpu_s:,.0f} | {line.p50_ms:.2f}"
        f" | {line.p99_ms:.2f} | {line.rss_mb:.0f} | {ratio} |"
    )


def _load(values: Iterable[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
