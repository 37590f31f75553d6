"""The recorder follows work across tasks, and hands on what is to be kept."""

import asyncio

import pytest

from hansa.kernel.observe.recorder import BATCH, Recorder, failed, work
from hansa.kernel.observe.spans import SPANS_MAX, Inside, Segment, Span, current, traceparent
from hansa.kernel.observe.statements import OTHER, TEXTS_MAX, Statements
from hansa.kernel.problems import Conflict, StorageFailed
from tests.kernel.observe.making import segment

UNSAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def recording(sample: float = 0.0) -> tuple[Recorder, list[Segment]]:
    kept: list[Segment] = []
    return Recorder(sample=sample, keep=kept.append), kept


def test_what_is_fine_and_quick_is_not_kept() -> None:
    recorder, kept = recording()
    for _ in range(BATCH * 3):
        with recorder.work("due", "shop.tidy", "shop", "site_1", ""):
            pass
    recorder.settle()
    assert kept == []
    assert recorder.vitals["due"]["shop.tidy"].count == BATCH * 3


def test_a_sampled_one_is_kept_and_a_caller_may_ask_for_it() -> None:
    recorder, kept = recording(1.0)
    with recorder.work("request", "a", "s", "site_1", ""):
        pass
    with recorder.work("request", "b", "s", "site_1", UNSAMPLED):
        pass
    with recorder.work("request", "c", "s", "site_1", UNSAMPLED[:-1] + "1"):
        pass
    recorder.settle()
    assert [(one.name, one.reason) for one in kept] == [("a", "sample"), ("c", "sample")]


def test_who_is_not_known_has_nothing_kept_by_asking() -> None:
    recorder, kept = recording()
    for status in (401, 403):
        with recorder.work("request", "a", "s", "site_1", UNSAMPLED[:-1] + "1") as segment:
            assert segment is not None
            segment.status = status
    recorder.settle()
    assert [(one.status, one.reason) for one in kept] == [(403, "sample")]


def test_a_failure_is_kept_with_what_came_before_it_in_its_trace() -> None:
    recorder, kept = recording()
    with recorder.work("request", "first", "s", "site_1", UNSAMPLED):
        pass
    with recorder.work("request", "unrelated", "s", "site_1", ""):
        pass
    recorder.settle()
    assert kept == []
    with pytest.raises(ZeroDivisionError), recorder.work("due", "late", "s", "site_1", UNSAMPLED):
        raise ZeroDivisionError("division by zero")
    recorder.settle()
    assert [(one.name, one.reason) for one in kept] == [("late", "error"), ("first", "related")]
    assert kept[0].error.endswith("ZeroDivisionError: division by zero\n")
    assert "test_recorder.py" in kept[0].error
    assert (kept[0].failed, kept[0].status) == (True, 500)


def test_a_refusal_is_no_failure() -> None:
    refused, broken, cancelled = segment(), segment(), segment()
    failed(refused, Conflict("Sold out.", slug="sold-out"))
    failed(broken, StorageFailed("No disk."))
    failed(cancelled, asyncio.CancelledError())
    failed(None, ValueError())
    assert (refused.failed, refused.status, refused.error) == (False, 409, "sold-out: Sold out.")
    assert (broken.failed, broken.status) == (True, 503)
    assert (cancelled.failed, cancelled.error) == (False, "CancelledError")


def test_an_answer_that_tells_of_a_failure_is_one() -> None:
    recorder, kept = recording()
    for status in (404, 502):
        with recorder.work("request", "a", "s", "site_1", "") as answered:
            assert answered is not None
            answered.status = status
    recorder.settle()
    assert [(one.status, one.failed, one.reason) for one in kept] == [(502, True, "error")]
    vital = recorder.vitals["request"]["a"]
    assert (vital.count, vital.refused, vital.failed) == (2, 1, 1)


def test_statements_are_counted_with_the_work_that_ran_them() -> None:
    recorder, _ = recording()
    for _ in range(BATCH + 1):
        with recorder.work("request", "a", "s", "site_1", ""), Inside("transaction", ""):
            recorder.statements.note("SELECT 1", 1.0, 1.5, 3)
            recorder.statements.note("SELECT 2", 1.0, 1.25, 0, "IOError: no")
    recorder.settle()
    vital = recorder.vitals["request"]["a"]
    assert (vital.count, vital.statements) == (BATCH + 1, 2 * (BATCH + 1))
    first, second = (recorder.statements.by_text[sql] for sql in ("SELECT 1", "SELECT 2"))
    assert (first.count, first.rows, first.failed) == (BATCH + 1, 3 * (BATCH + 1), 0)
    assert (first.longest_s, second.failed) == (0.5, BATCH + 1)


def test_a_transaction_that_begins_again_has_not_failed() -> None:
    class Serialization(Exception):
        sqlstate = "40001"

    again = segment()
    failed(again, Serialization())
    assert not again.failed


def test_spans_are_under_the_span_around_them() -> None:
    recorder, kept = recording(1.0)
    with recorder.work("request", "r", "s", "site_1", ""):
        with Inside("call", "outer"):
            with pytest.raises(ValueError, match="no"), Inside("outside", "inner"):
                raise ValueError("no")
        with Inside("transaction", "after"):
            pass
    recorder.settle()
    spans = [Span(*one) for one in kept[0].spans if one is not None]
    assert [(one.under, one.name, one.error) for one in spans] == [
        (0, "outer", ""),
        (1, "inner", "ValueError: no"),
        (0, "after", ""),
    ]
    assert all(kept[0].began <= one.began <= one.ended <= kept[0].ended for one in spans)


def test_tasks_do_not_mix() -> None:
    recorder, kept = recording(1.0)

    async def one(name: str) -> None:
        with recorder.work("request", name, "s", "site_1", ""):
            for number in range(5):
                with Inside("call", f"{name}{number}"):
                    await asyncio.sleep(0)

    async def run() -> None:
        await asyncio.gather(*(one(name) for name in "abcde"))

    asyncio.run(run())
    recorder.settle()
    assert len(kept) == 5
    for each in kept:
        assert [s[2] for s in each.spans if s] == [f"{each.name}{number}" for number in range(5)]
    assert current.get() is None


def test_a_remote_call_goes_on_under_a_span_of_its_own() -> None:
    recorder, kept = recording(1.0)
    with recorder.work("request", "r", "s", "site_1", ""):
        here = traceparent("")
        with Inside("remote", "sites.get") as span:
            sent = span.traceparent("")
    recorder.settle()
    _, trace, parent, flags = sent.split("-")
    assert (trace, flags) == (kept[0].trace.id, "01")
    assert kept[0].spans[0] is not None and kept[0].spans[0][5] == parent
    assert here.split("-")[1] == trace and here.split("-")[2] == kept[0].trace.span != parent
    with Inside("remote", "nobody records") as span:
        assert span.traceparent(UNSAMPLED) == UNSAMPLED
    assert traceparent("other") == "other"


def test_spans_have_a_bound() -> None:
    recorder, kept = recording(1.0)
    with recorder.work("request", "r", "s", "site_1", ""):
        for number in range(SPANS_MAX + 7):
            with Inside("call", str(number)):
                pass
    recorder.settle()
    assert (len(kept[0].spans), kept[0].lost) == (SPANS_MAX, 7)


def test_statements_have_a_bound() -> None:
    counted = Statements()
    for number in range(TEXTS_MAX + 10):
        counted.note(f"SELECT {number}", 0.0, 0.001, 1)
    assert len(counted.by_text) == TEXTS_MAX + 1
    assert counted.by_text[OTHER].count == 10


def test_without_a_recorder_nothing_is_recorded() -> None:
    with work(None, "due", "d", "s", "site_1", "") as found, Inside("call", "c"):
        assert found is None and current.get() is None
