"""The pages in a real browser, on a shop that is served by `hansa up`: on a phone and on a desk, in
the light and in the dark, they fit, can be used by the keyboard, and leave no error behind."""

import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from hansa.testing import chromium
from tests.console.served import Place, serving

PHONE: Final = {"width": 390, "height": 780}
DESK: Final = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with serving(tmp_path_factory.mktemp("pages")) as place:
        url = "https://hooks.invalid/a/rather/long/path/that/does/not/break/anywhere"
        place.call("POST", "/webhooks/endpoints", {"url": url})
        place.arrive("Ghost", 0)
        place.find("mug")
        yield place


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

    def link(self, path: str, name: str) -> str:
        """Return where the first link of a name leads, on a page where there will be one."""
        self.open(path)
        leads = self.page.get_by_role("link", name=name).first.get_attribute("href")
        assert leads is not None
        return leads.removeprefix("/hansa")

    def login(self, key: str) -> None:
        self.open("/login")
        self.page.get_by_label("A key of the platform").fill(key)
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", level=1)).to_have_text("Overview")

    def check_fits(self) -> None:
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wide, window = self.page.evaluate(widths)
        assert wide <= window, f"{self.page.url} is {wide} wide in a window of {window}"


def paths(sight: Sight, place: Place) -> Iterator[str]:
    """Give the address of each page, those of single things too."""
    yield from ("/", "/services", "/services/commerce", "/api", "/api/commerce.create_product")
    yield from ("/log", "/log/1", "/deliveries", "/due", "/due?state=parked", "/sites", "/cells")
    yield from (f"/sites/{place.site}", "/mail", sight.link("/mail", "Ghost is here"))
    yield sight.link("/deliveries", "quay.unload")
    yield sight.link("/due?state=parked", "quay.tow")
    endpoint = sight.link("/webhooks", "https://hooks.invalid/")
    yield from (
        "/statements",
        "/traces",
        sight.link("/traces?name=quay.arrive", "quay.arrive"),
    )
    products = f"/search/{place.site}/products"
    yield from ("/search", f"{products}?q=mug&compare=1", f"{products}?filter=colour+%3D")
    yield from (f"{products}/{page}" for page in ("words", "rules", "json", "analytics"))
    yield from ("/find?q=order", "/problems")
    yield from ("/webhooks", endpoint, sight.link(f"{endpoint}?state=waiting", "1"))


@pytest.mark.parametrize(
    ("window", "scheme"), [(PHONE, "light"), (DESK, "dark")], ids=["phone", "desk-dark"]
)  # fmt: skip
def test_every_page_fits_and_has_no_error(
    place: Place, browser: Browser, window: dict[str, int], scheme: str
) -> None:
    with browser.new_context(viewport=window, color_scheme=scheme) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        for path in paths(sight, place):
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
        keyboard.press("Tab")
        expect(sight.page.locator(":focus")).to_have_text("Hansa")
        keyboard.press("Tab")
        expect(sight.page.locator(":focus")).to_have_attribute("name", "q")
        for name in ("Overview", "Services"):
            keyboard.press("Tab")
            expect(sight.page.locator(":focus")).to_have_text(name)
        keyboard.press("Enter")
        expect(sight.page.get_by_role("heading", level=1)).to_have_text("Services")
        sight.page.get_by_role("button", name="Log out").press("Enter")
        expect(sight.page.get_by_label("A key of the platform")).to_be_focused()
        assert sight.errors == []


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_a_key_leads_to_everything(place: Place, browser: Browser, window: dict[str, int]) -> None:
    with browser.new_context(viewport=window) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        keyboard, finds = sight.page.keyboard, sight.page.locator("#finds")
        keyboard.press("/")
        keyboard.type("shp arived")
        expect(finds).to_contain_text("quay.ship_arrived")
        sight.check_fits()
        keyboard.press("ArrowDown")
        expect(finds.locator(":focus")).to_contain_text("quay.ship_arrived")
        keyboard.press("ArrowUp")
        keyboard.press("Escape")
        expect(finds).to_be_empty()
        keyboard.press("/")
        keyboard.type("unload")
        expect(finds).to_contain_text("hears quay.ship_arrived")
        keyboard.press("ArrowDown")
        keyboard.press("Enter")
        expect(sight.page.get_by_role("heading", level=1)).to_have_text("quay")
        keyboard.press("/")
        keyboard.type(place.site)
        keyboard.press("Enter")
        expect(sight.page.get_by_text("slot ")).to_be_visible()
        assert sight.page.url.endswith(f"/sites/{place.site}")
        assert sight.errors == []


def test_a_query_is_tried_as_one_types_and_put_right(place: Place, browser: Browser) -> None:
    with browser.new_context(viewport=PHONE) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        sight.open(f"/search/{place.site}/products")
        query, found = sight.page.get_by_label("Query"), sight.page.locator("#found")
        query.press_sequentially("stonewa")
        sight.page.get_by_label("as while typing").check()
        expect(found.locator("h3").first).to_contain_text("Stoneware mug")
        expect(found.locator("mark").first).to_be_visible()
        sight.page.get_by_label("Filter").fill("price_minor <")
        expect(found.get_by_role("alert")).to_contain_text("At 13")
        sight.page.get_by_label("Filter").fill("")
        found.get_by_text("Why here").first.click()
        expect(found.get_by_text("It has all words.").first).to_be_visible()
        sight.check_fits()
        found.get_by_role("button", name="Hide").first.click()
        expect(found.get_by_text("Hidden for this query")).to_be_visible()
        expect(query).to_have_value("stonewa")
        found.get_by_role("button", name="Show again").click()
        expect(found.locator("h3").first).to_contain_text("Stoneware mug")
        assert sight.errors == []


def test_a_page_follows_what_happens(place: Place, browser: Browser) -> None:
    with browser.new_context(viewport=DESK) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        sight.open("/log?type=quay.ship_arrived")
        sight.page.evaluate("window.isTheSame = true")
        place.arrive("Aurora")
        expect(sight.page.locator("#rows")).to_contain_text("quay:Aurora")
        assert sight.page.evaluate("window.isTheSame")
        assert sight.errors == []


def test_a_parked_event_is_mended_by_hand(place: Place, browser: Browser) -> None:
    with browser.new_context(viewport=PHONE) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        place.arrive("Wreck", 0)
        sight.open("/deliveries")
        row = sight.page.get_by_role("row").filter(has_text="Wreck")
        row.get_by_role("link", name="quay.unload").click()
        expect(sight.page.get_by_text("carries nothing").first).to_be_visible()
        sight.check_fits()
        data = sight.page.get_by_label("What this subscriber is given")
        data.fill(data.input_value().replace('"tonnes": 0', '"tonnes": 7'))
        sight.page.get_by_role("button", name="Replay with this").click()
        expect(sight.page.get_by_role("heading", level=1)).to_have_text("Deliveries")
        expect(row).to_have_count(0)
        sight.open("/log")
        expect(sight.page.locator("#rows")).to_contain_text("interventions.delivery_replayed")
        assert sight.errors == []


def test_a_trace_shows_its_statements(place: Place, browser: Browser) -> None:
    with browser.new_context(viewport=PHONE) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        place.arrive("Fram")
        sight.open("/traces?name=quay.arrive")
        sight.page.get_by_role("link", name="quay.arrive").first.click()
        expect(sight.page.get_by_role("heading", level=1)).to_have_text("quay.arrive")
        sight.page.locator("details.sql").first.locator("summary").click()
        expect(sight.page.locator("details.sql pre").first).to_be_visible()
        expect(sight.page.get_by_text('"tonnes": ').first).to_be_visible()
        sight.check_fits()
        assert sight.errors == []


def test_skipping_asks_first(place: Place, browser: Browser) -> None:
    with browser.new_context(viewport=DESK) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        place.arrive("Lost", 0)
        sight.open("/deliveries")
        row = sight.page.get_by_role("row").filter(has_text="Lost")
        sight.page.once("dialog", lambda dialog: dialog.dismiss())
        row.get_by_role("button", name="Skip").click()
        expect(row).to_have_count(1)
        sight.page.once("dialog", lambda dialog: dialog.accept())
        row.get_by_role("button", name="Skip").click()
        expect(row).to_have_count(0)
        assert sight.errors == []


def test_an_operation_is_tried_in_place(place: Place, browser: Browser) -> None:
    with browser.new_context(viewport=DESK) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        sight.login(place.key)
        sight.open("/api?find=ships")
        sight.page.get_by_role("link", name="/quay/ships").click()
        sight.page.get_by_label("Key").fill(place.site_key)
        sight.page.get_by_label("Body").fill('{"name": "Nadezhda", "tonnes": 12}')
        sight.page.get_by_role("button", name="Send").click()
        expect(sight.page.locator("#answer")).to_contain_text('"name": "Nadezhda"')
        expect(sight.page.get_by_label("Body")).to_have_value('{"name": "Nadezhda", "tonnes": 12}')
        assert sight.errors == []


def test_who_is_not_let_in(place: Place, browser: Browser) -> None:
    with browser.new_context(viewport=PHONE) as context:  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        sight = Sight(context, place.root)
        for key, told in (("hansa_nonsense", "not known"), (place.site_key, "key of one site")):
            sight.open("/login")
            sight.page.get_by_label("A key of the platform").fill(key)
            sight.page.keyboard.press("Enter")
            expect(sight.page.get_by_role("alert")).to_contain_text(told)
        sight.open("/cells")
        expect(sight.page.get_by_label("A key of the platform")).to_be_visible()
        sight.login(place.key)
        sight.page.locator("input[name=token]").evaluate_all(
            "all => all.forEach(one => one.value = 'f'.repeat(64))"
        )
        sight.page.get_by_role("button", name="Log out").click()
        expect(sight.page.get_by_text("not from a page of this session")).to_be_visible()
