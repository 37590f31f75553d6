"""What was observed, as the pages show it: traces as waterfalls, statements, and flows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.console.streams import streams
from hansa.console.waterfall import SCALE, drawn
from hansa.kernel.observe.archive import Archive, Detail, KeptSpan
from hansa.kernel.observe.flow import ANY, Edge
from hansa.kernel.observe.reading import Kept, Row
from hansa.kernel.observe.spans import Segment
from hansa.testing.cell import TestCell
from tests.console.visitor import Visitor, engineer, text_of
from tests.kernel.observe.making import segment

EVIL = "<img src=x onerror=alert(1)>"
BROKEN = "Traceback (most recent call last):\n  File\nValueError: no such mug"


@pytest.fixture
def one() -> Segment:
    sql = [(1, "sql", f"SELECT '{EVIL}'", 0.002 * n, 0.002 * n + 0.001, 1, "") for n in range(1, 5)]
    return segment(
        "commerce.complete", began=0.0, took_s=0.05, status=500, failed=True, error=BROKEN,
        principal="key_1", site="site_1", arguments={"note": EVIL, "password": "open-sesame"},
        spans=[(0, "transaction", "", 0.001, 0.04, "", ""), *sql],
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, one: Segment) -> Iterator[Path]:
    """A file with one trace of two parts that failed, and 59 that did not."""
    file = tmp_path / "observed.db"
    archive = Archive(file, process="test-1")
    archive.start()
    archive.keep(segment("mail.send", kind="due", began=1.0, traceparent=one.trace.parent))
    for number in range(59):
        archive.keep(segment("shop.get_product", began=2.0 + number, status=200))
    archive.keep(one)
    archive.stop()
    yield file


async def looking(cell: TestCell, file: Path) -> Visitor:
    visitor = await engineer(cell)
    visitor.observe(file)
    return visitor


async def test_traces_are_listed_and_found(cell: TestCell, file: Path, one: Segment) -> None:
    visitor = await looking(cell, file)
    page = text_of(await visitor.get("/traces"))
    assert page.count("shop.get_product") == 50
    assert "Older ones" in page
    page = text_of(await visitor.get("/traces?failed=1"))
    assert "commerce.complete" in page and "shop.get_product" not in page
    assert "mail.send" in text_of(await visitor.get("/traces?kind=due"))
    for named in (one.trace.id, f"{one.trace.id}-{one.trace.span}", one.trace.parent):
        led = (await visitor.get(f"/traces?find={named}")).headers["location"]
        assert led == f"/hansa/traces/{one.trace.id}"
    assert "Nothing like that" in text_of(await visitor.get("/traces?name=no.such"))
    assert "Nothing like that" in text_of(await visitor.get("/traces?slower=900"))
    for odd in ("kind=odd", "cursor=odd", "slower=odd"):
        assert (await visitor.get(f"/traces?{odd}")).status == 400, odd


async def test_what_failed_lately_is_on_the_overview(cell: TestCell, tmp_path: Path) -> None:
    visitor = await looking(cell, tmp_path / "observed.db")
    assert "Failed within" not in text_of(await visitor.get("/"))
    archive = Archive(tmp_path / "observed.db", process="test-1")
    archive.start()
    archive.keep(segment("commerce.complete", failed=True, status=500))
    archive.stop()
    page = text_of(await visitor.get("/"))
    assert "Failed within the hour" in page and "commerce.complete" in page


async def test_a_trace_is_a_waterfall_with_what_went_in(
    cell: TestCell, file: Path, one: Segment
) -> None:
    visitor = await looking(cell, file)
    reply = await visitor.get(f"/traces/{one.trace.id}")
    page, told = reply.body.decode(), text_of(reply)
    assert reply.status == 200
    assert EVIL not in page and "&lt;img" in page
    assert " style=" not in page
    for word in ("ValueError: no such mug", "mail.send", "4×", "1 row", "key_1", "1 process"):
        assert word in told, word
    assert "open-sesame" not in page and "•••" in page
    assert page.count("<rect") == 7
    for odd in ("0" * 32, "word", "A" * 32):
        assert (await visitor.get(f"/traces/{odd}")).status == 404


async def test_where_nothing_is_recorded_the_pages_say_so(cell: TestCell) -> None:
    visitor = await engineer(cell)
    for path in ("/traces", "/statements"):
        assert "Nothing is recorded here" in text_of(await visitor.get(path))
    assert (await visitor.get("/statements?kind=odd")).status == 400


@given(st.lists(st.tuples(*[st.integers(-10, 10**9)] * 2, st.sampled_from("ab")), max_size=60))
def test_every_bar_is_on_the_scale(times: list[tuple[int, int, str]]) -> None:
    spans = [KeptSpan(0, "sql", name, max(0, at), abs(us), 1, "") for at, us, name in times]
    row = Row(
        1, "0" * 32, "1", "", "request", "shop.get", "shop", "site_1", 0, 50, 200, False, "sample",
        len(spans), "p",
    )  # fmt: skip
    fall = drawn([Kept(row, Detail(spans))])
    assert len(fall.bars) == len(spans) + 1
    for bar in fall.bars:
        assert bar.width > 0
        assert bar.x >= 0 and bar.x + bar.width <= SCALE
        same = sum(name == bar.name for _, _, name in times)
        assert bar.repeated == (same if bar.kind == "sql" and same >= 3 else 0)


def test_a_stream_is_all_that_goes_from_one_to_another() -> None:
    found = streams([
        Edge("shop", "mail", "shop.sold", True, 3),
        Edge("shop", "mail", "shop.closed", True, 2),
        Edge("shop", "mail", "mail.get_message", False, 1),
        Edge(ANY, "hooks", "", True, 0),
    ])  # fmt: skip
    assert [(one.origin, one.target, one.is_call, one.count) for one in found] == [
        ("every service", "hooks", False, 0),
        ("shop", "mail", True, 1),
        ("shop", "mail", False, 5),
    ]


def test_who_hears_all_is_told_nothing_that_is_not_declared() -> None:
    seen = [
        Edge(ANY, "hooks", "", True, 0), Edge("shop", "hooks", "shop.sold", False, 3),
        Edge("mail", "hooks", "hooks.post", False, 1), Edge("shop", "mail", "shop.sold", False, 1),
    ]  # fmt: skip
    declared = {(one.origin, one.target): one.edges[0].declared for one in streams(seen)}
    assert declared["shop", "hooks"]
    assert not declared["mail", "hooks"]
    assert not declared["shop", "mail"]
