"""What an import refuses is told, kept, and taken again once it is put right."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansa.business.commerce.importing import LineFault
from hansa.cli.main import main
from hansa.cli.refused import RefusedLines, given
from tests.cli.server import READY, ROOT, Server

Told = Callable[[], Any]


@pytest.fixture
def told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    monkeypatch.setenv("HANSA_FOLDER", str(tmp_path / "cell"))
    for name in ("HANSA_DATABASE", "HANSA_OWNER_DATABASE", "HANSA_URL", "HANSA_KEY"):
        monkeypatch.delenv(name, raising=False)
    return capsys.readouterr


def product(number: int, currency: str = "EUR", **more: Any) -> dict[str, Any]:
    price = {"minor": 5, "currency": currency}
    one = {
        "handle": f"p{number}",
        "title": "T",
        "variants": [{"sku": f"S{number}", "price": price}],
    }
    return {**one, **more}


def write(file: Path, *lines: object) -> Path:
    file.write_text(
        "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    )
    return file


def faults(file: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return sorted(found, key=lambda one: int(one["line"]))


def test_refused_lines_are_taken_again(tmp_path: Path, told: Told) -> None:
    assert main(["sites", "create", "shop"]) == 0
    same = product(7, handle="p3")
    file = write(tmp_path / "all", product(1), product(2, "USD"), "junk", product(3), same)
    kept = tmp_path / "faults"
    assert main(["import", str(file), "--faults", str(kept)]) == 1
    assert [one["line"] for one in faults(kept)] == [2, 3, 5]
    assert faults(kept)[0]["given"] == product(2, "USD")
    assert faults(kept)[1]["given"] == "junk"
    told()
    assert main(["import", str(file), "--faults", str(kept)]) == 1
    said = told()
    assert "going on at line 6: 2 products" in said.out
    assert "3 lines before line 6 were refused the last time" in said.err
    assert "--again" in said.err
    assert [one["line"] for one in faults(kept)] == [2, 3, 5]
    write(file, product(1), product(2), product(4), product(3), same)
    assert main(["import", str(file)]) == 1  # another file, of which some are here already
    told()
    assert main(["import", str(file), "--again", "--faults", str(kept)]) == 1
    assert "2 products, 3 faulty lines" not in told().out
    assert [(one["line"], one["given"]) for one in faults(kept)] == [(5, same)]


def test_all_of_it_is_taken_again_when_the_site_takes_it(tmp_path: Path, told: Told) -> None:
    """Refused for a sku that is taken; then it is free, and the same file goes in whole."""
    assert main(["sites", "create", "shop", "--currency", "GBP"]) == 0
    site = told().out.strip()
    file = write(tmp_path / "all", *[product(number) for number in range(300)])
    assert main(["import", str(file), "--faults", str(tmp_path / "faults")]) == 1
    assert "0 products, 300 faulty lines" in told().out
    with apsw.Connection(str(tmp_path / "cell" / "hansa.db")) as connection:
        connection.execute("UPDATE sites_sites SET currency = 'EUR' WHERE id = ?", (site,))
    assert main(["import", str(file)]) == 1
    assert "300 lines before line 301" in told().err
    assert main(["import", str(file), "--again"]) == 0
    assert "300 products, 0 faulty lines" in told().out
    for _ in "ab":
        assert main(["import", str(file), "--again"]) == 0
        assert "300 products, 0 faulty lines" in told().out
    assert main(["import", str(file)]) == 0


def test_a_file_of_refused_lines_is_put_right_and_imported(tmp_path: Path, told: Told) -> None:
    assert main(["sites", "create", "shop"]) == 0
    file = write(tmp_path / "all", product(1, "USD"), json.dumps(product(2))[:-1], product(3))
    kept = tmp_path / "faults"
    assert main(["import", str(file), "--faults", str(kept)]) == 1
    first, second = faults(kept)
    first["given"] = product(1)
    second["given"] += "}"
    told()
    assert main(["import", str(write(kept, first, second))]) == 0
    assert "2 products, 0 faulty lines" in told().out


def test_a_kill_forgets_no_refused_line(tmp_path: Path, told: Told) -> None:
    assert main(["sites", "create", "shop"]) == 0
    lines = [product(number, "USD" if number == 3 else "EUR") for number in range(600)]
    file, kept = write(tmp_path / "all", *lines, "junk"), tmp_path / "faults"
    killed = (
        "import os, signal, sys\n"
        "from hansa.cli import importing\n"
        "def die(at, size, made):\n"
        "    if made > 300: os.kill(os.getpid(), signal.SIGKILL)\n"
        "importing._bar = die\n"
        "from hansa.cli.main import main\n"
        "main(sys.argv[1:])\n"
    )
    line = ["import", str(file), "--faults", str(kept)]
    done = subprocess.run([sys.executable, "-c", killed, *line], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [one["line"] for one in faults(kept)] == [4]
    assert main(line) == 1
    assert "599 products, 1 faulty lines" in told().out
    assert [one["line"] for one in faults(kept)] == [4, 601]


def test_a_place_for_faults_that_cannot_be_is_told_at_once(tmp_path: Path, told: Told) -> None:
    assert main(["sites", "create", "shop"]) == 0
    file = write(tmp_path / "all", product(1))
    told()
    assert main(["import", str(file), "--faults", "/no/such/faults"]) == 1
    said = told()
    assert "/no/such/faults" in said.err
    assert "products" not in said.out
    assert main(["import", str(file)]) == 0


def test_a_line_is_kept_as_it_was_given(tmp_path: Path) -> None:
    lines = [b'{"a": 1}\n', b"  junk\xff\n", b'{"line": 1}', b"[1, 2]"]
    kept = RefusedLines(str(tmp_path / "faults"), 1)
    for number, line in enumerate(lines, 1):
        kept.add(LineFault(number, "no"), line)
    kept.close()
    back = [given(line) for line in (tmp_path / "faults").read_bytes().splitlines()]
    assert back == [b'{"a": 1}', "junk\ufffd".encode(), b'{"line": 1}', b"[1, 2]"]
    assert os.stat(tmp_path / "faults").st_mode & 0o077 == 0


def test_through_a_server_the_sites_currency_counts(tmp_path: Path, told: Told) -> None:
    icecat = {"id": "123", "title": "A printer", "price": 900, "supplier": "x"}
    file = write(tmp_path / "icecat", icecat)
    with Server(tmp_path / "cell") as server:
        server.wait_for(READY)
        url = f"http://127.0.0.1:{server.port}"
        operator = (tmp_path / "cell" / "operator.key").read_text().strip()
        through = ["--url", url, "--key", operator]
        assert main(["sites", *through, "create", "second", "--currency", "GBP"]) == 0
        site = told().out.strip()
        assert main(["sites", *through, "key", site, "commerce.*"]) == 0
        key = told().out.strip()
        assert main(["import", "--url", url, "--key", key, str(file)]) == 0, told().err
        assert "1 products" in told().out
        assert server.stop() == 0
