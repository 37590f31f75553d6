"""Judgements in files, and reports of runs."""

import pytest

from hansa.platform.search.evaluation import (
    Baseline,
    InvalidJudgements,
    baseline_of,
    compared,
    evaluate,
    judgements_of_csv,
    judgements_of_qrels,
    losses,
    named,
)

JUDGED = {"mug": {"a": 3.0, "b": 1.0, "c": 0.0}, "cup": {"a": 0.0}}


def test_judgements_as_csv() -> None:
    lines = ["grade,query,product_id\n", '3,"mug, red",a\n', "\n", "0,mug,b\n"]
    assert judgements_of_csv(lines) == {"mug, red": {"a": 3.0}, "mug": {"b": 0.0}}


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_columns_are_apart_as_a_spreadsheet_writes_them(between: str) -> None:
    rows = (("query", "id", "grade"), (f'"mug{between} red"', "a", "3"), ("mug", "b", "0.5"))
    lines = [between.join(row) + "\r\n" for row in rows]
    assert judgements_of_csv(lines) == {f"mug{between} red": {"a": 3.0}, "mug": {"b": 0.5}}


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([], "line 1: the header names the columns .* This one names nothing"),
        (["query,grade\n"], "product_id, document or id; and grade. This one names query, grade$"),
        (["Suche;Artikel;Note\n"], "This one names suche, artikel, note$"),
        ([",".join("abcdefghijklm")], "a, b, c, d, e, f, g, h, i, j and 3 more$"),
        (["query,id,grade\n", "mug,a\n"], "line 2: 2 columns are too few"),
        (["query,id,grade\n", "mug,a,good\n"], "line 2: 'good' is no grade"),
        (["query,id,grade\n", "mug,a,1\n", "mug,a,2\n"], "line 3: a has another grade for 'mug'"),
    ],
)
def test_csv_that_cannot_be_read(lines: list[str], error: str) -> None:
    with pytest.raises(InvalidJudgements, match=error):
        judgements_of_csv(lines)


def test_judgements_as_qrels() -> None:
    queries = {"1": "mug", "2": "cup"}
    lines = ["1 0 a 3\n", "1 0 b -1\n", "\n", "2\t0\ta\t0\n"]
    assert judgements_of_qrels(lines, queries) == {"mug": {"a": 3.0, "b": 0.0}, "cup": {"a": 0.0}}
    with pytest.raises(InvalidJudgements, match="line 1: there is no search 3"):
        judgements_of_qrels(["3 0 a 1"], queries)
    with pytest.raises(InvalidJudgements, match="line 1: 3 columns, and not 4"):
        judgements_of_qrels(["1 a 1"], queries)


def test_a_report_is_of_all_searches_and_its_means_of_those_with_something_to_find() -> None:
    report = evaluate(lambda q, limit: ["a", "x"][:limit], JUDGED)
    assert [one.query for one in report.queries] == ["mug", "cup"]
    assert report.queries[1].measured.ndcg is None
    assert report.total.ndcg == report.queries[0].measured.ndcg
    assert report.total.judged == 0.5


def test_two_runs_are_compared_by_what_they_found() -> None:
    before = evaluate(lambda q, limit: ["a", "b"], JUDGED)
    after = evaluate(lambda q, limit: ["b", "a"] if q == "mug" else ["a", "b"], JUDGED)
    both = compared(before, after, JUDGED)
    (only,) = both.changed
    assert only.query == "mug"
    assert only.gain < 0
    assert (both.shared, both.only_before, both.only_after) == (2, 0, 0)
    assert (both.before, both.after) == (before.total, after.total)


def test_only_searches_that_both_runs_made_are_compared() -> None:
    more = {**JUDGED, "pot": {"a": 1.0}, "pan": {"z": 1.0}}
    before = evaluate(lambda q, limit: ["a", "b"], {**JUDGED, "lid": {"z": 1.0}})
    after = evaluate(lambda q, limit: ["a", "b"], more)
    both = compared(before, after, more)
    assert (both.shared, both.only_before, both.only_after, both.changed) == (2, 1, 2, ())
    assert both.before == both.after != after.total  # like is compared with like
    assert both.after == evaluate(lambda q, limit: ["a", "b"], JUDGED).total
    with pytest.raises(ValueError, match="none of its searches"):
        compared(before, evaluate(lambda q, limit: ["a"], {"pot": {"a": 1.0}}), more)


def test_a_baseline_tells_what_was_lost() -> None:
    report = evaluate(lambda q, limit: ["b"], JUDGED)
    kept = baseline_of(report)
    assert losses(report, kept) == []
    assert losses(report, Baseline(1.0, {"mug": 1.0, "gone": 0.5})) == [
        ("mug", 1.0, kept.queries["mug"]),
        ("gone", 0.5, 0.0),
    ]


@pytest.mark.parametrize(
    ("by", "name"),
    [("", "a"), ("skus", "2"), ("brand", "HP"), ("attributes.code", "7"), ("none", "a"),
     ("attributes.none", "a"), ("brand.none", "a"), ("empty", "a")],
)  # fmt: skip
def test_a_document_has_other_names(by: str, name: str) -> None:
    document = {
        "id": "a",
        "skus": ["1", "2"],
        "brand": "HP",
        "attributes": {"code": 7},
        "empty": [],
    }
    assert named(document, by, {"2": 1.0}) == name
