"""Learning: what visitors chose, as places up or down in the answers to a query. Pure.

Who sees a list looks at its top most, so a click at place 7 says more than one at place 1. By the
examination hypothesis a click takes both to look and to like (Richardson, Dominowska and Ragno,
"Predicting clicks", WWW 2007), and one looks at place r with a probability of 1/r (Joachims,
Swaminathan and Schnabel, "Unbiased learning-to-rank with biased feedback", WSDM 2017, section 6,
with their clipping of small ones). So how much a document is liked for a query is its clicks over
its looks, and what counts is how many times as much that is as the whole query's clicks over looks,
both smoothed by a beta prior.

Preferences move a document by one place when it is liked twice or half as much, at most three,
after relevance and before pins. What must never happen: that one visitor moves anything. So each
counts once a day for a query and a document, however often they come; several must have clicked on
one day, as who comes again the next day is not known again; and a document is moved only as far as
it would be without any one of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import log2
from typing import Final

from hansa.kernel.structs import Struct

PLACES_MAX: Final = 3
LOOK_MIN: Final = 0.1
"""The least chance of a look: at place 10, and clipped there."""
BOUGHT: Final = 3.0
"""How many clicks one counts that was followed by a conversion."""
PRIOR: Final = 10.0
"""How many looks of the prior there are beside those of visitors."""
VISITORS_MIN: Final = 10
"""So many visitors have clicked after a query, or nothing is learned of it."""
CLICKERS_MIN: Final = 3
"""So many of them have clicked a document that goes up, or would have one that goes down; and so
many have come on one day."""
STEP: Final = 0.25
"""Popularity is told in steps: documents need not be written anew for each click."""


class Visit(Struct):
    """What a visitor was shown for a query, with the places from 1, what of it was clicked, and
    what was then bought. `query` is as searches are compared: words, in order. `visitor` is any
    text that is one person's on that `day`, such as a hash that changes daily."""

    visitor: str
    query: str
    shown: dict[str, int]
    clicked: tuple[str, ...] = ()
    bought: tuple[str, ...] = ()
    day: int = 0


class _Tally:
    """What is known of a document for a query: looks, clicks by weight, and who clicked."""

    __slots__ = ("clickers", "clicks", "looks", "most")

    def __init__(self) -> None:
        self.looks = 0.0
        self.clicks = 0.0
        self.clickers: Counter[int] = Counter()
        """By day."""
        self.most = 1.0


def look(place: int) -> float:
    """Return how likely a visitor looks at a place, counted from 1."""
    return max(1 / max(place, 1), LOOK_MIN)


_Merged = dict[tuple[str, int, str], dict[str, tuple[int, float]]]


def _merged(visits: Iterable[Visit]) -> _Merged:
    """Return for each query, day and visitor what was shown: at which best place, and how much a
    click counts. Visits without a click are left out: whether anybody looked is not known."""
    found: defaultdict[tuple[str, int, str], dict[str, tuple[int, float]]] = defaultdict(dict)
    for visit in visits:
        clicked, bought = set(visit.clicked), set(visit.bought)
        if not clicked.intersection(visit.shown):
            continue
        documents = found[visit.query, visit.day, visit.visitor]
        for document, place in visit.shown.items():
            weight = (BOUGHT if document in bought else 1.0) if document in clicked else 0.0
            before = documents.get(document, (place, 0.0))
            documents[document] = min(place, before[0]), max(weight, before[1])
    return found


def learned(visits: Iterable[Visit]) -> dict[str, dict[str, float]]:
    """Return for each query by how many places a document goes up, or down below 0; those that go
    nowhere are left out. Visits come in any order."""
    queries: defaultdict[str, defaultdict[str, _Tally]] = defaultdict(lambda: defaultdict(_Tally))
    visitors: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for (query, day, _), documents in sorted(_merged(visits).items()):
        visitors[query][day] += 1
        for document, (place, weight) in documents.items():
            tally = queries[query][document]
            tally.looks += look(place)
            tally.clicks += weight
            tally.clickers[day] += weight > 0
            tally.most = max(tally.most, weight)
    found = {
        query: _shifts(tallies)
        for query, tallies in queries.items()
        if visitors[query].total() >= VISITORS_MIN and _are_several(visitors[query])
    }
    return {query: shifts for query, shifts in found.items() if shifts}


def _are_several(by_day: Mapping[int, int]) -> bool:
    """Tell whether there were several people: one is another visitor each day."""
    return max(by_day.values(), default=0) >= CLICKERS_MIN


def _shifts(tallies: Mapping[str, _Tally]) -> dict[str, float]:
    usual = sum(one.clicks for one in tallies.values()) / sum(one.looks for one in tallies.values())
    found: dict[str, float] = {}
    for document, tally in tallies.items():
        up = _places(tally, tally.clicks - tally.most, usual)
        down = _places(tally, tally.clicks + tally.most, usual)
        if up > 0 and _are_several(tally.clickers):
            found[document] = min(up, PLACES_MAX)
        elif down < 0 and tally.looks * usual >= CLICKERS_MIN * tally.most:
            found[document] = max(down, -PLACES_MAX)
    return found


def _places(tally: _Tally, clicks: float, usual: float) -> float:
    """Return the places that so many clicks are worth: 1 for twice what is usual, -1 for half. The
    prior is a beta distribution with the usual mean, as strong as `PRIOR` looks."""
    liked = (max(clicks, 0) + PRIOR * usual) / (tally.looks + PRIOR)
    return log2(liked / usual)


def popularity(visits: Iterable[Visit]) -> dict[str, float]:
    """Return how popular documents are, from 0, whatever was searched for: 1 more is twice as many
    visitors. Fewer than `CLICKERS_MIN` are nobody."""
    chosen: defaultdict[str, dict[tuple[int, str], float]] = defaultdict(dict)
    for (_, day, visitor), documents in _merged(visits).items():
        who = (day, visitor)
        for document, (_, weight) in documents.items():
            if weight:
                chosen[document][who] = max(weight, chosen[document].get(who, 0.0))
    return {
        document: round(log2(1 + sum(weights.values())) / STEP) * STEP
        for document, weights in sorted(chosen.items())
        if _are_several(Counter(day for day, _ in weights))
    }


def reranked(ranking: Sequence[str], places: Mapping[str, float]) -> list[int]:
    """Return the ranks from 0 of `ranking` in their new order: by what was learned of a query, none
    moves by more than `PLACES_MAX`.

    The first n depend on the first n + `PLACES_MAX` of `ranking` alone, so that pages fit together.
    """
    worth = [
        rank - min(max(places.get(document, 0.0), -PLACES_MAX), PLACES_MAX)
        for rank, document in enumerate(ranking)
    ]
    waiting = list(range(min(PLACES_MAX, len(ranking))))
    order: list[int] = []
    for place in range(len(ranking)):
        if place + PLACES_MAX < len(ranking):
            waiting.append(place + PLACES_MAX)
        # Only the one of this rank can be so late already: it was its turn before for the others.
        late = waiting[0] == place - PLACES_MAX
        chosen = waiting[0] if late else min(waiting, key=lambda rank: (worth[rank], -rank))
        waiting.remove(chosen)
        order.append(chosen)
    return order
