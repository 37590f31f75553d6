"""What several processes have counted is read as if one had."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hansa.kernel.observe import archive as archives
from hansa.kernel.observe.archive import Archive
from hansa.kernel.observe.rates import Snapshots
from hansa.kernel.observe.reading import Reader
from hansa.kernel.observe.recorder import Recorder
from tests.kernel.observe.making import segment

TIMES = st.lists(st.integers(0, 10_000_000), max_size=30)


def worked(recorder: Recorder, name: str, times_us: Sequence[int], failed: bool = False) -> None:
    for took_us in times_us:
        statement = (0, "sql", f"select {name}", 0.0, took_us / 1e6, 3, "")
        one = segment(name, failed=failed, spans=[statement])
        recorder.end(one)
        one.ended = one.began + took_us / 1e6
    recorder.settle()


def kept(file: Path, process: str, recorder: Recorder, snapshots: Snapshots) -> None:
    recorder.settle()
    archive = Archive(file, process=process)
    archive.keep_counts(snapshots.changed())
    archive.start()
    archive.stop()


@settings(max_examples=25)  # each makes files
@given(TIMES, TIMES, TIMES)
def test_processes_add_up(
    tmp_path_factory: pytest.TempPathFactory, first: list[int], second: list[int], more: list[int]
) -> None:
    file = tmp_path_factory.mktemp("rates") / "observed.db"
    alone, one, other = Recorder(), Recorder(), Recorder()
    snapshots = Snapshots(one)
    worked(one, "shop.get", first)
    kept(file, "one", one, snapshots)
    worked(one, "shop.get", more, failed=True)  # totals replace those of before
    kept(file, "one", one, snapshots)
    worked(other, "shop.get", second)
    kept(file, "other", other, Snapshots(other))
    for times, failed in ((first, False), (second, False), (more, True)):
        worked(alone, "shop.get", times, failed)
    kept(file.with_name("alone.db"), "alone", alone, Snapshots(alone))
    both, single = Reader(file), Reader(file.with_name("alone.db"))
    assert both.operations() == single.operations()
    for rate, expected in zip(both.statements(), single.statements(), strict=True):
        assert abs(rate.total_us - expected.total_us) <= 2  # each process rounds its own
        assert replace(rate, total_us=0) == replace(expected, total_us=0)
    for reader in (both, single):
        reader.close()


def test_only_what_changed_is_handed_over() -> None:
    recorder = Recorder()
    snapshots = Snapshots(recorder)
    worked(recorder, "shop.get", [5])
    recorder.edge("a", "b", "b.c")
    assert [(one.kind, one.name) for one in snapshots.changed()] == [
        ("request", "shop.get"), ("sql", "select shop.get"), ("edge", "a b b.c"),
    ]  # fmt: skip
    assert snapshots.changed() == []
    recorder.edge("a", "b", "b.c")
    assert [one.data for one in snapshots.changed()] == [(2,)]


def test_processes_that_are_gone_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "PROCESSES_MAX", 2)
    file = tmp_path / "observed.db"
    for name in ("a", "b", "c", "d"):
        recorder = Recorder()
        recorder.edge("x", "y", f"y.{name}")
        kept(file, name, recorder, Snapshots(recorder))
    reader = Reader(file)
    assert [one.name for one in reader.processes()] == ["d", "c"]
    assert reader.flow() == {("x", "y", "y.c"): 1, ("x", "y", "y.d"): 1}
    reader.close()
