"""`hansa up --split`: platform in front, the shop behind it; one that is killed is waited for."""

import json
import os
import random
import re
import signal
import subprocess
import threading
import urllib.request
from pathlib import Path
from typing import Any

from tests.cli.server import Server, free_port, hansa


def children(server: Server, service: str = "") -> list[int]:
    """The processes that the server has started, of one service or of all."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(server.process.pid)],
        text=True, capture_output=True,
    )  # fmt: skip
    lines = [line.split() for line in found.stdout.splitlines()]
    return [int(line[0]) for line in lines if not service or service in line]


def is_running(process: int) -> bool:
    """Tell whether it is; one that has ended may stay as a zombie, without a command line."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except FileNotFoundError:
        return False


def ask(server: Server, path: str, body: Any = None, **headers: str) -> Any:
    request = urllib.request.Request(
        f"http://localhost:{server.port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def buy(server: Server) -> Any:
    """Buy one of any product on sale: there are enough of all, not of each."""
    handle = random.choice(ask(server, "/commerce/products?limit=20")["items"])["handle"]
    variant = ask(server, f"/commerce/products/{handle}")["variants"][0]
    cart = ask(server, "/commerce/carts", {"lines": [{"variant_id": variant["id"], "quantity": 1}]})
    body = {"version": 1, "expected_total": variant["price"], "payment": "tok_ok"}
    key = {"Idempotency-Key": cart["id"]}
    return ask(server, f"/commerce/carts/{cart['id']}/complete", body, **key)


def test_a_service_that_is_killed_is_waited_for(tmp_path: Path) -> None:
    with Server(tmp_path, "up", "--split") as server:
        server.wait_for(r"what is in \S+ stays")
        numbers: list[int] = []
        failed: list[Exception] = []
        over = threading.Event()

        def client() -> None:
            while not over.is_set() or len(numbers) < 6:
                try:
                    numbers.append(buy(server)["number"])
                except Exception as error:
                    failed.append(error)
                    return

        threads = [threading.Thread(target=client) for _ in range(3)]
        for thread in threads:
            thread.start()
        for how in (signal.SIGKILL, signal.SIGTERM):
            (child,) = children(server, "commerce")
            before = len(numbers)
            os.kill(child, how)
            server.wait_for(r"Hansa serves on \S+")
            while len(numbers) < before + 3 and not failed:
                over.wait(0.01)
        over.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        started = children(server)
        assert server.stop() == 0
        assert started
        assert not [child for child in started if Path(f"/proc/{child}").exists()]
    key = re.compile(r"hansa_\S+")
    assert key.match((tmp_path / "split" / "platform" / "demo.key").read_text())


def test_a_placement_that_does_not_fit_is_told(tmp_path: Path) -> None:
    file = tmp_path / "placement.toml"
    file.write_text("[processes.a]\nurls=['http://127.0.0.1:1']\nservices=['sites']\n")
    assert hansa("migrate", folder=tmp_path / "cell").returncode == 0
    for arguments, why in (
        (("--services", "commerce", "--placement", str(file)), "no entry serves just commerce"),
        (("--services", "commerce"), "--services needs a --placement"),
        (("--services", "sites", "--placement", str(tmp_path / "none")), "No such file"),
    ):
        port = str(free_port())
        refused = hansa("serve", "--port", port, *arguments, folder=tmp_path / "cell")
        assert refused.returncode == 1
        assert why in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_second_one_changes_nothing_and_what_a_killed_one_leaves_ends(tmp_path: Path) -> None:
    placement = tmp_path / "split" / "placement.toml"
    with Server(tmp_path, "up", "--split") as first:
        first.wait_for(r"what is in \S+ stays")
        before = placement.read_bytes()
        second = hansa("up", "--split", "--port", str(free_port()), folder=tmp_path)
        assert second.returncode == 1
        assert f"runs already in {tmp_path}, as process {first.process.pid}" in second.stderr
        assert second.stderr.count("\n") == 1
        elsewhere = hansa("up", "--split", "--port", str(first.port), folder=tmp_path / "other")
        assert elsewhere.returncode == 1
        assert f"already listens on 127.0.0.1:{first.port}" in elsewhere.stderr
        assert elsewhere.stderr.count("\n") == 1
        assert placement.read_bytes() == before
        (orphan,) = children(first, "commerce")
        first.process.kill()
        first.process.wait()
    with Server(tmp_path, "up", "--split") as third:
        log = re.escape(
            f"log events --type commerce.product_created --folder {tmp_path / 'split' / 'commerce'}"
        )
        third.wait_for(rf"(?s){log}\n.*what is in \S+ stays")
        assert orphan not in children(third)
        assert not is_running(orphan)
        assert buy(third)["number"] == 1
        assert third.stop() == 0
