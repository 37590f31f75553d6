"""Evaluation: how well searches are answered, by what people judged; and what a change changed.

Judgements say how good documents are for searches, from 0. They come as CSV with a header that
names the columns ``query``, ``product_id`` (or ``document``, or ``id``) and ``grade``, or as TREC's
qrels.
"""

import csv
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from hansa.kernel.structs import Struct
from hansa.platform.search.metrics import Changed, Measured, changed, means, measure

Judgements = Mapping[str, Mapping[str, float]]
"""Search to document to grade."""
Search = Callable[[str, int], Sequence[str]]
"""Returns the ids of at most so many documents, the best first."""

DEPTH: Final = 100
"""How many documents of each search are looked at."""
JUDGEMENTS_MAX: Final = 1_000_000

_DOCUMENT_COLUMNS: Final = ("product_id", "document", "id")
_DELIMITERS: Final = (",", ";", "\t")
COLUMNS_SHOWN: Final = 10


class InvalidJudgements(ValueError):
    """A list of judgements cannot be read; says which line, and why."""


class Answered(Struct):
    """A search, what it found first, and what that is worth."""

    query: str
    found: tuple[str, ...]
    measured: Measured


class Report(Struct):
    """All searches, and the means over those for which something relevant is known."""

    total: Measured
    queries: tuple[Answered, ...]

    @property
    def rankings(self) -> dict[str, tuple[str, ...]]:
        """What each search found."""
        return {one.query: one.found for one in self.queries}

    def of(self, queries: Collection[str]) -> "Report":
        """Return what it says of some searches: the rest counts in no mean."""
        kept = tuple(one for one in self.queries if one.query in queries)
        return self if len(kept) == len(self.queries) else _report(kept)


def evaluate(search: Search, judgements: Judgements, *, k: int = 10) -> Report:
    """Make every search that was judged, and measure what it finds among the first `k`."""
    answered: list[Answered] = []
    for query, grades in judgements.items():
        found = tuple(search(query, DEPTH))
        answered.append(Answered(query, found, measure(found, grades, k=k, recall_k=DEPTH)))
    return _report(answered)


def _report(answered: Iterable[Answered]) -> Report:
    queries = tuple(answered)
    relevant = (one.measured for one in queries if one.measured.ndcg is not None)
    return Report(means(relevant), queries)


def named(document: Mapping[str, Any], by: str, grades: Mapping[str, float]) -> str:
    """Return the name of a document in judgements: its id, or the value of the field `by`, or of a
    member of it; of several values one that has a grade."""
    value: Any = document
    for part in (by or "id").split(".", 1):
        value = value.get(part) if isinstance(value, Mapping) else None
    values = [str(one) for one in (value if isinstance(value, list) else [value])]
    if value is None or not values:
        return str(document["id"])
    return next((one for one in values if one in grades), values[0])


class Comparison(Struct):
    """Two runs by the searches that both made, `shared` in number: what these were worth `before`
    and `after`, and those that find other documents, the worst loss first. `only_before` and
    `only_after` count the searches of one run alone, which are not compared."""

    shared: int
    only_before: int
    only_after: int
    before: Measured
    after: Measured
    changed: tuple[Changed, ...]


def compared(before: Report, after: Report, judgements: Judgements, *, k: int = 10) -> Comparison:
    """Compare two runs. Raises ValueError where no search was made in both."""
    shared = before.rankings.keys() & after.rankings.keys()
    if not shared:
        raise ValueError("none of its searches is among those that are judged now")
    old, new = before.of(shared), after.of(shared)
    return Comparison(
        len(shared), len(before.queries) - len(old.queries), len(after.queries) - len(new.queries),
        old.total, new.total, tuple(changed(old.rankings, new.rankings, judgements, k)),
    )  # fmt: skip


def judgements_of_csv(lines: Iterable[str]) -> dict[str, dict[str, float]]:
    """Read judgements from CSV, whose columns are apart by a comma, a semicolon or a tab, as in the
    header. Raises InvalidJudgements."""
    ahead = iter(lines)
    first = next(ahead, "")
    rows = csv.reader(chain((first,), ahead), delimiter=_delimiter(first))
    header = [name.strip().lower() for name in next(rows, [])]
    document = next((name for name in _DOCUMENT_COLUMNS if name in header), "")
    if not document or not {"query", "grade"} <= set(header):
        found = ", ".join(name[:40] for name in header[:COLUMNS_SHOWN]) or "nothing"
        more = f" and {len(header) - COLUMNS_SHOWN} more" if len(header) > COLUMNS_SHOWN else ""
        raise InvalidJudgements(
            "line 1: the header names the columns query; product_id, document or id; and grade."
            f" This one names {found}{more}"
        )
    places = [header.index(name) for name in ("query", document, "grade")]
    judgements: dict[str, dict[str, float]] = {}
    for row in rows:
        if row:
            if len(row) <= max(places):
                raise InvalidJudgements(f"line {rows.line_num}: {len(row)} columns are too few")
            query, id, grade = (row[place].strip() for place in places)
            _judge(judgements, query, id, grade, rows.line_num)
    return judgements


def _delimiter(header: str) -> str:
    """Return what stands between the columns: that which makes the most of the header."""
    return max(_DELIMITERS, key=lambda one: len(next(csv.reader((header,), delimiter=one), ())))


def judgements_of_qrels(
    lines: Iterable[str], queries: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Read judgements from TREC's qrels, whose lines are the number of a search, one that means
    nothing, a document and its grade; `queries` has the words of each number. Below 0 is 0. Raises
    InvalidJudgements."""
    judgements: dict[str, dict[str, float]] = {}
    for number, line in enumerate(lines, 1):
        columns = line.split()
        if not columns:
            continue
        if len(columns) != 4:
            raise InvalidJudgements(f"line {number}: {len(columns)} columns, and not 4")
        topic, _, id, grade = columns
        if topic not in queries:
            raise InvalidJudgements(f"line {number}: there is no search {topic}")
        _judge(judgements, queries[topic], id, grade, number)
    return judgements


def _judge(
    judgements: dict[str, dict[str, float]], query: str, id: str, grade: str, line: int
) -> None:
    if line > JUDGEMENTS_MAX:
        raise InvalidJudgements(f"line {line}: {JUDGEMENTS_MAX:,} lines are the most")
    try:
        worth = max(float(grade), 0.0)
    except ValueError:
        raise InvalidJudgements(f"line {line}: {grade!r} is no grade") from None
    grades = judgements.setdefault(query, {})
    if grades.setdefault(id, worth) != worth:
        raise InvalidJudgements(f"line {line}: {id} has another grade for {query!r} before")


# ---- a record to compare with


class Baseline(Struct):
    """nDCG@k of a run, of all searches and of each."""

    ndcg: float
    queries: dict[str, float]


def baseline_of(report: Report) -> Baseline:
    """Return what to keep of a run."""
    return Baseline(
        round(report.total.ndcg or 0.0, 4),
        {
            one.query: round(one.measured.ndcg, 3)
            for one in report.queries
            if one.measured.ndcg is not None
        },
    )


def baselines_of_json(text: bytes) -> dict[str, Baseline]:
    """Read what was kept of several collections. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(text, type=dict[str, Baseline])


def losses(report: Report, baseline: Baseline) -> list[tuple[str, float, float]]:
    """Return the searches that are worth less than before: before and after, the worst first."""
    now = baseline_of(report).queries
    lost = [
        (query, before, now.get(query, 0.0))
        for query, before in baseline.queries.items()
        if now.get(query, 0.0) < before
    ]
    return sorted(lost, key=lambda one: (one[2] - one[1], one[0]))
