"""Listing: what is on sale, and what of it a visitor looks for.

A page takes one search, and asks for suggestions where there are words. A second search counts
attributes that were not counted, because what is found has some that nobody has seen on this site
yet; a third offers something where nothing was found.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from hansa.kernel.problems import NotFound
from hansa.platform.search.api import FACETS_MAX
from hansa.storefront import choices
from hansa.storefront.answers import FacetCounts, Found, Hit, Suggestions
from hansa.storefront.choices import Choice, Option
from hansa.storefront.money import decimals_of
from hansa.storefront.visit import Visit
from hansa.storefront.wish import (
    ATTRIBUTE,
    BRAND,
    ORDERS,
    PAGES_MAX,
    PER_PAGE,
    PRICE,
    Wish,
    fitting,
)
from hansa.storefront.wish import filter_of as filter_of_wish
from hansa.storefront.wish import read as read_wish

COLLECTION: Final = "/search/collections/products"
SITES_MAX: Final = 2_000
"""Sites whose attributes are remembered."""
OTHERS: Final = 4
"""Products that are offered where nothing was found."""
SUGGESTED: Final = 5
NAMED: Final = 3
"""Choices that a list is named by."""
_WORD: Final = re.compile(r"\w+")


class Attributes:
    """Which attributes were useful lately on which site, the latest first: they are counted along
    with the next search. Losing it costs one search more."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, ...]] = OrderedDict()

    def of(self, site: str) -> tuple[str, ...]:
        """Return the names for a site."""
        return self._known.get(site, ())

    def note(self, site: str, names: Sequence[str]) -> None:
        """Remember what was useful now."""
        known = dict.fromkeys([*names, *self._known.pop(site, ())])
        self._known[site] = tuple(known)[: choices.ASKED_MAX]
        while len(self._known) > SITES_MAX:
            self._known.popitem(last=False)


@dataclass(frozen=True)
class Shelf:
    """What a page of the list shows."""

    wish: Wish
    found: int
    hits: Sequence[Hit]
    query_id: str
    corrected: str
    """What was searched for in place of what was written, "" for the same."""
    choices: Sequence[Choice]
    chips: Sequence[Option]
    suggestions: Sequence[str]
    others: Sequence[Hit]

    @property
    def name(self) -> str:
        """What a list without words is called: by what is chosen."""
        texts = [one.text for one in self.chips]
        if not texts:
            return "Everything in the shop"
        more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
        return ", ".join(texts[:NAMED]) + more

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return min(PAGES_MAX, -(-self.found // PER_PAGE))

    @property
    def shown_pages(self) -> list[int]:
        """The pages to go to: the first, the last, and those around this one; 0 is a gap."""
        near = {1, self.pages, *range(self.wish.page - 1, self.wish.page + 2)}
        numbers = sorted(one for one in near if 1 <= one <= self.pages)
        shown: list[int] = []
        for number in numbers:
            if shown and number - shown[-1] == 2:
                shown.append(number - 1)
            elif shown and number - shown[-1] > 2:
                shown.append(0)
            shown.append(number)
        return shown

    @property
    def orders(self) -> list[tuple[str, str, bool]]:
        """The orders: how each is called, its address, and whether it is this one."""
        return [
            (text if name or self.wish.q else "Featured", self.wish.address(sort=name, page=1),
             name == self.wish.sort)
            for name, (text, _) in ORDERS.items()
        ]  # fmt: skip

    def first_number(self) -> int:
        """The place of the first product of the page, from 1."""
        return (self.wish.page - 1) * PER_PAGE + 1

    def trail(self, place: int) -> str:
        """Return what the address of a product has to say which search has led to it."""
        if not self.query_id:
            return ""
        return "?" + urlencode({"from": self.query_id, "place": self.first_number() + place})


class Listing:
    """The list of products, with what is remembered between visits."""

    def __init__(self) -> None:
        self._attributes = Attributes()

    async def show(self, visit: Visit) -> Response:
        """The page."""
        return visit.page("list.html", shelf=await self._shelf(visit))

    async def show_results(self, visit: Visit) -> Response:
        """The part of it that changes while somebody types."""
        return visit.page("found.html", shelf=await self._shelf(visit))

    async def _shelf(self, visit: Visit) -> Shelf:
        currency = visit.site.currency
        asked_for = read_wish(visit.request.query_params.multi_items())
        wish = fitting(asked_for, decimals_of(currency))
        names = self._attributes.of(visit.site.id)
        chosen = [path for path in wish.paths if path.startswith(ATTRIBUTE)]
        asked = list(dict.fromkeys([*chosen, *(ATTRIBUTE + name for name in names)]))
        asked = asked[: FACETS_MAX - 2]
        try:
            found = await _search(visit, wish, [BRAND, PRICE, *asked], PER_PAGE)
        except NotFound:  # nothing was ever on sale on this site
            found = Found(0, ())
        useful = choices.useful([hit.document.attributes for hit in found.hits])
        facets = [*found.facets]
        if new := [ATTRIBUTE + name for name in useful if ATTRIBUTE + name not in asked]:
            facets += (await _search(visit, wish, new, 0)).facets
        self._attributes.note(visit.site.id, useful)
        suggestions: Sequence[str] = ()
        others: Sequence[Hit] = ()
        if wish.q:
            suggestions = await _suggestions(visit, wish.q)
        if not found.found and (wish.q or wish.chosen):
            others = (await _search(visit, Wish(sort="new"), [], OTHERS)).hits
        return Shelf(
            wish, found.found, found.hits, found.query_id,
            "" if wish.exact else corrected(wish.q, found.corrected),
            choices.offered(wish, _counts(facets), found.found, currency),
            choices.chips(wish, currency), suggestions, others,
        )  # fmt: skip


async def _search(visit: Visit, wish: Wish, paths: Sequence[str], per_page: int) -> Found:
    """Search for a wish and count what there is of some paths. Raises Problem."""
    currency = visit.site.currency
    body = {
        "q": wish.q,
        "filter": filter_of_wish(wish, decimals_of(currency)),
        "facets": [_facet(path, currency) for path in paths],
        "sort": ORDERS[wish.sort][1],
        "page": wish.page if per_page else 1,
        "per_page": per_page,
        "prefix": True,
        "typo": not wish.exact,
        "highlight": ["title"] if wish.q and per_page else [],
    }
    return await visit.asking.send("POST", f"{COLLECTION}/search", body, Found)


def _facet(path: str, currency: str) -> dict[str, Any]:
    if path == PRICE:
        ranges = [{"low": low, "high": high} for low, high in choices.ladder(currency)]
        return {"field": path, "ranges": ranges}
    return {"field": path, "limit": choices.VALUES_MAX + 1}


def _counts(facets: Sequence[FacetCounts]) -> Mapping[str, choices.Counts]:
    return {one.field: [(count.value, count.count) for count in one.values] for one in facets}


async def _suggestions(visit: Visit, q: str) -> Sequence[str]:
    query = urlencode({"q": q, "limit": SUGGESTED})
    try:
        found = await visit.asking.get(f"{COLLECTION}/suggestions", Suggestions, query)
    except NotFound:
        return ()
    return [one for one in found.suggestions if one.casefold() != q.casefold()]


def corrected(q: str, words: Mapping[str, Sequence[str]]) -> str:
    """Return a query with the words that stand for those nobody knows, "" where all are known."""
    if not words:
        return ""

    def instead(match: re.Match[str]) -> str:
        better = words.get(match[0]) or words.get(match[0].lower())
        return better[0] if better else match[0]

    text = _WORD.sub(instead, q)
    return text if text != q else " ".join(one[0] for one in words.values() if one)
