"""Pictures: makes those of the documentation from the real pages, in a real browser.

python -m tests.console.pictures    # writes docs/pictures/*.png; `make pictures`
"""

import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, sync_playwright

from hansa.testing import chromium
from tests.console.served import Place, serving

TARGET: Final = Path(__file__).parents[2] / "docs" / "pictures"
BYTES_MAX: Final = 150_000
DESK: Final = {"width": 1180, "height": 760}
PHONE: Final = {"width": 390, "height": 760}
SHIPS: Final = (("Aurora", 410), ("Kronan", 0), ("Bonaventura", 96), ("Vasa", 0))


def buy(place: Place, product: int) -> None:
    """Buy one piece of a product of the demo shop."""
    listed = place.call("GET", f"/commerce/products?limit={product + 1}")["items"][product]
    whole = place.call("GET", f"/commerce/products/{listed['handle']}")
    cart = place.call("POST", "/commerce/carts", {
        "lines": [{"variant_id": whole["variants"][0]["id"], "quantity": 1}],
        "email": "ada@example.com",
    })  # fmt: skip
    priced = cart["priced"]
    total = {"minor": priced["total_minor"], "currency": priced["currency"]}
    body = {"version": cart["version"], "expected_total": total, "payment": "tok_ok"}
    place.call("POST", f"/commerce/carts/{cart['id']}/complete", body)


def take(browser: Browser, place: Place, scheme: Any, window: Any, shots: dict[str, str]) -> None:
    """Take pictures by name of pages by address."""
    with browser.new_context(viewport=window, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(f"{place.root}/hansa/login")
        page.get_by_label("A key of the platform").fill(place.key)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Overview").wait_for()
        for name, path in shots.items():
            page.goto(f"{place.root}/hansa{path}")
            _follow(page, name)
            page.screenshot(path=TARGET / f"{name}.png")


def _follow(page: Page, name: str) -> None:
    """Go on to the single thing that some pictures are of."""
    if name == "trace":
        page.get_by_role("link", name="commerce.complete").first.click()
        page.locator("details").first.wait_for()
    if name == "search":
        while not page.get_by_text("up to date").count():  # what was bought changes products
            page.reload()
        page.get_by_text("Why here").first.click()
    if name == "delivery":
        page.get_by_role("link", name="quay.unload").first.click()
        page.get_by_role("heading", name="Why it failed").wait_for()


def main() -> int:
    """Make them all. Returns 1 where one is too large."""
    program = chromium.install()
    TARGET.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as place,
        sync_playwright() as playwright,
    ):
        for number in range(3):
            buy(place, number)
        for name, tonnes in SHIPS:
            place.arrive(name, tonnes)
        browser = playwright.chromium.launch(executable_path=program, args=list(chromium.ARGUMENTS))
        take(browser, place, "light", DESK, {
            "overview": "/", "services": "/services", "delivery": "/deliveries",
        })  # fmt: skip
        place.find("mug")
        take(browser, place, "light", DESK, {
            "search": f"/search/{place.site}/products?q=tea+towl&facets=attributes.group",
        })  # fmt: skip
        take(browser, place, "dark", DESK, {"trace": "/traces?name=commerce.complete"})
        take(browser, place, "light", PHONE, {"phone": "/log"})
        browser.close()
    large = [one.name for one in TARGET.glob("*.png") if one.stat().st_size > BYTES_MAX]
    sys.stdout.write(f"{len(list(TARGET.glob('*.png')))} pictures in {TARGET}\n")
    sys.stderr.write("".join(f"{name} is too large\n" for name in large))
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
