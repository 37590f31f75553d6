"""A lost master key is never replaced in silence, and what a cell has is its owner's alone."""

import io
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from hansa.cli.main import main
from tests.cli.server import READY, ROOT, Server, free_port

SMTP = '{"host": "smtp.example", "sender": "a@a.example", "password": "open sesame"}'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HANSA_FOLDER", str(tmp_path / "cell"))
    for name in ("HANSA_DATABASE", "HANSA_OWNER_DATABASE", "HANSA_MASTER_KEY", "HANSA_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cell"


def site_of(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["sites", "create", "shop"]) == 0
    site = capsys.readouterr().out.strip()
    assert main(["sites", "set", site, "mail.smtp", SMTP]) == 0
    capsys.readouterr()
    return site


def hansa_started(*command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "hansa.cli", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def refused(capsys: pytest.CaptureFixture[str], line: str) -> str:
    assert main(line.split()) == 1, line
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "up --port 8499",
        "serve --port 8499",
        "sites create other",
        "log replay-due site_x due",
        "secrets rotate",
        "import FILE",
    ],
)
def test_a_cell_without_its_master_key_is_not_opened(
    line: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site_of(capsys)
    key = folder / "master.key"
    kept = key.read_bytes()
    key.unlink()
    (tmp_path / "file").write_text("{}\n")
    line = line.replace("FILE", str(tmp_path / "file"))
    told = refused(capsys, line)
    assert "opens with the master key" in told
    assert "hansa secrets abandon" in told
    assert not key.exists()
    assert main(["secrets", "new-key"]) == 0
    key.write_text(capsys.readouterr().out)
    key.chmod(0o600)
    assert "has another one" in refused(capsys, line)
    key.write_bytes(kept)
    assert main(["sites", "list"]) == 0


def test_split_cells_without_their_master_key_are_not_opened(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "split" / "commerce").mkdir(parents=True)
    (folder / "split" / "commerce" / "hansa.db").touch()
    assert "split/master.key is not there" in refused(capsys, f"up --split --port {free_port()}")
    assert not (folder / "split" / "master.key").exists()


def test_a_wrong_key_of_the_environment_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site_of(capsys)
    assert main(["secrets", "new-key"]) == 0
    other = capsys.readouterr().out.strip()
    monkeypatch.setenv("HANSA_MASTER_KEY", other)
    assert "HANSA_MASTER_KEY has another one" in refused(capsys, "sites list")
    own = (folder / "master.key").read_text().strip()
    monkeypatch.setenv("HANSA_MASTER_KEY", f"{other},{own}")
    assert main(["sites", "list"]) == 0


def test_a_lost_key_is_given_up_only_by_who_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(folder) as server:
        server.wait_for(READY)
        assert server.stop() == 0
    assert "nothing to abandon" in refused(capsys, "secrets abandon --yes")
    (folder / "master.key").unlink()
    (folder / "demo.key").unlink()
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert "nothing was changed" in refused(capsys, "secrets abandon")
    assert not (folder / "master.key").exists()
    assert main(["secrets", "abandon", "--yes"]) == 0
    assert "2 values stay closed" in capsys.readouterr().out
    with Server(folder) as server:  # and the keys that it cannot show again are made anew
        server.wait_for(READY)
        assert server.stop() == 0
    assert (folder / "demo.key").read_text().startswith("hansa_")


def test_a_copy_is_restored_without_its_key_and_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = site_of(capsys)
    assert main(["backup", "--to", str(tmp_path / "copy")]) == 0
    (folder / "master.key").unlink()
    back = f"restore --from {tmp_path / 'copy'} --force"
    assert "--without-key" in refused(capsys, back)
    assert main([*back.split(), "--without-key"]) == 0
    assert main(["sites", "list"]) == 0
    assert site in capsys.readouterr().out
    assert main(["sites", "set", site, "mail.smtp", SMTP]) == 0


def test_all_that_a_cell_leaves_is_its_owners_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Server(folder) as server:
        server.wait_for(READY)
        assert main(["backup", "--to", str(tmp_path / "copy")]) == 0
        for depot, begins in (("/proc/no/such", "As soon as"), (tmp_path / "depot", "Shipping")):
            shipping = hansa_started("ship", "--to", str(depot), "--every", "0.1")
            assert shipping.stdout is not None
            assert shipping.stdout.readline().startswith(begins)
            shipping.terminate()
            assert shipping.wait(60) == 0
        open_to_others = [
            f"{path} {path.stat().st_mode:o}"
            for root in (folder, tmp_path / "copy", tmp_path / "depot")
            for path in (root, *root.rglob("*"))
            if path.stat().st_mode & 0o077
        ]
        assert open_to_others == []
        assert json.loads((tmp_path / "copy" / "manifest.json").read_text())["parts"]
        assert server.stop() == 0


def post(server: Server, path: str, body: object) -> Any:
    request = urllib.request.Request(
        f"http://localhost:{server.port}/commerce{path}", json.dumps(body).encode(),
        {"content-type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def test_of_an_erased_site_nothing_is_left_in_the_files(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "ann.only@mail.example"
    with Server(folder) as server:
        server.wait_for(READY)
        cart = post(server, "/carts", {"lines": [], "email": secret})
        assert cart["email"] == secret
        assert server.stop() == 0
    assert secret.encode() in (folder / "hansa.db").read_bytes()
    assert main(["sites", "list"]) == 0
    site = capsys.readouterr().out.split()[0]
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "say --yes" in refused(capsys, f"sites erase {site}")
    assert main(["sites", "erase", site, "--yes"]) == 0
    found = [str(one) for one in folder.rglob("*") if one.is_file()
             and secret.encode() in one.read_bytes()]  # fmt: skip
    assert found == []
    assert "it is erased already" in refused(capsys, f"sites erase {site} --yes")
