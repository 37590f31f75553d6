"""Rates: how often everything ran and how long it took, counted by each process, and read as one.

A process hands its totals since it began to the archive about once a second, those that have
changed. Totals stand for themselves: one that is lost is made good by the next. Pure.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.observe.spans import Kind
from hansa.kernel.observe.vitals import StatementVital, Vital, quantiles_us
from hansa.kernel.structs import Struct

SQL: Final = "sql"
EDGE: Final = "edge"


class OperationRate(Struct):
    """How often an operation, a subscriber or due work ran, how it ended, how long it took."""

    kind: Kind
    name: str
    count: int
    refused: int
    """Runs that were answered with a status of 400 to 499."""
    failed: int
    statements: int
    """All statements of all runs: by the count, a list that asks once a row is seen."""
    total_us: int
    mean_us: int
    p50_us: int
    p99_us: int


class StatementRate(Struct):
    """How often a statement's text ran, and how long it took."""

    sql: str
    count: int
    failed: int
    rows: int
    """Rows that were returned, or changed, by all runs."""
    total_us: int
    longest_us: int


class Total(NamedTuple):
    """What a process has counted of one thing since it began."""

    kind: str
    """request, call, delivery or due; `SQL` or `EDGE`."""
    name: str
    """The operation's, subscriber's or due work's; a statement's text; "from to what"."""
    data: tuple[int, ...]
    """For work: count, refused, failed, statements, microseconds, then of each bucket that is not
    empty its number and its count. For statements: count, failed, rows, microseconds, the longest.
    For edges: the count."""


class Snapshots:
    """Finds what a recorder has counted since it was asked last; on the recorder's loop."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._seen: dict[tuple[str, str], int] = {}

    def changed(self) -> list[Total]:
        """Return the totals that have changed."""
        recorder = self._recorder
        totals: list[Total] = []
        for kind, vitals in recorder.vitals.items():
            for name, vital in vitals.items():
                if self._is_new(kind, name, vital.count):
                    totals.append(Total(kind, name, _work(vital)))
        for text, statement in recorder.statements.by_text.items():
            if self._is_new(SQL, text, statement.count):
                totals.append(Total(SQL, text, _statement(statement)))
        for edge, count in recorder.edges.items():
            name = " ".join(edge)
            if self._is_new(EDGE, name, count):
                totals.append(Total(EDGE, name, (count,)))
        return totals

    def _is_new(self, kind: str, name: str, count: int) -> bool:
        if self._seen.get((kind, name)) == count:
            return False
        self._seen[kind, name] = count
        return True


def _work(vital: Vital) -> tuple[int, ...]:
    buckets = [one for pair in enumerate(vital.counts) if pair[1] for one in pair]
    return (
        vital.count, vital.refused, vital.failed, vital.statements, vital.total_us, *buckets,
    )  # fmt: skip


def _statement(vital: StatementVital) -> tuple[int, ...]:
    return (
        vital.count, vital.failed, vital.rows, int(vital.total_s * 1_000_000),
        int(vital.longest_s * 1_000_000),
    )  # fmt: skip


# ---- from the archive


def encoded(data: tuple[int, ...]) -> bytes:
    """Return a total's numbers as they are kept."""
    return msgspec.json.encode(data)


_decode: Final = msgspec.json.Decoder(list[int]).decode


def operation_rates(kind: Kind, rows: Iterable[tuple[str, bytes]]) -> list[OperationRate]:
    """Return the rates of all processes as one; what took the most time in all comes first."""
    rates: list[OperationRate] = []
    for name, data in _by_name(rows).items():
        firsts = zip(*(one[:5] for one in data), strict=True)
        count, refused, failed, statements, total_us = map(sum, firsts)
        runs: dict[int, int] = {}
        for one in data:
            for bucket, times in zip(one[5::2], one[6::2], strict=True):
                runs[bucket] = runs.get(bucket, 0) + times
        p50_us, p99_us = quantiles_us(runs, 0.5, 0.99)
        rates.append(
            OperationRate(
                kind, name, count, refused, failed, statements, total_us,
                total_us // max(1, count), p50_us, p99_us,
            )
        )  # fmt: skip
    return sorted(rates, key=lambda rate: (-rate.total_us, rate.name))


def statement_rates(rows: Iterable[tuple[str, bytes]]) -> list[StatementRate]:
    """Return likewise how statements ran."""
    rates: list[StatementRate] = []
    for sql, data in _by_name(rows).items():
        count, failed, found, total_us, longest_us = zip(*data, strict=True)
        rates.append(
            StatementRate(sql, sum(count), sum(failed), sum(found), sum(total_us), max(longest_us))
        )
    return sorted(rates, key=lambda rate: (-rate.total_us, rate.sql))


def edge_counts(rows: Iterable[tuple[str, bytes]]) -> dict[tuple[str, str, str], int]:
    """Return how often each edge was seen: (from, to, what)."""
    counts: dict[tuple[str, str, str], int] = {}
    for name, data in _by_name(rows).items():
        origin, target, what = name.split(" ")
        counts[origin, target, what] = sum(one[0] for one in data)
    return counts


def _by_name(rows: Iterable[tuple[str, bytes]]) -> dict[str, list[list[int]]]:
    found: dict[str, list[list[int]]] = {}
    for name, data in rows:
        found.setdefault(name, []).append(_decode(data))
    return found
