"""The pages as `hansa up` serves them to a browser, with a quay where things go wrong."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.cli.server import READY, Server

PROJECT = """[tool.hansa]
services = [
  "hansa.business.commerce", "hansa.platform.search", "hansa.platform.webhooks",
  "hansa.platform.mail",
  "tests.console.quay",
]
"""


@dataclass
class Place:
    """A running server, and the keys of the platform and of the site."""

    root: str
    key: str
    site_key: str

    def call(self, method: str, path: str, body: Any = None, key: str = "") -> Any:
        """Return what the API answers to a key of the site, or to another."""
        headers = {
            "authorization": f"Bearer {key or self.site_key}",
            "content-type": "application/json",
        }
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.root + path, data, headers, method=method)
        with urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def arrive(self, name: str, tonnes: int = 1) -> None:
        """Have a ship arrive; one of no tonnes is trouble."""
        self.call("POST", "/quay/ships", {"name": name, "tonnes": tonnes})

    def find(self, q: str) -> None:
        """Search the shop, once its products are there to be found."""
        while True:
            try:
                self.call("POST", "/search/collections/products/search", {"q": q})
                return
            except HTTPError as refused:
                if refused.code != 503:
                    raise

    @property
    def site(self) -> str:
        found = self.call("GET", "/sites", key=self.key)
        return str(found["items"][0]["id"])


@contextmanager
def serving(folder: Path) -> Iterator[Place]:
    """Serve a project in a folder until the body ends."""
    (folder / "pyproject.toml").write_text(PROJECT)
    cell = folder / "cell"
    with Server(cell, "up", cwd=folder) as server:
        server.wait_for(READY)
        out = server.process.stdout
        assert out is not None
        reading = threading.Thread(target=out.read)  # who is not read from stands still
        reading.start()
        yield Place(
            f"http://localhost:{server.port}", (cell / "operator.key").read_text().strip(),
            (cell / "demo.key").read_text().strip(),
        )  # fmt: skip
        assert server.stop() == 0
        reading.join()
