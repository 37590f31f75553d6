"""`hansa traces` tells what was kept, and nothing that a terminal would obey."""

from pathlib import Path
from typing import Final

import pytest

from hansa.cli.main import main
from hansa.kernel.observe.archive import Archive
from hansa.kernel.observe.options import FILE
from hansa.kernel.observe.rates import Snapshots
from hansa.kernel.observe.recorder import Recorder
from hansa.kernel.observe.spans import Segment
from tests.kernel.observe.making import segment

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SELECT: Final = "SELECT title\nFROM shop_products"


def buy() -> Segment:
    return segment(
        "commerce.complete", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01", began=100.0, took_s=0.5,
        status=503, failed=True, reason="error", error="Traceback\nOSError: \x1b[2Jgone\n",
        arguments={"cart": "cart_1", "card_token": "tok_visible"},
        spans=[
            (0, "transaction", "", 100.1, 100.4, "", ""),
            (1, "sql", SELECT, 100.2, 100.3, 7, ""),
            (0, "remote", "sites.get", 100.41, 100.42, "00f067aa0ba902b9", "TimeoutError: late"),
        ],
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HANSA_TRACE_FILE", "HANSA_DATABASE", "HANSA_OWNER_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HANSA_FOLDER", str(tmp_path))
    archive = Archive(tmp_path / FILE, process="till-1")
    recorder = Recorder(keep=archive.keep)
    recorder.end(segment("commerce.list_products", site="site_2"))
    recorder.end(one := buy())
    one.ended = one.began + 0.5
    recorder.settle()
    recorder.edge("commerce", "sites", "sites.get")
    archive.keep(segment("mail.send", kind="due", took_s=2.0, reason="slow"))
    archive.keep_counts(Snapshots(recorder).changed())
    archive.start()
    archive.stop()
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["traces", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("folder")
def test_lists_are_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "list")
    assert len(lines) == 2 and sum(TRACE in line for line in lines) == 1
    (line,) = told(capsys, "list", "--failed")
    assert "503  500.00 ms" in line and "commerce.complete" in line and "error" in line
    (line,) = told(capsys, "list", "--slower-ms", "1000", "--since", "1h")
    assert "mail.send" in line and "2.00 s" in line
    assert told(capsys, "list", "--kind", "due", "--service", "commerce") == []


@pytest.mark.usefixtures("folder")
def test_a_trace_is_shown_as_a_waterfall(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "show", f"{TRACE}-00f067aa0ba902b7", "--full")
    assert lines[0].startswith(f"trace {TRACE}") and "1 part in 1 process" in lines[0]
    request, transaction, statement, remote = lines[1:5]
    assert request.startswith(f"[{'=' * 20}] 500.00 ms") and "503 site_1 till-1" in request
    assert transaction.startswith(f"[{' ' * 4}{'=' * 12}{' ' * 4}] 300.00 ms +100.00 ms")
    assert statement.endswith("    sql (7 rows) SELECT title FROM shop_products")
    assert remote.endswith("  remote sites.get ! TimeoutError: late")
    rest = "\n".join(lines[5:])
    assert '"cart":"cart_1"' in rest and "tok_visible" not in rest
    assert "OSError" in rest and "\x1b" not in rest and "\\x1b[2J" in rest


@pytest.mark.usefixtures("folder")
def test_counts_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {line.split()[-1]: line.split() for line in told(capsys, "operations")}
    assert rows["commerce.complete"][:2] == ["1", "1"]
    assert rows["commerce.list_products"][:3] == ["1", "0", "0"]
    (_, line) = told(capsys, "statements")
    assert line.split()[:3] == ["100.00", "ms", "1"] and line.endswith("FROM shop_products")
    (line,) = [one for one in told(capsys, "flow") if "sites.get" in one]
    assert line.split() == ["commerce", "calls", "sites", "sites.get", "1", "not", "declared"]
    assert told(capsys, "lines") == []


def test_what_is_not_there_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["traces", "show", "0" * 32]) == 1
    assert "Nothing is kept of trace" in capsys.readouterr().err
    monkeypatch.setenv("HANSA_TRACE_FILE", str(folder / "other.db"))
    assert main(["traces", "list"]) == 1
    assert "nothing has been recorded there yet" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["traces", "list", "--since", "yesterday"])
    assert "15m" in capsys.readouterr().err
