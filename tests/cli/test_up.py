"""`hansa up` on a fresh folder sells at once, keeps everything, and stops in good order."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansa.assembly import Cell
from hansa.cli import up
from hansa.cli.main import main
from hansa.kernel.ids import typeid
from hansa.platform.sites.keys import key_text, new_secret
from tests.cli.server import READY, Server, free_port, hansa


def fetch(server: Server, path: str) -> Any:
    with urllib.request.urlopen(f"http://localhost:{server.port}{path}", timeout=20) as answer:
        return json.loads(answer.read())


def test_what_it_prints_works_and_a_second_start_keeps_everything(tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    with Server(folder) as server:
        printed = server.wait_for(READY).group()
        commands = [
            line.strip() for line in printed.splitlines() if line.strip().startswith("curl")
        ]
        assert len(commands) == 2
        made = [
            json.loads(subprocess.run(
                [*shlex.split(command), "-sS", "--fail-with-body"],
                capture_output=True, text=True, check=True, timeout=30,
            ).stdout)
            for command in commands
        ]  # fmt: skip
        assert len(made[0]["items"]) == 3
        handle = made[1]["product"]["handle"]
        log = next(line for line in printed.splitlines() if " log events" in line)
        shown = hansa(*log.split("hansa.cli ")[1].split(), folder=folder)
        assert handle in shown.stdout, shown.stderr
        assert "in use" in hansa("sites", "list", folder=folder).stderr
        assert server.stop() == 0
    key = (folder / "demo.key").read_text()
    assert (folder / "demo.key").stat().st_mode & 0o077 == 0
    with Server(folder) as server:
        server.wait_for(READY)
        assert fetch(server, f"/commerce/products/{handle}")["product"]["handle"] == handle
        assert server.stop(signal.SIGINT) == 0
    assert (folder / "demo.key").read_text() == key
    sites = hansa("sites", "list", folder=folder).stdout.splitlines()
    (site,) = sites
    assert "Demo shop" in site
    assert "demo.localhost" in site


def test_keys_that_a_new_cell_does_not_know_are_made_anew(tmp_path: Path) -> None:
    keys: list[list[str]] = []
    for _ in range(2):
        with Server(tmp_path) as server:
            server.wait_for(READY)
            keys.append([(tmp_path / f"{one}.key").read_text() for one in ("operator", "demo")])
            url = f"http://localhost:{server.port}"
            command = ("sites", "--url", url, "--key", keys[-1][0].strip(), "list")
            assert "Demo shop" in hansa(*command, folder=tmp_path).stdout
            assert server.stop() == 0
        for file in tmp_path.glob("hansa.db*"):
            file.unlink()
    assert not set(keys[0]) & set(keys[1])


def sells(folder: Path) -> str:
    """Start and stop; return the demo site's key, once the shop has shown something."""
    with Server(folder) as server:
        server.wait_for(READY)
        key = (folder / "demo.key").read_text().strip()
        assert len(fetch(server, "/commerce/products?limit=1")["items"]) == 1
        assert server.stop() == 0
    return key


def test_it_starts_again_where_the_demo_site_was_erased(tmp_path: Path) -> None:
    before = sells(tmp_path)
    (site,) = json.loads(hansa("sites", "list", "--json", folder=tmp_path).stdout)
    erased = hansa("sites", "erase", site["id"], "--yes", folder=tmp_path)
    assert erased.returncode == 0, erased.stderr
    after = sells(tmp_path)
    assert after != before
    assert sells(tmp_path) == after


def test_keys_of_another_cell_cost_no_start(tmp_path: Path) -> None:
    """As after `up --database` in the same folder, and longer ago than answers are kept."""
    sells(tmp_path)
    with closing(apsw.Connection(str(tmp_path / "hansa.db"))) as cell:
        cell.execute("DELETE FROM hansa_keys")
    for name in ("demo", "operator"):
        (tmp_path / f"{name}.key").write_text(key_text(typeid("key", 1, 1), new_secret()))
    key = sells(tmp_path)
    assert sells(tmp_path) == key
    assert len(hansa("sites", "list", folder=tmp_path).stdout.splitlines()) == 1


def test_it_is_not_ready_before_the_demo_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked by the one who makes the demo, just before it is begun and again when it is done."""
    port, made, told = free_port(), up.demo_key, list[int]()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        told.append(int((await reader.readline()).split()[1]))
        writer.close()

    async def making(cell: Cell, folder: Path) -> str:
        await ask()
        key = await made(cell, folder)
        asyncio.get_running_loop().call_later(0, lambda: tasks.append(asyncio.ensure_future(end())))
        return key

    async def end() -> None:
        await ask()
        os.kill(os.getpid(), signal.SIGTERM)

    tasks: list[asyncio.Future[None]] = []
    monkeypatch.setattr(up, "demo_key", making)
    assert main(["up", "--folder", str(tmp_path), "--port", str(port)]) == 0
    assert told == [503, 200]
    assert READY_NOW in capsys.readouterr().out


READY_NOW = "Hansa serves a demo shop"


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with Server(tmp_path / "one") as server:
        server.wait_for(READY)
        second = hansa("up", "--port", str(server.port), folder=tmp_path / "two")
        assert second.returncode == 1
        assert f"already listens on 127.0.0.1:{server.port}" in second.stderr
        assert "Traceback" not in second.stderr


def test_a_request_under_way_is_answered_before_it_stops(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.wait_for(READY)
        url = f"http://localhost:{server.port}/commerce"
        listed = fetch(server, "/commerce/products?limit=1")["items"][0]
        variant = fetch(server, f"/commerce/products/{listed['handle']}")["variants"][0]

        def post(path: str, body: Any) -> Any:
            request = urllib.request.Request(
                url + path, json.dumps(body).encode(), {"content-type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read())

        cart = post("/carts", {"lines": [{"variant_id": variant["id"], "quantity": 1}]})
        order = post(
            f"/carts/{cart['id']}/complete",
            {"version": 1, "expected_total": variant["price"], "payment": "tok_ok"},
        )
        assert order["number"] == 1
        assert server.stop() == 0
    events = hansa("log", "events", "--limit", "1000", folder=tmp_path)
    assert events.stdout.count("commerce.order_placed") == 1, events.stderr


BEACON = '''
"""Beacon: shines, so that ships find the harbour."""

from hansa.kernel.context import Context
from hansa.kernel.operation import PUBLIC
from hansa.kernel.service import Service

beacon = Service("beacon", owner="tests", package=__name__)


@beacon.query("GET /dark", needs=PUBLIC)
async def look(ctx: Context) -> str:
    """See how it shines."""
    return "so"
'''


def test_reload_starts_again_when_a_file_is_saved(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    services = '["hansa.business.commerce", "hansa.platform.search", "beacon"]'
    (project / "pyproject.toml").write_text(f"[tool.hansa]\nservices = {services}\n")
    code = project / "beacon.py"
    code.write_text(BEACON)
    with Server(tmp_path, "up", "--reload", cwd=project) as server:
        server.wait_for(READY)
        code.write_text(BEACON.replace("dark", "bright"))
        server.wait_for("starting again")
        server.wait_for(READY)
        assert "/beacon/bright" in fetch(server, "/openapi.json")["paths"], server.said
        assert server.stop() in (0, -signal.SIGTERM)
    assert re.search("Demo shop", hansa("sites", "list", folder=tmp_path).stdout), "it is free"


@pytest.mark.parametrize("verb", ["serve"])
def test_serve_refuses_what_is_not_there_or_not_up_to_date(tmp_path: Path, verb: str) -> None:
    empty = hansa(verb, "--port", str(free_port()), folder=tmp_path / "nothing")
    assert empty.returncode == 1
    assert "There is no cell in" in empty.stderr
    assert "Traceback" not in empty.stderr
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "hansa.db").touch()
    old = hansa(verb, "--port", str(free_port()), folder=folder)
    assert old.returncode == 1
    assert "hansa migrate" in old.stderr
    assert hansa("migrate", folder=folder).returncode == 0
    with Server(folder, "serve") as server:
        server.wait_for("Hansa serves on")
        assert fetch(server, "/readyz") == {"status": "ready"}
        assert server.stop() == 0
