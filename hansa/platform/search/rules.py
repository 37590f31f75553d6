"""Rules: which of a collection's curation rules apply to a search, and what they do to it. Pure.

- The words of a search are compared with those of a rule, both as the language compares words:
  ``exact`` is the same words in their order, none being the search for everything; ``contains`` is
  the rule's words next to each other somewhere among them; ``always`` is any search.
- All rules that apply do so, in their order. Of what can be only once, the first one says it: what
  is searched for `instead`, where a document is pinned, who has a place. Rules are not asked again
  about what is searched for instead, so none can lead in a circle.
- Who is hidden is not pinned. A pin whose place is taken gets the next one that is free.

What must never happen: a rule that shows what a filter hides. So a pin counts for a document that
the filters let through, and leaves no hole where there is none.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from hansa.kernel.problems import Fault, Unprocessable
from hansa.kernel.structs import Struct
from hansa.platform.search import filters
from hansa.platform.search.curation import Pin, Rule
from hansa.platform.search.filters import Filter, InvalidFilter
from hansa.platform.search.schema import ID_FIELD, Schema

BOOSTS_MAX: Final = 8
"""How many boosts count in one search, of all rules that apply the first: the groups of documents
that they tell apart double with each."""

Words = Callable[[str], Sequence[str]]
"""What makes of a text its words, as they are compared."""


class InvalidRule(Unprocessable):
    """A rule that says nothing, or contradicts itself or the schema; `errors` tells where."""

    slug = "invalid-rule"
    title = "The rule is not valid"


class Applied(Struct):
    """What the rules do to a search: which ones (`rules`, their ids), what is searched for, which
    documents are at which places and which nowhere, what counts how many times as much, and what
    must hold beside the search's own filter."""

    q: str
    rules: tuple[str, ...] = ()
    pins: tuple[Pin, ...] = ()
    hidden: frozenset[str] = frozenset()
    boosts: tuple[tuple[Filter, float], ...] = ()
    filter: Filter | None = None

    def others(self, pinned: Collection[str]) -> Filter | None:
        """Return what lets through the documents that are ranked: those neither hidden nor in
        `pinned`, the pinned ones that there are."""
        gone = tuple(sorted(self.hidden.union(pinned)))
        apart = filters.Not(filters.OneOf(ID_FIELD.name, gone)) if gone else None
        return filters.both(self.filter, apart)


class Rulebook:
    """The rules of a curation, laid out to be found by words. Made once, when the curation
    changes; the rules have been checked."""

    __slots__ = ("_always", "_contained", "_exact", "_rules", "_words")

    def __init__(self, rules: Sequence[Rule], words: Words) -> None:
        self._words = words
        self._rules = [_Effect(rule) for rule in rules]
        self._always: list[int] = []
        self._exact: dict[tuple[str, ...], list[int]] = {}
        self._contained: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        for number, rule in enumerate(rules):
            said = tuple(words(rule.q))
            if not rule.enabled:
                continue
            if rule.match == "always":
                self._always.append(number)
            elif rule.match == "exact":
                self._exact.setdefault(said, []).append(number)
            elif said:
                self._contained.setdefault(said[0], []).append((said, number))

    def applied(self, q: str) -> Applied:
        """Return what the rules do to a search for `q`."""
        if not self._rules:
            return Applied(q)
        numbers = sorted(self._applying(tuple(self._words(q))))
        return _together(q, [self._rules[number] for number in numbers])

    def _applying(self, words: tuple[str, ...]) -> set[int]:
        found = {*self._always, *self._exact.get(words, ())}
        if self._contained:
            for place, word in enumerate(words):
                for said, number in self._contained.get(word, ()):
                    if words[place : place + len(said)] == said:
                        found.add(number)
        return found


class _Effect:
    """A rule with its filters read."""

    __slots__ = ("boosts", "filter", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.filter = filters.parse(rule.filter)
        self.boosts = [
            (read, boost.by)
            for boost in rule.boost
            if (read := filters.parse(boost.filter)) is not None
        ]


def _together(q: str, effects: Sequence[_Effect]) -> Applied:
    rules = [effect.rule for effect in effects]
    hidden = frozenset(id for rule in rules for id in rule.hide)
    must: Filter | None = None
    for effect in effects:
        must = filters.both(must, effect.filter)
    return Applied(
        q=next((rule.instead for rule in rules if rule.instead), q),
        rules=tuple(rule.id for rule in rules),
        pins=_placed([pin for rule in rules for pin in rule.pin if pin.id not in hidden]),
        hidden=hidden,
        boosts=tuple(boost for effect in effects for boost in effect.boosts)[:BOOSTS_MAX],
        filter=must,
    )


def _placed(pins: Sequence[Pin]) -> tuple[Pin, ...]:
    """Return one pin for each document, one at each place, by their places."""
    places: dict[str, int] = {}
    taken = set[int]()
    for pin in pins:
        if pin.id in places:
            continue
        place = pin.place
        while place in taken:
            place += 1
        taken.add(place)
        places[pin.id] = place
    return tuple(Pin(id, place) for id, place in sorted(places.items(), key=lambda one: one[1]))


# ---- a page


def arranged(
    pins: Sequence[Pin], present: Collection[str], others: int, begin: int, end: int
) -> list[Pin | int]:
    """Return what stands at the places from `begin` and before `end`, counted from 0: a pin, or a
    number from 0, which is a rank among the `others` documents that are found and not pinned.

    `pins` are those of `Applied`; of them count those of documents in `present`: which there are,
    and which the filters let through. A pin whose place is after everything moves up to the end.
    """
    there = [pin for pin in pins if pin.id in present]
    # Before the pin of number n stand n pins, and others as far as there are any.
    at = {min(pin.place - 1, others + n): pin for n, pin in enumerate(there)}
    before = sum(place < begin for place in at)
    found: list[Pin | int] = []
    for place in range(begin, min(end, others + len(there))):
        pin = at.get(place)
        found.append(place - before if pin is None else pin)
        before += pin is not None
    return found


# ---- checking

_DOES: Final = ("pin", "hide", "boost", "instead", "filter")


def check(rule: Rule, schema: Schema, words: Words) -> None:
    """Raise InvalidRule for a rule that cannot do what it says."""
    faults = tuple(_faults(rule, schema, words))
    if faults:
        detail = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults[:3])
        raise InvalidRule(detail, errors=faults)


def _faults(rule: Rule, schema: Schema, words: Words) -> Iterator[Fault]:
    if rule.match == "contains" and not words(rule.q):
        yield Fault("/q", "expected a word that searches contain")
    if rule.match == "always" and rule.q:
        yield Fault("/q", "expected nothing, as the rule is for every search")
    if not any(getattr(rule, name) for name in _DOES):
        yield Fault("", f"expected something to do: {', '.join(_DOES)}")
    if rule.match == "always" and rule.instead:
        yield Fault("/instead", "expected nothing, as no search would find anything else")
    ids, places = set[str](), set[int]()
    for number, pin in enumerate(rule.pin):
        if pin.id in ids:
            yield Fault(f"/pin/{number}/id", "the document is pinned before")
        if pin.place in places:
            yield Fault(f"/pin/{number}/place", "another document is pinned to this place before")
        if pin.id in rule.hide:
            yield Fault(f"/pin/{number}/id", "the document is hidden by the same rule")
        ids.add(pin.id)
        places.add(pin.place)
    for number, boost in enumerate(rule.boost):
        if not boost.filter.strip():
            yield Fault(f"/boost/{number}/filter", "expected a filter: all would count as much")
        yield from _filter_faults(f"/boost/{number}/filter", boost.filter, schema)
    yield from _filter_faults("/filter", rule.filter, schema)


def _filter_faults(pointer: str, text: str, schema: Schema) -> Iterator[Fault]:
    try:
        filters.check(filters.parse(text), schema)
    except InvalidFilter as refused:
        yield Fault(pointer, refused.detail)
