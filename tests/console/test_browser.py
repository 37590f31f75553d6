"""The pages in a real browser, on a shop that is served by `hansa up`: on a phone and on a desk, in
the light and in the dark, they fit, can be used by the keyboard, and leave no error behind."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from hansa.testing import chromium
from tests.cli.server import READY, Server

PATHS: Final = ("/", "/services", "/services/commerce")
PHONE: Final = {"width": 360, "height": 740}
DESK: Final = {"width": 1280, "height": 800}


@dataclass
class Place:
    root: str
    key: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("pages") / "cell"
    with Server(folder) as server:
        server.wait_for(READY)
        yield Place(
            f"http://localhost:{server.port}", (folder / "operator.key").read_text().strip()
        )
        assert server.stop() == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium.find()
    if program is None:
        pytest.skip("there is no Chromium: make chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(chromium.ARGUMENTS))
        yield browser
        browser.close()


class Sight:
    """A browser's window, and every error that it has told of."""

    def __init__(self, context: BrowserContext, root: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(15_000)
        self.root = root
        self.errors: list[str] = []
        self.page.on("console", lambda told: self._told(told.type, told.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", self._failed)

    def _told(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(text)

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by the next page
            self.errors.append(f"{request.url}: {request.failure}")

    def open(self, path: str) -> None:
        answer = self.page.goto(f"{self.root}/hansa{path}", wait_until="load")
        assert answer is not None
        assert answer.status == 200, path

    def login(self, key: str) -> None:
        self.open("/login")
        self.page.get_by_label("A key of the platform").fill(key)
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", level=1)).to_have_text("Overview")

    def check_fits(self) -> None:
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wide, window = self.page.evaluate(widths)
        assert wide <= window, f"{self.page.url} is {wide} wide in a window of {window}"


@pytest.mark.parametrize(
    ("window", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")],
    ids=["phone-light", "phone-dark", "desk-light", "desk-dark"],
)  # fmt: skip
def test_every_page_fits_and_has_no_error(
    place: Place, browser: Browser, window: dict[str, int], scheme: str
) -> None:
    with browser.new_context(viewport=window, color_scheme=scheme) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        for path in PATHS:
            sight.open(path)
            expect(sight.page.get_by_role("heading", level=1)).to_be_visible()
            sight.check_fits()
            paper = sight.page.evaluate("getComputedStyle(document.body).backgroundColor")
            red = int(re.findall(r"\d+", paper)[0])
            assert (red > 200) == (scheme == "light")
        assert sight.errors == []


def test_they_can_be_used_by_the_keyboard(place: Place, browser: Browser) -> None:
    with browser.new_context(viewport=DESK) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        keyboard = sight.page.keyboard
        keyboard.press("Tab")
        expect(sight.page.locator(":focus")).to_have_text("Skip to the page")
        for name in ("Hansa", "Overview", "Services"):
            keyboard.press("Tab")
            expect(sight.page.locator(":focus")).to_have_text(name)
        keyboard.press("Enter")
        expect(sight.page.get_by_role("heading", level=1)).to_have_text("Services")
        sight.page.get_by_role("button", name="Log out").press("Enter")
        expect(sight.page.get_by_label("A key of the platform")).to_be_focused()
        assert sight.errors == []
