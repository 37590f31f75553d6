"""Wish: what a visitor looks for, as the address of the page says it. Pure.

    /shop/?q=mug&brand=Kogge&price=10-25&a.material=Stoneware&a.material=Enamel&sort=price&page=2

Everything that is chosen stands in the address, so that a page can be kept, sent to somebody and
gone back to. What nobody could mean is passed over: an address is no form that is corrected.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from hansa.platform.search.api import FILTER_LETTERS_MAX

PER_PAGE: Final = 24
PAGES_MAX: Final = 40
"""How deep pages go; search shows a thousand hits at most."""
Q_LETTERS_MAX: Final = 200
CHOSEN_MAX: Final = 16
"""What can be chosen at once: each field of it is counted by itself, and search has a bound for
that."""
VALUE_LETTERS_MAX: Final = 200
NAME_LETTERS_MAX: Final = 120
ATTRIBUTE: Final = "attributes."
"""What the path of an attribute begins with; in an address it is ``a.``."""
BRAND: Final = "brand"
PRICE: Final = "price_minor"
ORDERS: Final = {
    "": ("Best match", ()),
    "price": ("Price, low first", ("price_minor",)),
    "-price": ("Price, high first", ("-price_minor",)),
    "new": ("Newest", ("-created_at",)),
}
"""By what stands in the address: how an order is called, and what search sorts by."""
_RANGE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)?-(\d{1,9}(?:\.\d{1,3})?)?", re.ASCII)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?", re.ASCII)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]+")

Bounds = tuple[int | None, int | None]


@dataclass(frozen=True)
class Wish:
    """What is looked for. `chosen` are paths of the documents with a value each, as texts; `exact`
    is whether words that nobody wrote stand for themselves."""

    q: str = ""
    chosen: tuple[tuple[str, str], ...] = ()
    sort: str = ""
    page: int = 1
    exact: bool = False

    def toggled(self, path: str, value: str) -> "Wish":
        """Return the wish with a value chosen that was not, or the other way round."""
        one = (path, value)
        kept = tuple(other for other in self.chosen if other != one)
        chosen = kept if one in self.chosen else (*self.chosen, one)
        return replace(self, chosen=chosen, page=1)

    def values(self, path: str) -> tuple[str, ...]:
        """Return the values that are chosen of a path."""
        return tuple(value for name, value in self.chosen if name == path)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of which something is chosen, each once."""
        return tuple(dict.fromkeys(path for path, _ in self.chosen))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What an address says of it, but for the words and the page."""
        pairs = [(_parameter(path), value) for path, value in self.chosen]
        return [*pairs, ("sort", self.sort)] if self.sort else pairs

    def address(self, **change: Any) -> str:
        """Return the query string of the wish, or of a changed one; "" for all there is."""
        wish = replace(self, **change) if change else self
        pairs = [("q", wish.q)] * bool(wish.q) + wish.pairs
        pairs += [("page", str(wish.page))] * (wish.page > 1)
        pairs += [("exact", "1")] * wish.exact
        return "?" + urlencode(pairs) if pairs else ""


def read(pairs: Iterable[tuple[str, str]]) -> Wish:
    """Return the wish that the parameters of an address say, in their order."""
    q = sort = ""
    page, exact = 1, False
    chosen: list[tuple[str, str]] = []
    for name, raw in pairs:
        value = _CONTROLS.sub(" ", raw).strip()
        path = _path(name)
        if name == "q":
            q = value[:Q_LETTERS_MAX]
        elif name == "sort":
            sort = value if value in ORDERS else ""
        elif name == "page":
            page = _page(value)
        elif name == "exact":
            exact = value == "1"
        elif path and len(chosen) < CHOSEN_MAX and _is_choice(path, value):
            chosen.append((path, _plain_range(value) if path == PRICE else value))
    return Wish(q, tuple(dict.fromkeys(chosen)), sort, page, exact)


def filter_of(wish: Wish, decimals: int) -> str:
    """Return what is chosen in the language of search's filters: of one path any of the values, of
    several paths all. `decimals` are those of the site's currency."""
    parts = []
    for path in wish.paths:
        values = wish.values(path)
        if path == PRICE:
            parts.append(" OR ".join(_between(bounds_of(one, decimals)) for one in values))
        else:
            alike = [other for one in values for other in _meant(path, one)]
            parts.append(f"{_quoted_path(path)} IN [{', '.join(map(_text, alike))}]")
    return " AND ".join(f"({part})" for part in parts)


def fitting(wish: Wish, decimals: int) -> Wish:
    """Return a wish that search can be asked for: of more than a filter holds the first choices."""
    while len(filter_of(wish, decimals)) > FILTER_LETTERS_MAX:
        wish = replace(wish, chosen=wish.chosen[:-1])
    return wish


def bounds_of(value: str, decimals: int) -> Bounds:
    """Return a range of prices such as ``10-25`` in minor units: from the first and below the
    second. One of no form is open at both ends."""
    match = _RANGE.fullmatch(value)
    if match is None:
        return None, None
    low, high = (int(Decimal(one).scaleb(decimals)) if one else None for one in match.groups())
    return low, high


def range_of(bounds: Bounds, decimals: int) -> str:
    """Return a range in minor units as an address has it."""
    low, high = ("" if one is None else _plain(Decimal(one).scaleb(-decimals)) for one in bounds)
    return f"{low}-{high}"


def _plain_range(value: str) -> str:
    """Return a range as it is always written: ``10-25`` for ``10.0-025``."""
    return "-".join(_plain(Decimal(one)) if one else "" for one in value.split("-"))


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


def _page(value: str) -> int:
    wanted = int(value) if value.isascii() and value.isdecimal() and len(value) < 6 else 1
    return min(max(wanted, 1), PAGES_MAX)


def _path(parameter: str) -> str:
    """Return the path that a parameter of an address chooses of, "" for another parameter."""
    if parameter == "brand":
        return BRAND
    if parameter == "price":
        return PRICE
    return ATTRIBUTE + parameter[2:] if parameter.startswith("a.") else ""


def _parameter(path: str) -> str:
    if path.startswith(ATTRIBUTE):
        return "a." + path.removeprefix(ATTRIBUTE)
    return "price" if path == PRICE else "brand"


def _is_choice(path: str, value: str) -> bool:
    name = path.removeprefix(ATTRIBUTE)
    if not value or len(value) > VALUE_LETTERS_MAX or not is_name(name):
        return False
    return path != PRICE or (len(value) > 1 and _RANGE.fullmatch(value) is not None)


def is_name(name: str) -> bool:
    """Tell whether an attribute of this name can be chosen by."""
    whole = len(name) <= NAME_LETTERS_MAX and all(name.split("."))
    return whole and "\\" not in name and not _CONTROLS.search(name)


def _meant(path: str, text: str) -> list[str | int | float | bool]:
    """Return the values that a text of an address may mean: attributes have their own types, and
    search tells ``5`` and ``"5"`` apart."""
    found: list[str | int | float | bool] = [text]
    if path.startswith(ATTRIBUTE):
        if text in ("true", "false"):
            found.append(text == "true")
        elif _NUMBER.fullmatch(text):
            found.append(float(text) if "." in text else int(text))
    return found


def _between(bounds: Bounds) -> str:
    low, high = bounds
    parts = [] if low is None else [f"{PRICE} >= {low}"]
    parts += [] if high is None else [f"{PRICE} < {high}"]
    return "(" + (" AND ".join(parts) or f"{PRICE} EXISTS") + ")"


def _quoted_path(path: str) -> str:
    first, _, rest = path.partition(".")
    return f"{first}.{_text(rest)}" if rest else first


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
