"""Metrics give the figures that are published for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from hansa.platform.search import metrics

# Järvelin and Kekäläinen 2002, section 2: the gains G' of their example.
GAINS = (3, 2, 3, 0, 0, 1, 2, 2, 3, 0)


def named(*gains: int) -> tuple[list[str], dict[str, float]]:
    """A ranking whose documents have these grades."""
    return [str(place) for place in range(len(gains))], dict(enumerate_names(gains))


def enumerate_names(gains: tuple[int, ...]) -> list[tuple[str, float]]:
    return [(str(place), float(gain)) for place, gain in enumerate(gains)]


def test_the_example_of_wikipedia() -> None:
    """en.wikipedia.org/wiki/Discounted_cumulative_gain: D1 to D6 were found, graded 3, 2, 3, 0, 1,
    2; D7 and D8, graded 3 and 2, were not."""
    ranking, grades = named(3, 2, 3, 0, 1, 2)
    assert metrics.dcg((3, 2, 3, 0, 1, 2)) == approx(6.861, abs=5e-4)
    assert metrics.dcg((3, 3, 3, 2, 2, 2)) == approx(8.740, abs=5e-4)
    assert metrics.ndcg(ranking, {**grades, "7": 3, "8": 2}, 6) == approx(0.785, abs=5e-4)


def test_the_gains_of_the_paper_with_the_discount_of_trec_eval() -> None:
    """The paper has no discount at rank 2, log2(2) = 1, where trec_eval has log2(3); every other
    rank of the paper's DCG is the one before it here. Its DCG is <3, 5, 6.89, 6.89, 6.89, 7.28,
    7.99, 8.66, 9.61, 9.61>."""
    published = (3, 5, 6.89, 6.89, 6.89, 7.28, 7.99, 8.66, 9.61, 9.61)
    for rank in range(1, 11):
        # The gains from rank 2 on, which are discounted by log2(2), log2(3), ...
        assert GAINS[0] + metrics.dcg(GAINS[1:rank]) == approx(published[rank - 1], abs=6e-3)


def test_the_example_of_pytrec_eval() -> None:
    """README.md of cvangysel/pytrec_eval, which runs trec_eval itself: nDCG 0.5 and 0.6934,
    MAP 0.3333 and 0.5833."""
    first, second = ["d3", "d1", "d2"], ["d1", "d3", "d2"]
    grades_1: dict[str, float] = {"d1": 0, "d2": 1, "d3": 0}
    grades_2: dict[str, float] = {"d2": 1, "d3": 1}
    assert metrics.ndcg(first, grades_1) == approx(0.5)
    assert metrics.ndcg(second, grades_2) == approx(0.6934264036172708)
    assert metrics.average_precision(first, grades_1) == approx(1 / 3)
    assert metrics.average_precision(second, grades_2) == approx(0.5833333333333333)
    assert metrics.judged(second, grades_2) == approx(2 / 3)
    assert metrics.condensed_ndcg(second, grades_2) == 1.0
    assert metrics.recall(second, grades_2, 2) == 0.5


def test_a_query_without_anything_relevant_has_no_value_and_no_weight() -> None:
    nothing = metrics.measure(["a"], {"a": 0})
    assert nothing == metrics.Measured(None, None, 1.0, None, None)
    assert metrics.measure(["a"], {}).ndcg is None
    perfect = metrics.measure(["a"], {"a": 2})
    assert metrics.means([nothing, perfect]).ndcg == 1.0
    assert metrics.means([]).ndcg is None


def test_nothing_found_is_worth_nothing() -> None:
    assert metrics.measure([], {"a": 1}) == metrics.Measured(0.0, 0.0, None, 0.0, 0.0)


def test_a_document_gains_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        metrics.ndcg(["a", "a"], {"a": 1})


GRADES = st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(-1, 3).map(float))
RANKINGS = st.permutations("abcdefghijklmnop").flatmap(
    lambda all: st.integers(0, 16).map(lambda n: all[:n])
)


@given(RANKINGS, GRADES, st.integers(1, 12))
def test_every_value_is_from_0_to_1(ranking: list[str], grades: dict[str, float], k: int) -> None:
    measured = metrics.measure(ranking, grades, k=k, recall_k=k)
    for value in (
        measured.ndcg, measured.condensed_ndcg, measured.judged, measured.recall,
        measured.average_precision,
    ):  # fmt: skip
        assert value is None or 0 <= value <= 1 + 1e-12


@given(GRADES, st.integers(1, 12))
def test_the_best_order_is_worth_1(grades: dict[str, float], k: int) -> None:
    best = sorted(grades, key=lambda one: -grades[one])
    assert metrics.ndcg(best, grades, k) in (None, approx(1))
    assert metrics.average_precision(best, grades) in (None, approx(1))


@given(RANKINGS, GRADES, st.integers(0, 14))
def test_a_better_one_first_is_never_worse(
    ranking: list[str], grades: dict[str, float], place: int
) -> None:
    if place + 1 >= len(ranking):
        return
    one, next_one = ranking[place : place + 2]
    if grades.get(one, 0) >= grades.get(next_one, 0):
        return
    better = [*ranking[:place], next_one, one, *ranking[place + 2 :]]
    for metric in (metrics.ndcg, metrics.condensed_ndcg, metrics.recall):
        before, after = metric(ranking, grades), metric(better, grades)
        assert before is None or after is None or after >= before - 1e-12


def test_changed_queries_come_by_loss_then_gain() -> None:
    judgements = {"worse": {"a": 1.0}, "better": {"a": 1.0}, "same": {"a": 1.0}}
    before = {"worse": "ab", "better": "ba", "same": "ab", "unjudged": "ab", "gone": "a"}
    after = {"worse": "ba", "better": "ab", "same": "ab", "unjudged": "bc"}
    found = metrics.changed(before, after, judgements)
    assert [one.query for one in found] == ["worse", "better", "gone", "unjudged"]
    assert found[0].before == 1.0
    assert found[0].gain == approx(-0.36907, abs=5e-6)
    assert (found[3].came, found[3].went, found[3].after) == (("c",), ("a",), None)
    assert metrics.changed(before, after, judgements, k=1)[-1].query == "unjudged"
