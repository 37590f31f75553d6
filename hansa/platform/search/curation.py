"""Curation: what people of a site say about its searches: synonyms, stop words, rules."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from hansa.kernel.structs import Struct

SYNONYMS_MAX: Final = 2_000
RULES_MAX: Final = 1_000
STOP_WORDS_MAX: Final = 1_000
PINS_MAX: Final = 50

Phrase = Annotated[str, Meta(min_length=1, max_length=120)]


class Synonym(Struct):
    """Words or phrases that mean the same. With `of`, that one also finds the others, but they do
    not find it: ``of="laptop", words=("ultrabook",)``."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    words: Annotated[tuple[Phrase, ...], Meta(min_length=1, max_length=32)]
    of: Phrase | None = None


class Pin(Struct):
    """A document at a place, counted from 1, whatever it is worth."""

    id: str
    place: Annotated[int, Meta(ge=1, le=100)]


class Boost(Struct):
    """Documents that a filter lets through count `by` times as much."""

    filter: str
    by: Annotated[float, Meta(gt=0, le=100)]


class Rule(Struct):
    """For searches that `match` the words `q` (``exact``, ``contains``, or ``always``): put
    documents to places, hide some, let some count more, or search for other words instead."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    match: Literal["exact", "contains", "always"] = "exact"
    q: Annotated[str, Meta(max_length=512)] = ""
    pin: Annotated[tuple[Pin, ...], Meta(max_length=PINS_MAX)] = ()
    hide: Annotated[tuple[str, ...], Meta(max_length=PINS_MAX)] = ()
    boost: Annotated[tuple[Boost, ...], Meta(max_length=8)] = ()
    instead: Annotated[str, Meta(max_length=512)] = ""
    filter: str = ""
    enabled: bool = True


class Curation(Struct):
    """All of it, of one collection."""

    synonyms: tuple[Synonym, ...] = ()
    stop_words: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
