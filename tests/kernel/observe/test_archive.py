"""What is kept is in a file of its own, bounded, and read along its indexes."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hansa.kernel.observe import archive as archives
from hansa.kernel.observe import reading as readings
from hansa.kernel.observe.archive import Archive, KeptSpan
from hansa.kernel.observe.logs import Line
from hansa.kernel.observe.reading import CursorInvalid, Reader, Row, Wanted
from hansa.kernel.observe.spans import Kind, Segment
from tests.kernel.cells import HandClock
from tests.kernel.observe.making import segment


@contextmanager
def writing(file: Path, **more: Any) -> Iterator[Archive]:
    archive = Archive(file, **more)
    archive.start()
    try:
        yield archive
    finally:
        archive.stop()


@contextmanager
def reading(file: Path) -> Iterator[Reader]:
    reader = Reader(file)
    try:
        yield reader
    finally:
        reader.close()


def keep(file: Path, *segments: Segment, **more: Any) -> Archive:
    with writing(file, **more) as archive:
        for one in segments:
            archive.keep(one)
    return archive


def test_a_trace_is_read_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "observed.db"
    began = 0.0
    one = segment(
        began=began, took_s=0.05, status=201, principal="key_1",
        arguments={"handle": "mug", "password": "open-sesame"},
        spans=[
            (0, "transaction", "", began + 0.001, began + 0.04, "", ""),
            (1, "sql", "SELECT 1", began + 0.002, began + 0.003, 7, ""),
            (1, "sql", "SELECT 1", began + 0.004, began + 0.005, 0, "Error: no"),
            None,
        ],
    )  # fmt: skip
    later = segment("shop.count", kind="delivery", began=began + 1, traceparent=one.trace.parent)
    keep(file, later, one, segment(), process="test-1")
    with reading(file) as reader:
        first, second = reader.trace(one.trace.id)
        assert (first.row.name, second.row.name) == ("shop.get_product", "shop.count")
        assert (second.row.above, second.row.trace) == (one.trace.span, one.trace.id)
        assert (first.row.status, first.row.took_us, first.row.process) == (201, 50_000, "test-1")
        assert first.row.start_us + 1_000_000 == second.row.start_us
        assert first.detail.spans == [
            KeptSpan(0, "transaction", "", 1_000, 39_000, "", ""),
            KeptSpan(1, "sql", "SELECT 1", 2_000, 1_000, 7, ""),
            KeptSpan(1, "sql", "SELECT 1", 4_000, 1_000, 0, "Error: no"),
            KeptSpan(0, "outside", "unfinished", 0, 0, "", ""),
        ]
        assert first.detail.principal == "key_1"
        assert '"mug"' in first.detail.arguments and "open-sesame" not in first.detail.arguments
        assert reader.trace("0" * 32) == []
        assert reader.size()[0] == 3
    assert oct(file.stat().st_mode & 0o777) == "0o600"
    assert b"open-sesame" not in file.read_bytes()


KINDS: tuple[Kind, ...] = ("request", "due")
NAMES, SITES = ("shop.a", "shop.b", "mail.a"), ("site_1", "site_2")
MADE = [
    segment(
        NAMES[number % 3],
        kind=KINDS[number % 2],
        began=1_000.0 + number // 4,
        took_s=(number % 7) / 100,
        site=SITES[number // 3 % 2],
        failed=number % 5 == 0,
    )
    for number in range(200)
]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    file = tmp_path_factory.mktemp("many") / "observed.db"
    keep(file, *MADE)
    with reading(file) as reader:
        rows = reader.segments(Wanted(), 500).rows
    assert len(rows) == len(MADE)
    return file, rows


@given(
    kind=st.sampled_from(["", *KINDS]), service=st.sampled_from(["", "shop", "mail"]),
    name=st.sampled_from(["", *NAMES]), site=st.sampled_from(["", *SITES, "site_3"]),
    failed=st.booleans(), took_us=st.integers(0, 70_000), since=st.integers(-1, 60),
    before=st.integers(-1, 60), limit=st.integers(1, 80), few=st.sampled_from([0, 5, 1_000]),
)  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_pages_hold_all_that_fits_once_and_in_order(
    many: tuple[Path, list[Row]], kind: str, service: str, name: str, site: str, failed: bool,
    took_us: int, since: int, before: int, limit: int, few: int,
) -> None:  # fmt: skip
    file, rows = many
    first_us = rows[-1].start_us
    since_us = first_us + since * 1_000_000 if since >= 0 else 0
    before_us = first_us + before * 1_000_000 if before >= 0 else 0
    expected = [
        one
        for one in rows
        if (not kind or one.kind == kind)
        and (not service or one.service == service)
        and (not name or one.name == name)
        and (not site or one.site == site)
        and (not failed or one.failed)
        and one.took_us >= took_us
        and one.start_us >= since_us
        and (not before_us or one.start_us < before_us)
    ]
    found: list[Row] = []
    cursor = ""
    with reading(file) as reader, pytest.MonkeyPatch.context() as patch:
        patch.setattr(readings, "FEW", few)
        while True:
            wanted = Wanted(kind, service, name, site, failed, took_us, since_us, before_us, cursor)
            page = reader.segments(wanted, limit)
            assert len(page.rows) == limit or not page.cursor
            found += page.rows
            cursor = page.cursor
            if not cursor:
                break
    assert found == expected


def test_a_wrong_cursor_is_refused(many: tuple[Path, list[Row]]) -> None:
    with reading(many[0]) as reader, pytest.raises(CursorInvalid):
        reader.segments(Wanted(cursor="1; DROP TABLE segments"))


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(), Wanted(name="a"), Wanted(service="a"), Wanted(site="a"), Wanted(kind="a"),
        Wanted(failed=True), Wanted(failed=True, site="a"),
    ],
)  # fmt: skip
def test_every_list_is_read_along_an_index(many: tuple[Path, list[Row]], wanted: Wanted) -> None:
    seen: list[str] = []
    with reading(many[0]) as reader:
        real = reader._all

        def explained(statement: str, given: Sequence[Any]) -> list[Any]:
            seen.append(str(real(f"EXPLAIN QUERY PLAN {statement}", given)))
            return real(statement, given)

        reader._all = explained  # type: ignore[method-assign]
        reader.segments(wanted)
        reader.segments(replace(wanted, took_us=1, cursor="5-5"))
    assert all("USING" in plan and "INDEX" in plan for plan in seen), seen
    assert "USE TEMP B-TREE FOR ORDER BY" not in seen[0]


def test_what_is_old_goes(tmp_path: Path) -> None:
    clock = HandClock()
    file = tmp_path / "observed.db"
    keep(file, segment("shop.old"), clock=clock, age_max_s=60.0)
    clock.add(61)
    keep(file, segment("shop.new"), clock=clock, age_max_s=60.0)
    with reading(file) as reader:
        assert [one.name for one in reader.segments(Wanted()).rows] == ["shop.new"]


def test_the_file_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "PRUNE_ROWS", 50)
    file = tmp_path / "observed.db"
    for number in range(4):
        with writing(file, bytes_max=400_000) as archive:
            for _ in range(100):
                archive.keep(segment(f"shop.n{number}", error="x" * 2_000))
            archive.flush()
    with reading(file) as reader:
        names = {one.name for one in reader.segments(Wanted(), 500).rows}
    assert "shop.n3" in names and "shop.n0" not in names
    assert file.stat().st_size < 800_000


def test_what_waits_has_a_bound(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "observed.db")  # nobody writes
    one = segment()
    for _ in range(archives.WAITING_MAX + 3):
        archive.keep(one)
        archive.keep_line(Line(1, 20, "a", "b", ""))
    assert archive.lost == 6


def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path) -> None:
    file = tmp_path / "observed.db"
    file.write_bytes(b"this is no database at all" * 100)
    with writing(file) as archive:
        archive.keep(segment("shop.lost"))
        archive.flush()
        archive.keep(segment("shop.kept"))
    assert (tmp_path / "observed.db.old").read_bytes().startswith(b"this is no database")
    assert archive.lost == 1
    with reading(file) as reader:
        assert [one.name for one in reader.segments(Wanted()).rows] == ["shop.kept"]


def test_a_file_of_another_release_goes_when_all_in_it_is_old(tmp_path: Path) -> None:
    file, away = tmp_path / "observed.db", tmp_path / "observed.db.old"
    keep(file, segment("shop.before"))
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA user_version = {archives.VERSION + 1}")
    connection.close()
    clock = HandClock()
    clock.at_us = time.time_ns() // 1_000
    keep(file, segment("shop.after"), clock=clock, age_max_s=3_600.0)
    with reading(file) as reader:
        assert [one.name for one in reader.segments(Wanted()).rows] == ["shop.after"]
    assert away.exists(), "for who goes back to that release"
    keep(file, segment(), clock=clock, age_max_s=3_600.0)
    assert away.exists()
    clock.add(7_200)
    keep(file, segment(), clock=clock, age_max_s=3_600.0)
    assert [one.name for one in tmp_path.iterdir() if ".old" in one.name] == []


def test_what_is_no_archive_is_not_deleted(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"somebody's notes, named by mistake" * 100)
    os.utime(file, (1, 1))
    with writing(file) as archive:
        archive.keep(segment())
    keep(file, segment())
    assert (tmp_path / "notes.txt.old").read_bytes().startswith(b"somebody's notes")


def test_a_database_of_another_kind_is_not_touched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "cell.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE orders (id)")
        connection.execute("INSERT INTO orders VALUES (1)")
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    before = file.read_bytes()
    archive = keep(file, segment())
    assert (archive.lost, file.read_bytes()) == (1, before)
    assert "another kind" in caplog.text


def test_a_folder_that_is_not_there_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with writing(tmp_path / "nowhere" / "observed.db") as archive:
        for _ in range(3):
            archive.keep(segment())
            archive.flush()
    assert archive.lost == 3 and archive.trouble
    assert len([one for one in caplog.records if one.name == "hansa.observe"]) == 1


def test_a_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "observed.db"
    with writing(file) as archive, reading(file) as reader:
        assert reader.segments(Wanted()).rows == []
        archive.keep(segment("shop.one"))
        archive.flush()
        assert len(reader.segments(Wanted()).rows) == 1
        for end in ("", "-wal", "-shm"):
            os.unlink(f"{file}{end}")
        assert reader.segments(Wanted()).rows == []
        archive.keep(segment("shop.two"))
        archive.flush()
        assert [one.name for one in reader.segments(Wanted()).rows] == ["shop.two"]


def test_it_ends_at_once_while_it_waits_for_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wish to stop was lost when it came while a batch was gathered."""
    monkeypatch.setattr(archives, "BATCH_S", 60.0)
    for number in range(5):
        archive = keep(tmp_path / f"{number}.db", segment())
        assert not [one for one in threading.enumerate() if one.name == "hansa-observe"]
        with reading(archive.file) as reader:
            assert len(reader.segments(Wanted()).rows) == 1


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    file = tmp_path / "observed.db"
    statement: Any = (0, "sql", "SELECT 1", 0.0, 0.0, 1, "")
    with writing(file, process="a") as first, writing(file, process="b") as second:
        for _ in range(4):
            for _ in range(5):
                first.keep(segment(spans=[statement]))
                second.keep(segment(spans=[statement]))
            first.flush()
    assert first.lost == second.lost == 0
    with reading(file) as reader:
        rows = reader.segments(Wanted(), 100).rows
        assert sorted(one.process for one in rows) == ["a"] * 20 + ["b"] * 20
        assert all(reader.trace(one.trace)[0].detail.spans[0].name == "SELECT 1" for one in rows)
