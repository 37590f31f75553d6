"""Request: what is searched for, and what is found."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from hansa.kernel.structs import Struct

WORDS_MAX: Final = 32
Q_LETTERS_MAX: Final = 512
FILTER_LETTERS_MAX: Final = 4_096
FACETS_MAX: Final = 32
RANGES_MAX: Final = 32
VALUES_MAX: Final = 200
PER_PAGE_MAX: Final = 100
HITS_MAX: Final = 1_000
"""How deep pages go: the last hit that can be asked for."""

Path = Annotated[str, Meta(max_length=255)]


class Range(Struct):
    """Numbers or dates from `low` on and before `high`; without one it is open on that side."""

    low: float | str | None = None
    high: float | str | None = None


class Facet(Struct):
    """Count the values of a field among what is found, the most frequent first, at most `limit`; or
    the documents in each of some ranges. What the request's filter says of this field alone is left
    out of the count, so that a visitor sees what else could be chosen."""

    field: Path
    limit: Annotated[int, Meta(ge=1, le=VALUES_MAX)] = 10
    ranges: Annotated[tuple[Range, ...], Meta(max_length=RANGES_MAX)] = ()


class SearchRequest(Struct):
    """A search in one collection.

    - `q`: words; empty finds everything.
    - `filter`: the language of `filters`, such as ``brand = "HP" AND price < 5000``.
    - `sort`: fields, each with a ``-`` before it for the greatest first; then by relevance.
    - `typo`: whether words that the collection does not know stand for similar ones.
    - `prefix`: whether the last word may be the beginning of one, as while somebody types.
    - `distinct`: at most one document of each value of this field.
    - `highlight`: fields whose found words are marked; `fields`: what of a document is given back,
      all of it when empty.
    - `rules`: whether curation rules apply.
    - `change`: the number of a change that the answer has to have seen, as putting documents told;
      one that nothing has yet is refused, and is not waited for.
    - `explain`: why each hit ranks where it does; for who may read the settings and all documents.
    - `analytics`: whether it counts as a search that a visitor made.
    """

    q: Annotated[str, Meta(max_length=Q_LETTERS_MAX)] = ""
    filter: Annotated[str, Meta(max_length=FILTER_LETTERS_MAX)] = ""
    facets: Annotated[tuple[Facet, ...], Meta(max_length=FACETS_MAX)] = ()
    sort: Annotated[tuple[Path, ...], Meta(max_length=3)] = ()
    page: Annotated[int, Meta(ge=1, le=HITS_MAX)] = 1
    per_page: Annotated[int, Meta(ge=0, le=PER_PAGE_MAX)] = 10
    typo: bool = True
    prefix: bool = False
    distinct: Path = ""
    highlight: Annotated[tuple[Path, ...], Meta(max_length=16)] = ()
    fields: Annotated[tuple[Path, ...], Meta(max_length=64)] = ()
    rules: bool = True
    explain: bool = False
    change: Annotated[int, Meta(ge=0)] = 0
    analytics: bool = True


class Hit(Struct):
    """A document that was found. `score` is 0 for who may find only a part of the collection:
    scores go by how many documents have a word, all of them. `highlights` has, for each field that
    was asked for and matches, a piece of its text with the found words between ``<mark>`` and
    ``</mark>``, safe to put into a page: all else in it is escaped."""

    document: msgspec.Raw
    score: float
    highlights: dict[str, str] = {}
    pinned: bool = False
    why: dict[str, Any] | None = None


class Count(Struct):
    """How many documents have a value, or are in a range."""

    value: str | int | float | bool
    count: int


class FacetCounts(Struct):
    """The counts of one facet; for numbers also the least and the greatest that there is."""

    field: str
    values: tuple[Count, ...]
    min: float | None = None
    max: float | None = None


class Found(Struct):
    """What a search found. `query_id` names it to click and conversion events; `corrected` are the
    words that stand for one that the collection does not know."""

    found: int
    page: int
    hits: tuple[Hit, ...]
    facets: tuple[FacetCounts, ...] = ()
    query_id: str = ""
    corrected: dict[str, tuple[str, ...]] = {}
    took_us: int = 0
