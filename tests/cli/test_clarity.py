"""What is wrong is told in a line, early, and with what to do about it."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hansa.cli.main import main
from tests.cli.server import ROOT, Server, free_port, hansa


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HANSA_FOLDER", str(tmp_path / "cell"))
    for name in ("HANSA_DATABASE", "HANSA_OWNER_DATABASE", "HANSA_URL", "HANSA_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cell"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("sites --url http://127.0.0.1:9 --key k list", "127.0.0.1:9 (--url or HANSA_URL) does"),
        ("sites --url localhost:8400 --key k list", "no address such as http://localhost:8400"),
        ("sites --url ftp://localhost --key k list", "no address such as http://localhost:8400"),
        ("sites --url http://127.0.0.1:9 list", "needs an API key: --key or HANSA_KEY"),
        ("import README.md --url nowhere --key k", "no address such as http://localhost:8400"),
        ("torture --processes 3", "--processes is for --engine postgres"),
        ("up --host nowhere.invalid", "nowhere.invalid is no address to listen on: "),
        ("up --host 203.0.113.1", "Nobody can listen on 203.0.113.1:8400: Cannot assign"),
        (
            "serve --port PORT --placement nofile.toml --services sites",
            "nofile.toml cannot be read: No such",
        ),
    ],
)
def test_it_says_what_to_do(line: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.replace("PORT", str(free_port())).split()) == 1
    told = capsys.readouterr().err
    assert why in told
    assert told.count("\n") == 1


@pytest.mark.usefixtures("folder")
def test_what_is_not_there_or_needs_nobody_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sites", "create", "shop"]) == 0
    site = capsys.readouterr().out.strip()

    def refused(*line: str) -> str:
        assert main(line) == 1, line
        return capsys.readouterr().err

    assert "There is no site site_none here" in refused("log", "events", "--site", "site_none")
    assert "nofile: No such file or directory." in refused("sites", "import", "nofile")
    assert main(["log", "events", "--site", site]) == 0
    assert "nothing needs 'commerce.products:fly'; there are commerce." in refused(
        "sites", "key", site, "commerce.products:fly"
    )
    assert main(["sites", "key", site, "commerce.products:write", "mine.own:thing"]) == 0
    instants = (
        ("sites", "create", "x", "--test-clock", "tomorrow"),
        ("sites", "advance", site, "2027-13-01"),
        ("sites", "key", site, "commerce.*", "--expires", "2027-01-01"),
    )
    for line in instants:
        assert "is no instant: write the day, the time and in which zone" in refused(*line)


def test_who_only_looks_at_a_plan_makes_nothing(folder: Path) -> None:
    assert main(["migrate", "--plan"]) == 0
    assert not folder.exists()


@pytest.mark.parametrize("command", ["torture", "simulate"])
def test_a_plant_without_a_name_is_refused(command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--plant", ""])
    assert ended.value.code == 2


def test_metrics_on_a_port_that_is_taken_are_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        metrics = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "hansa.cli", "up", "--port", str(free_port())],
            env={**os.environ, "HANSA_FOLDER": str(tmp_path), "HANSA_METRICS": metrics},
            cwd=ROOT, text=True, capture_output=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"HANSA_METRICS: nobody can listen on {metrics}: " in done.stderr
    assert "Traceback" not in done.stderr


INTERRUPTED = """import sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "hansa.assembly":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
import hansa.cli
"""


def test_who_interrupts_it_while_it_is_imported_sees_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=ROOT, text=True, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("verb", ["export", "import", "erase"])
def test_what_works_on_the_cell_alone_offers_no_server(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["sites", verb, "--help"])
    told = capsys.readouterr().out
    assert "--url" not in told
    assert "--folder" in told


def test_who_has_read_enough_hears_of_no_broken_pipe(tmp_path: Path) -> None:
    for line in (["describe", "openapi"], ["migrate", "--plan"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "hansa.cli", *line], cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**os.environ, "HANSA_FOLDER": str(tmp_path)},
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_serving_tells_how_each_site_is_asked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate"]) == 0
    with Server(folder, "serve") as server:
        server.wait_for("There is no site yet. Stop this server, since one process owns the cell.")
        made = server.wait_for(
            rf"hansa (sites --folder {re.escape(str(folder))} key platform '\*')"
        )
        assert server.stop() == 0
    assert main(shlex.split(made[1])) == 0
    key = capsys.readouterr().out.split()[-1]
    assert main(["sites", "create", "Inn", "--host", "inn.localhost"]) == 0
    assert main(["sites", "create", "Bare"]) == 0
    with Server(folder, "serve") as server:
        server.wait_for(f"Inn: http://inn.localhost:{server.port}")
        server.wait_for("Bare: with the header Hansa-Site: site_")
        url = f"http://localhost:{server.port}"
        assert main(["sites", "--url", url, "--key", key, "create", "Third"]) == 0
        assert main(["sites", "list"]) == 1
        assert "Or work through the server: its address with --url" in capsys.readouterr().err
        assert main(["log", "skip", "site_x", "a.b", "evt"]) == 1
        assert "Or do it on its engineers' pages, /hansa" in capsys.readouterr().err
        assert server.stop() == 0


def test_a_planted_bug_is_told_shortly(tmp_path: Path) -> None:
    done = hansa(
        "torture", "--plant", "no-fsync", "--kills", "3", "--seed", "1", folder=tmp_path
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 24
    assert "checked in 1 look, of which the last had" in told
