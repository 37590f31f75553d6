"""A shop that runs, for clients that generators made from its description."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.server import READY, ROOT, Server


@dataclass(frozen=True)
class Shop:
    """Where the shop is, its owner's key, and its description in a file."""

    url: str
    key: str
    openapi: Path


def run(folder: Path, *command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run a program to its end in a folder; return what it printed."""
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=300
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="package")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The demo shop, in a process of its own."""
    folder = tmp_path_factory.mktemp("shop")
    openapi = folder / "openapi.json"
    openapi.write_text(run(ROOT, sys.executable, "-m", "hansa.cli", "describe", "openapi"))
    with Server(folder / "cell") as server:
        server.wait_for(READY)
        url = f"http://localhost:{server.port}"
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=20) as answer:
            assert json.loads(answer.read()) == json.loads(openapi.read_text())
        yield Shop(url, (folder / "cell" / "demo.key").read_text().strip(), openapi)
        assert server.stop() == 0
