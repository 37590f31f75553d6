"""Pictures: makes those of the shop for the documentation, in a real browser.

python -m tests.storefront.pictures    # writes docs/pictures/shop*.png; `make pictures`
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

from hansa.testing import chromium
from tests.storefront.served import serving

TARGET: Final = Path(__file__).parents[2] / "docs" / "pictures"
BYTES_MAX: Final = 150_000
DESK: Final[Any] = {"width": 1180, "height": 860}
PHONE: Final[Any] = {"width": 375, "height": 760}


def search(page: Page) -> None:
    """Look for something with a typing error."""
    page.get_by_label("Search the shop").press_sequentially("wooll", delay=20)
    page.get_by_text("Showing results for").wait_for()


def refine(page: Page) -> None:
    """Look for something, and choose."""
    search(page)
    page.locator(".option").filter(has_text="Norway").click()
    page.locator(".chip").first.wait_for()
    page.mouse.move(0, 0)
    page.get_by_label("Search the shop").focus()


def look(page: Page) -> None:
    """Look at one thing."""
    page.get_by_label("Search the shop").fill("kettle")
    page.get_by_role("link", name="Enamel kettle").click()
    page.get_by_role("button", name="Put into the cart").wait_for()


SHOTS: Final[tuple[tuple[str, Any, Any, Callable[[Page], None]], ...]] = (
    ("shop", DESK, "light", refine),
    ("shop-product", DESK, "dark", look),
    ("shop-phone", PHONE, "light", search),
)


def main() -> int:
    """Make them all. Returns 1 where one is too large."""
    program = chromium.install()
    TARGET.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as root,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=program, args=list(chromium.ARGUMENTS))
        for name, window, scheme, do in SHOTS:
            with browser.new_context(viewport=window, color_scheme=scheme) as context:
                page = context.new_page()
                page.goto(f"{root}/")
                do(page)
                page.screenshot(path=TARGET / f"{name}.png")
        browser.close()
    large = [one.name for one in TARGET.glob("shop*.png") if one.stat().st_size > BYTES_MAX]
    sys.stdout.write(f"{len(list(TARGET.glob('shop*.png')))} pictures in {TARGET}\n")
    sys.stderr.write("".join(f"{name} is too large\n" for name in large))
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
