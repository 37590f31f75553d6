"""Metrics: how good rankings are, by what people judged. Pure.

- nDCG@k: gains are the grades as they are, the discount of rank r is log2(r + 1), and the ideal is
  the best order of all that was judged. (Järvelin and Kekäläinen, "Cumulated gain-based evaluation
  of IR techniques", TOIS 20(4), 2002, with the discount of trec_eval's ``ndcg_cut``, which also
  discounts rank 2.) What was not judged gains nothing.
- nDCG'@k: the same of the ranking less what was not judged. (Sakai, "Alternatives to bpref", SIGIR
  2007: condensed lists.) A method that finds what nobody judged loses in the first and not here, so
  read both, beside judged@k, the part of the first k that was judged.
- recall@k and average precision (whose mean is MAP) are about relevant documents: those graded 1 or
  more. Average precision is over the whole ranking that is given.

A query for which nothing relevant is known has no value, None, and is left out of means.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum, log2
from typing import Final

from hansa.kernel.structs import Struct

Ranking = Sequence[str]
"""Identifiers of documents, the best first."""
Grades = Mapping[str, float]
"""How good a document is for a query: 0 is irrelevant, and what is not in it was not judged."""

RELEVANT: Final = 1
"""The least grade of a relevant document."""


def dcg(gains: Iterable[float]) -> float:
    """Return the discounted cumulated gain of gains in the order of their ranks; below 0 is 0."""
    return fsum(max(gain, 0) / log2(rank + 1) for rank, gain in enumerate(gains, 1))


def ndcg(ranking: Ranking, grades: Grades, k: int = 10) -> float | None:
    """Return nDCG@k, from 0 to 1."""
    ideal = dcg(sorted(grades.values(), reverse=True)[:k])
    if ideal == 0:
        return None
    return dcg(grades.get(one, 0) for one in once(ranking)[:k]) / ideal


def condensed_ndcg(ranking: Ranking, grades: Grades, k: int = 10) -> float | None:
    """Return nDCG'@k, from 0 to 1."""
    return ndcg([one for one in ranking if one in grades], grades, k)


def judged(ranking: Ranking, grades: Grades, k: int = 10) -> float | None:
    """Return which part of the first k was judged; nothing of an empty ranking."""
    first = once(ranking)[:k]
    return sum(one in grades for one in first) / len(first) if first else None


def recall(ranking: Ranking, grades: Grades, k: int = 100) -> float | None:
    """Return which part of what is relevant is among the first k."""
    relevant = _relevant(grades)
    return len(relevant.intersection(once(ranking)[:k])) / len(relevant) if relevant else None


def average_precision(ranking: Ranking, grades: Grades) -> float | None:
    """Return the mean of the precisions at the relevant documents, 0 at those not found."""
    relevant = _relevant(grades)
    if not relevant:
        return None
    at = [rank for rank, one in enumerate(once(ranking), 1) if one in relevant]
    return fsum(found / rank for found, rank in enumerate(at, 1)) / len(relevant)


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that there are, None when there are none."""
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None


def _relevant(grades: Grades) -> set[str]:
    return {one for one, grade in grades.items() if grade >= RELEVANT}


def once(ranking: Ranking) -> Ranking:
    """Return the ranking. Raises ValueError for a document that is in it twice."""
    if len(set(ranking)) != len(ranking):
        raise ValueError("a document is in the ranking twice")
    return ranking


# ---- a query, all queries, and two runs


class Measured(Struct):
    """What a ranking is worth, or the means over queries; None where nothing relevant is known."""

    ndcg: float | None
    condensed_ndcg: float | None
    judged: float | None
    recall: float | None
    average_precision: float | None


def measure(ranking: Ranking, grades: Grades, *, k: int = 10, recall_k: int = 100) -> Measured:
    """Return what a ranking is worth; `recall_k` documents of it or more make recall honest."""
    return Measured(
        ndcg(ranking, grades, k),
        condensed_ndcg(ranking, grades, k),
        judged(ranking, grades, k),
        recall(ranking, grades, recall_k),
        average_precision(ranking, grades),
    )


def means(measured: Iterable[Measured]) -> Measured:
    """Return the mean of each metric over the queries that have it."""
    several = list(measured)
    return Measured(
        mean(one.ndcg for one in several),
        mean(one.condensed_ndcg for one in several),
        mean(one.judged for one in several),
        mean(one.recall for one in several),
        mean(one.average_precision for one in several),
    )


class Changed(Struct):
    """A query whose first k are other documents, or the same in another order, in a second run.
    `before` and `after` are nDCG@k, 0 for a run that did not answer it; None where nothing relevant
    is known. `came` and `went` are the documents that differ, by rank."""

    query: str
    before: float | None
    after: float | None
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()

    @property
    def gain(self) -> float:
        """How much better the second run is: below 0 when it is worse."""
        return (self.after or 0) - (self.before or 0)


def changed(
    before: Mapping[str, Ranking],
    after: Mapping[str, Ranking],
    judgements: Mapping[str, Grades],
    k: int = 10,
) -> list[Changed]:
    """Return the queries that two runs answer differently, the greatest loss first, then the
    greatest gain, then those whose change was not judged."""
    found = []
    for query in sorted({*before, *after}):
        old, new = before.get(query, ())[:k], after.get(query, ())[:k]
        if list(old) == list(new):
            continue
        grades = judgements.get(query, {})
        came = tuple(one for one in new if one not in old)
        went = tuple(one for one in old if one not in new)
        found.append(
            Changed(query, ndcg(old, grades, k), ndcg(new, grades, k), came=came, went=went)
        )
    return sorted(found, key=lambda one: (one.gain == 0, one.gain > 0, -abs(one.gain), one.query))
