"""The shop in a real browser, as `hansa up` serves it: from a typing error to the order, on a phone
and on a desk, in the light and in the dark, by the keyboard, and without scripts."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from hansa.testing import chromium
from tests.storefront.served import Sight, serving

PHONE: Final[Any] = {"width": 375, "height": 760}
DESK: Final[Any] = {"width": 1280, "height": 800}
WIDE: Final[Any] = {"width": 1920, "height": 1080}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("shop")) as root:
        yield root


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium.find()
    if program is None:
        pytest.skip("there is no Chromium: make chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(chromium.ARGUMENTS))
        yield browser
        browser.close()


@pytest.mark.parametrize(
    ("window", "scheme"), [(PHONE, "light"), (DESK, "dark")], ids=["phone", "desk-dark"]
)  # fmt: skip
def test_from_a_typing_error_to_the_order(
    root: str, browser: Browser, window: Any, scheme: Any
) -> None:
    with browser.new_context(viewport=window, color_scheme=scheme) as context:
        sight = Sight(context, root)
        page = sight.page
        sight.open("/")
        page.evaluate("window.isTheSame = true")
        page.get_by_label("Search the shop").press_sequentially("wooll", delay=20)
        expect(page.get_by_text("Showing results for wool")).to_be_visible()
        page.wait_for_url("**/shop/?q=wooll")
        expect(page.locator(".card")).to_have_count(7)
        for choice in ("Clothes", "Blue"):
            if window is PHONE and not page.locator("#refine").is_checked():
                page.get_by_text("Refine", exact=True).click()
            page.locator(".option").filter(has_text=choice).click()
            expect(page.locator(".chip").filter(has_text=choice)).to_be_visible()
        expect(page.locator(".card")).to_have_count(2)
        sight.check_fits()
        assert page.evaluate("window.isTheSame"), "the page was not loaded again"
        page.get_by_role("link", name="Merino cap").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Merino cap")
        page.wait_for_url("**/shop/products/merino-cap")
        sight.check_fits()
        page.get_by_role("button", name="Put into the cart").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Cart")
        sight.check_fits()
        page.get_by_label("Your e-mail").fill("ada@example.com")
        page.get_by_role("button", name="Buy for €29.00").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
        expect(page.get_by_text(re.compile(r"^Order \d+$"))).to_be_visible()
        sight.check_fits()
        sight.check_clean()


@pytest.mark.parametrize(
    ("window", "scheme"), [(PHONE, "dark"), (WIDE, "light")], ids=["phone-dark", "wide"]
)  # fmt: skip
def test_every_page_fits(root: str, browser: Browser, window: Any, scheme: Any) -> None:
    with browser.new_context(viewport=window, color_scheme=scheme) as context:
        sight = Sight(context, root)
        for path in ("/", "/?q=wool", "/?q=qqqqzzzz&brand=Kogge", "/?page=3", "/?q=" + "w" * 190,
                     "/products/rain-jacket", "/products/card-game", "/cart"):  # fmt: skip
            sight.open(path)
            expect(sight.page.get_by_role("heading", level=1)).to_be_visible()
            sight.check_fits()
            paper = sight.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (int(re.findall(r"\d+", paper)[0]) > 200) == (scheme == "light")
        sight.check_clean()


def test_back_goes_through_what_was_chosen(root: str, browser: Browser) -> None:
    with browser.new_context(viewport=DESK) as context:
        sight = Sight(context, root)
        page = sight.page
        sight.open("/")
        page.get_by_label("Search the shop").fill("wool")
        expect(page.locator("h1")).to_have_text("“wool”")
        page.locator(".option").filter(has_text="Clothes").click()
        expect(page.locator(".chip")).to_have_text("Remove Clothes")
        found = sight.titles()
        page.get_by_role("link", name="Price, high first").click()
        expect(page.locator(".orders [aria-current]")).to_have_text("Price, high first")
        page.locator(".card a").first.click()
        expect(page.get_by_role("button", name="Put into the cart")).to_be_visible()
        page.go_back()
        expect(page.locator(".orders [aria-current]")).to_have_text("Price, high first")
        page.go_back()
        expect(page.locator(".orders [aria-current]")).to_have_text("Best match")
        assert sight.titles() == found
        page.go_back()
        expect(page.locator(".chip")).to_have_count(0)
        expect(page.get_by_label("Search the shop")).to_have_value("wool")
        page.get_by_label("Search the shop").fill("")
        expect(page.locator("h1")).to_have_text("Everything in the shop")
        page.reload()
        expect(page.locator("h1")).to_have_text("Everything in the shop")
        sight.check_clean()


def test_only_the_last_of_what_was_typed_counts(root: str, browser: Browser) -> None:
    with browser.new_context(viewport=DESK) as context:
        sight = Sight(context, root)
        page = sight.page
        sight.open("/")
        field = page.get_by_label("Search the shop")
        page.route("**/results?q=mug", lambda route: None)  # is never answered
        field.fill("mug")
        with page.expect_request("**/results?q=mug"):
            pass
        field.fill("kettle")
        expect(page.locator("h1")).to_have_text("“kettle”")
        page.unroute("**/results?q=mug")
        expect(page.locator("h1")).to_have_text("“kettle”")
        assert sight.titles() == ["Enamel kettle"]
        assert page.url.endswith("/shop/?q=kettle")
        sight.check_clean()


def test_it_can_be_used_by_the_keyboard(root: str, browser: Browser) -> None:
    with browser.new_context(viewport=DESK) as context:
        sight = Sight(context, root)
        page = sight.page
        sight.open("/")
        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text("Skip to the page")
        page.keyboard.press("/")
        expect(page.get_by_label("Search the shop")).to_be_focused()
        page.keyboard.type("wool")
        expect(page.locator("h1")).to_have_text("“wool”")
        expect(page.get_by_label("Search the shop")).to_be_focused()
        choice = page.locator(".option").filter(has_text="Clothes")
        choice.focus()
        page.keyboard.press("Enter")
        expect(page.locator(".option.on")).to_have_text(re.compile("Clothes"))
        expect(page.locator(".option.on")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator(".chip")).to_have_count(0)
        expect(page.locator("#told")).to_have_text(re.compile(r"\d+ products for wool"))
        sight.check_clean()


def test_it_needs_no_script(root: str, browser: Browser) -> None:
    with browser.new_context(viewport=PHONE, java_script_enabled=False) as context:
        sight = Sight(context, root)
        page = sight.page
        sight.open("/")
        page.get_by_label("Search the shop").fill("ketle")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_text("Showing results for kettle")).to_be_visible()
        page.get_by_role("link", name="Enamel kettle").click()
        page.get_by_role("button", name="Put into the cart").click()
        page.get_by_label("Your e-mail").fill("ada@example.com")
        page.get_by_role("button", name="Buy for €49.00").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")
        sight.check_clean()


CONTRAST: Final = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((one) => one / 255)
      .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const rgb = parse(getComputedStyle(one).backgroundColor);
      if (rgb.length < 4 || rgb[3] > 0) return rgb;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const hidden = !node.checkVisibility() || node.closest(":disabled, .sr");
    if (hidden || !walker.currentNode.data.trim()) continue;
    const [one, other] = [parse(getComputedStyle(node).color), behind(node)].map(light);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.add(`${node.className || node.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...poor];
}"""
"""Texts with less contrast than WCAG 2.2, 1.4.3, level AA asks for."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(root: str, browser: Browser, scheme: Any) -> None:
    with browser.new_context(viewport=DESK, color_scheme=scheme) as context:
        sight = Sight(context, root)
        for path in ("/?q=wooll&a.group=Clothes", "/?q=zzzzqqqq", "/products/rain-jacket",
                     "/products/fisher-sweater"):  # fmt: skip
            sight.open(path)
            assert sight.page.evaluate(CONTRAST) == [], path
        sight.page.get_by_role("button", name="Put into the cart").click()
        expect(sight.page.get_by_role("heading", level=1)).to_have_text("Cart")
        assert sight.page.evaluate(CONTRAST) == []
