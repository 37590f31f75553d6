"""Trial: a query as somebody tries it in a collection, and what it found as a page shows it. Pure.

What is shown is text: the marks of a found word are told apart from a document's own letters, so
that nothing of a document is ever a part of the page.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import Any, Final

import msgspec

from hansa.console.wording import pretty
from hansa.kernel.problems import Problem
from hansa.kernel.structs import Struct

PER_PAGE: Final = 10
FACET_VALUES: Final = 8
HIGHLIGHTS_MAX: Final = 16
NAMES: Final = ("q", "filter", "facets", "sort", "page", "exact", "prefix", "bare", "compare")
"""What an address says of a trial."""

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MARK: Final = re.compile(r"<mark>(.*?)</mark>", re.DOTALL)
_TIERS: Final = {
    "all words": "It has all words.",
    "any word": "It has some of the words; what has all of them comes before.",
    "pinned": "A rule has pinned it to this place.",
    "sorted": "It stands where the sorting has put it.",
    "everything": "Nothing was asked for; it stands here by how popular it is.",
}

Pieces = list[tuple[bool, str]]
"""A text in pieces, each with whether it is a found word."""


class Word(Struct):
    """A word of the query, what it gives to a hit's score, and its share of all in percent."""

    word: str
    score: float
    share: int


class Shown(Struct):
    """A hit as it is shown, at its place counted from 1."""

    place: int
    id: str
    title: Pieces
    lines: list[tuple[str, Pieces]]
    pinned: bool
    score: float
    tier: str
    words: list[Word]
    popularity: float
    learned: int
    """By how many places it rose for what visitors chose, or fell."""
    rules: list[str]
    document: str


def body_of(asked: Mapping[str, str], schema: Any) -> dict[str, Any]:
    """Return the request of a trial; `asked` has the `NAMES`, empty where nothing is said."""
    texts = [one.name for one in schema.fields if one.type in ("text", "keyword") and one.words]
    return {
        "q": asked["q"],
        "filter": asked["filter"],
        "facets": [{"field": one, "limit": FACET_VALUES} for one in names_in(asked["facets"])],
        "sort": names_in(asked["sort"]),
        "page": int(asked["page"]) if asked["page"].isdecimal() else 1,
        "per_page": PER_PAGE,
        "typo": not asked["exact"],
        "prefix": bool(asked["prefix"]),
        "rules": not asked["bare"],
        "highlight": texts[:HIGHLIGHTS_MAX],
        "explain": True,
        "analytics": False,
    }


def names_in(text: str) -> list[str]:
    """Return the names in a text with commas between them."""
    return [one.strip() for one in text.split(",") if one.strip()]


def facets_of(schema: Any) -> str:
    """Return the facets that are counted unless others are asked for, as `names_in` reads them."""
    return ", ".join(one.name for one in schema.fields if one.facet and one.type != "json")


def faults_of(problem: Problem) -> dict[str, str]:
    """Return what is wrong by the name of the field that says it, "" for what no field says."""
    if problem.slug == "invalid-filter":
        return {"filter": problem.detail}
    found: dict[str, str] = {}
    for fault in problem.errors:
        name = fault.pointer.strip("/").partition("/")[0]
        found.setdefault(name if name in NAMES else "", fault.detail)
    return found or {"": problem.detail or problem.title}


def shown(found: Any, schema: Any) -> list[Shown]:
    """Return the hits of an answer."""
    first = (found.page - 1) * PER_PAGE + 1
    return [_shown(place, hit, schema) for place, hit in enumerate(found.hits, first)]


def _shown(place: int, hit: Any, schema: Any) -> Shown:
    raw = bytes(hit.document)
    document, why = msgspec.json.decode(raw), hit.why or {}
    marked = {name: pieces(text) for name, text in hit.highlights.items()}
    title = schema.title or next((one.name for one in schema.fields if one.type == "text"), "id")
    called = marked.pop(title, None) or [(False, _text(document.get(title)))]
    return Shown(
        place, str(document.get("id", "")), called, list(marked.items()), hit.pinned, hit.score,
        _TIERS.get(why.get("tier", ""), ""), list(_words(why.get("words", {}))),
        why.get("popularity", 0.0), why.get("learned", 0), why.get("rules", []), pretty(raw),
    )  # fmt: skip


def _words(scores: Mapping[str, float]) -> Iterator[Word]:
    most = max(scores.values(), default=0.0) or 1.0
    for word, score in sorted(scores.items(), key=lambda one: -one[1]):
        yield Word(word, score, round(100 * score / most))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pieces(highlight: str) -> Pieces:
    """Return a highlight, in which all but the marks is escaped, in pieces of text."""
    found: Pieces = []
    for number, piece in enumerate(_MARK.split(highlight)):
        if piece:
            found.append((number % 2 == 1, unescape(piece)))
    return found


def narrowed(filter: str, path: str, value: str | float | bool) -> str:
    """Return a filter that also asks a field for a value, as the language of filters has it."""
    names = [one if _PLAIN.fullmatch(one) else json.dumps(one) for one in path.split(".")]
    condition = f"{'.'.join(names)} = {json.dumps(value, ensure_ascii=False)}"
    if not filter.strip():
        return condition
    return (
        f"({filter}) AND {condition}" if " or " in filter.lower() else f"{filter} AND {condition}"
    )


def moved(hits: Sequence[Shown], bare: Sequence[Shown]) -> dict[str, int]:
    """Return by how many places each hit stands higher than in another answer; what is not in that
    one is left out."""
    before = {one.id: one.place for one in bare}
    return {one.id: before[one.id] - one.place for one in hits if one.id in before}
