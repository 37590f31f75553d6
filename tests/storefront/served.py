"""The shop as `hansa up` serves it to a browser, and a browser that tells of every error."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, Request

from tests.cli.server import READY, Server


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the demo shop in a folder until the body ends; give its address."""
    with Server(folder / "cell", "up") as server:
        server.wait_for(READY)
        out = server.process.stdout
        assert out is not None
        reading = threading.Thread(target=out.read)  # who is not read from stands still
        reading.start()
        yield f"http://localhost:{server.port}/shop"
        assert server.stop() == 0
        reading.join()


class Sight:
    """A browser's window on the shop, every error that it has told of, and whom it asked."""

    def __init__(self, context: BrowserContext, root: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(15_000)
        self.root = root
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", lambda told: self._told(told.type, told.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", self._failed)
        self.page.on("request", self._asked)

    def _told(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(text)

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by the next page, or the next letter
            self.errors.append(f"{request.url}: {request.failure}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith(self.root):
            self.strangers.append(request.url)

    def open(self, path: str) -> None:
        """Load a page that is there."""
        answer = self.page.goto(self.root + path, wait_until="load")
        assert answer is not None
        assert answer.status == 200, path

    def titles(self) -> list[str]:
        """Return the titles of the products that are shown."""
        return self.page.locator(".card .title").all_inner_texts()

    def check_fits(self) -> None:
        """Check that nothing is wider than the window."""
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wide, window = self.page.evaluate(widths)
        assert wide <= window, f"{self.page.url} is {wide} wide in a window of {window}"

    def check_clean(self) -> None:
        """Check that no error was told and nobody else asked."""
        assert self.errors == []
        assert self.strangers == []
