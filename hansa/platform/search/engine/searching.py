"""Searching: one request in one snapshot, from its words to its hits.

Documents that have all words come first, then, where those are fewer than `FILL`, the ones that
have any. Sorted, all that is found are the documents with all words, or with any where there are
none: a shop's cheapest notebook is not the cable that is in its description. Rules then pin and
hide; pins keep their places in a ranking, not in a sorted list.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import Any, Final

import msgspec
import tantivy
from tantivy import Occur, Query

from hansa.platform.search import filters
from hansa.platform.search.curation import Curation, Pin
from hansa.platform.search.engine.asking import Kind, kind_of
from hansa.platform.search.engine.counting import facet_counts
from hansa.platform.search.engine.keeping import Kept, said
from hansa.platform.search.engine.layout import ID, ORDER, N, number_of, popularity_of
from hansa.platform.search.engine.marking import Marker
from hansa.platform.search.engine.presenting import highlights, reader_of, selected
from hansa.platform.search.engine.ranking import Ranking
from hansa.platform.search.engine.retrieval import (
    Scored,
    by_keys,
    by_order,
    by_score,
    first_of_each,
    restricted,
)
from hansa.platform.search.engine.snapshot import Curated, Snapshot
from hansa.platform.search.engine.wording import VOCAB
from hansa.platform.search.filters import Filter
from hansa.platform.search.learning import PLACES_MAX, reranked
from hansa.platform.search.plan import Alternative, Plan, Slot, plan
from hansa.platform.search.request import WORDS_MAX, FacetCounts, Found, Hit, SearchRequest
from hansa.platform.search.rules import Applied, arranged
from hansa.platform.search.suggesting import suggestions
from hansa.platform.search.vocabulary import COMPLETIONS_SEEN

FILL: Final = 10
"""Where fewer documents have all words, those with any of them follow."""

ANSWERS_BYTES: Final = 16_000_000
COUNTS_MAX: Final = 20_000
PLANS_MAX: Final = 1_024

answers: Final[Kept[Found]] = Kept(ANSWERS_BYTES)
"""The last answers of all indexes."""
counted: Final["Kept[tuple[FacetCounts, ...]]"] = Kept(COUNTS_MAX)
"""The last counts of facets."""
plans: Final["Kept[_Sought]"] = Kept(PLANS_MAX)
"""What the last searches were looking for."""

_parsed: Final = lru_cache(maxsize=1024)(filters.parse)


def search(
    snapshot: Snapshot,
    request: SearchRequest,
    always: Filter | None,
    curation: Curation,
    learned: Mapping[str, float],
) -> Found:
    """Return what a request finds; see `Index.search`. A request that was answered from the same
    snapshot has the same answer, which is kept for a while."""
    curated = snapshot.words.curated(curation)
    key = (snapshot.edition, request, said(always), curated.serial, frozenset(learned.items()))
    found = answers.get(key)
    if found is None:
        found = _answer(snapshot, request, always, curated, learned)
        answers.put(key, found, _weight(found))
    return found


def _weight(found: Found) -> int:
    """About how many bytes an answer takes."""
    values = sum(len(facet.values) for facet in found.facets)
    hits = sum(len(memoryview(hit.document)) + 400 * len(hit.highlights) for hit in found.hits)
    return 2_000 + hits + 300 * len(found.hits) + 100 * values


def _answer(
    snapshot: Snapshot,
    request: SearchRequest,
    always: Filter | None,
    curated: Curated,
    learned: Mapping[str, float],
) -> Found:
    kind = kind_of(request, snapshot.schema)
    asked = _parsed(request.filter)
    filters.check(asked, snapshot.schema)
    applied = curated.rules.applied(request.q) if request.rules else Applied(request.q)
    sought = _sought(snapshot, curated, applied.q, request, always)
    search = _Search(snapshot, kind, sought, applied, filters.both(always, applied.filter))
    begin = (request.page - 1) * request.per_page
    page = search.page(asked, begin, begin + request.per_page, learned)
    return Found(
        page.found,
        request.page,
        search.shown(page, explain=request.explain),
        _counted(snapshot, request, always, curated, lambda: search.counts(asked)),
        corrected=sought.plan.corrected if page.found else {},
    )


def _counted(
    snapshot: Snapshot,
    request: SearchRequest,
    always: Filter | None,
    curated: Curated,
    count: Callable[[], tuple[FacetCounts, ...]],
) -> tuple[FacetCounts, ...]:
    """Return the counts of a request's facets, which the next page has, too."""
    if not request.facets:
        return ()
    found = (request.q, request.typo, request.prefix, request.rules, bool(request.sort))
    key = (snapshot.serial, curated.serial, said(always), request.filter, request.facets, *found)
    counts = counted.get(key)
    if counts is None:
        counts = count()
        counted.put(key, counts, 1 + sum(len(one.values) for one in counts))
    return counts


class _Sought:
    """The words of a search, as the engine is asked for them; each way is made when it is needed.
    Any thread may make it: what two make is the same."""

    def __init__(self, plan: Plan, ranking: Ranking) -> None:
        self.plan = plan
        self._ranking = ranking

    @cached_property
    def all_words(self) -> Query:
        """What finds and scores the documents with all words."""
        return self._ranking.all_words(self.plan)

    @cached_property
    def any_word(self) -> Query:
        """What finds and scores those with any."""
        if self.plan.is_of_one_word:
            return self.all_words
        return self._ranking.any_word(self.plan)

    @cached_property
    def finding_all_words(self) -> Query:
        """What finds those with all, without a score."""
        return self._ranking.finding_all_words(self.plan)

    @cached_property
    def finding_any_word(self) -> Query:
        """What finds those with any, without a score."""
        return self._ranking.finding_any_word(self.plan)


def _sought(
    snapshot: Snapshot, curated: Curated, q: str, request: SearchRequest, always: Filter | None
) -> _Sought:
    """Return what words look for, within what is `always` found: with other filters, facets and
    pages they are the same."""
    within = said(always)
    key = (snapshot.edition, curated.serial, q, request.typo, request.prefix, within)
    sought = plans.get(key)
    if sought is None:
        words = snapshot.words
        planned = plan(
            q,
            words.analyzer,
            snapshot.vocabulary_of(always, within),
            curated.thesaurus,
            typo=request.typo,
            prefix=request.prefix,
        )
        sought = _Sought(planned, snapshot.ranking)
        plans.put(key, sought)
    return sought


class _Page:
    """The hits of a page in their order, and what is known of them beside their scores: how many
    have all words, which are pinned, and which were moved by what was learned."""

    __slots__ = ("found", "full", "hits", "moved", "pinned")

    def __init__(self, found: int, hits: list[Scored], full: int | None = None) -> None:
        self.found = found
        self.hits = hits
        self.full = len(hits) if full is None else full
        self.pinned = frozenset[int]()
        self.moved: dict[int, int] = {}


class _Search:
    """A search under way: what it looks for, within what."""

    def __init__(
        self,
        snapshot: Snapshot,
        kind: Kind,
        sought: _Sought,
        applied: Applied,
        always: Filter | None,
    ) -> None:
        self.snapshot = snapshot
        self.searcher = snapshot.searcher
        self.kind = kind
        self.sought = sought
        self.planned = sought.plan
        self.applied = applied
        self.always = always
        self.is_full = True
        """Whether documents with all words are enough."""
        self.must: list[Query] = []
        self.must_not = [self._ids(applied.hidden)] if applied.hidden else []

    # ---- what is found

    def _ids(self, ids: Iterable[str]) -> Query:
        return Query.const_score_query(
            Query.term_set_query(self.snapshot.engine, ID, sorted(ids)), 0.0
        )

    def _within(self, asked: Filter | None) -> list[Query]:
        filter = filters.both(self.always, asked)
        return [] if filter is None else [self.snapshot.matching(filter)]

    def counts(self, asked: Filter | None) -> tuple[FacetCounts, ...]:
        """Return the counts of all facets; after `page`, which decides what is found."""
        return facet_counts(self.searcher, self.kind.counters, asked, self.finds)

    def finds(self, asked: Filter | None) -> Query:
        """Return what finds the documents to count, had no more than this been asked for."""
        sought = self.sought
        wanted = sought.finding_all_words if self.is_full else sought.finding_any_word
        if self.applied.pins and not self.kind.keys:
            pins = self._ids(pin.id for pin in self.applied.pins)
            wanted = Query.boolean_query([(Occur.Should, wanted), (Occur.Should, pins)])
        return restricted(wanted, self._within(asked), self.must_not)

    def page(
        self, asked: Filter | None, begin: int, end: int, learned: Mapping[str, float]
    ) -> _Page:
        """Return the hits from a place, counted from 0, and before another."""
        self.must = self._within(asked)
        if self.kind.keys:
            return self._distinct(begin, end, {})
        pinned = self._pinned() if self.applied.pins else {}
        if not pinned:
            return self._distinct(begin, end, learned)
        must_not = self.must_not
        self.must_not = [*must_not, self._ids(pinned)]
        first = max(begin - len(pinned), 0)
        page = self._distinct(first, end, learned)
        self.must_not = must_not
        return self._arranged(page, pinned, first, begin, end)

    def _pinned(self) -> dict[str, tantivy.DocAddress]:
        """Where the pinned documents are that the filters let through."""
        ids = [pin.id for pin in self.applied.pins]
        query = restricted(self._ids(ids), self.must, self.must_not)
        hits: list[Scored] = self.searcher.search(query, len(ids)).hits
        return {self.searcher.doc(address).get_first(ID) or "": address for _, address in hits}

    def _arranged(
        self,
        page: _Page,
        pinned: Mapping[str, tantivy.DocAddress],
        first: int,
        begin: int,
        end: int,
    ) -> _Page:
        """Put the pinned ones to their places among the others, which are those from `first` on."""
        # Of one for each value there may be fewer than there are documents.
        whole = len(page.hits) == end - first
        others = page.found if whole else min(page.found, first + len(page.hits))
        places = arranged(self.applied.pins, pinned.keys(), others, begin, end)
        hits: list[Scored] = []
        pins: set[int] = set()
        full, moved = 0, dict[int, int]()
        for place, one in enumerate(places):
            if isinstance(one, Pin):
                pins.add(place)
                hits.append((0.0, pinned[one.id]))
                continue
            rank = one - first
            hits.append(page.hits[rank])
            full = place + 1 if rank < page.full else full
            if rank in page.moved:
                moved[place] = page.moved[rank]
        arranged_page = _Page(page.found + len(pinned), hits, full)
        arranged_page.pinned, arranged_page.moved = frozenset(pins), moved
        return arranged_page

    def _distinct(self, begin: int, end: int, learned: Mapping[str, float]) -> _Page:
        if not self.kind.distinct:
            return self._ranked(begin, end, learned)
        pages: list[_Page] = []

        def best(want: int) -> tuple[int, list[Scored]]:
            pages.append(self._ranked(0, want, learned))
            return pages[-1].found, pages[-1].hits

        found, hits = first_of_each(best, self._value, begin, end)
        taken = [(address.segment_ord, address.doc) for _, address in hits]
        full = {(a.segment_ord, a.doc) for _, a in pages[-1].hits[: pages[-1].full]}
        return _Page(found, hits, sum(one in full for one in taken))

    def _value(self, address: tantivy.DocAddress) -> Any:
        """The value of which there is one document."""
        for _, value in reader_of((self.kind.distinct,))(self.snapshot.body(address)):
            return next(iter(value), None) if isinstance(value, list) else value
        return None

    def _ranked(self, begin: int, end: int, learned: Mapping[str, float]) -> _Page:
        if self.kind.keys or not self.planned.slots:
            return self._sorted(begin, end)
        page = self._tiers(end + PLACES_MAX if learned else end)
        if learned:
            self._rerank(page, learned)
        full = max(page.full - begin, 0)
        moved = {place - begin: by for place, by in page.moved.items() if place >= begin}
        page.hits = page.hits[begin:end]
        page.full, page.moved = min(full, len(page.hits)), moved
        return page

    def _sorted(self, begin: int, end: int) -> _Page:
        if self.applied.boosts and not self.kind.keys:
            return _Page(*self._by_boosts(begin, end))
        found, hits = self._by_keys(begin, end)
        if not found and not self.planned.is_of_one_word:
            self.is_full = False
            found, hits = self._by_keys(begin, end)
        return _Page(found, hits, None if self.is_full else 0)

    def _by_keys(self, begin: int, end: int) -> tuple[int, list[Scored]]:
        sought, scored = self.sought, None
        finding = sought.finding_all_words if self.is_full else sought.finding_any_word
        if self.planned.slots:
            scoring = sought.all_words if self.is_full else sought.any_word
            scored = restricted(scoring, self.must, self.must_not)
        finding = restricted(finding, self.must, self.must_not)
        return by_keys(self.searcher, finding, scored, self.kind.keys, begin, end)

    def _tiers(self, end: int) -> _Page:
        """Documents with all words; where those are few, then those with any."""
        end = max(end, FILL)
        found, best = by_score(self.searcher, self._boosted(self.sought.all_words), end)
        full = len(best)
        if found >= FILL or self.planned.is_of_one_word:
            return _Page(found, best)
        self.is_full = False
        taken = {(address.segment_ord, address.doc) for _, address in best}
        found, more = by_score(self.searcher, self._boosted(self.sought.any_word), end + full)
        best += [hit for hit in more if (hit[1].segment_ord, hit[1].doc) not in taken]
        return _Page(found, best, full)

    def _rerank(self, page: _Page, learned: Mapping[str, float]) -> None:
        """Move hits by what was learned of the search."""
        ids = {number_of(id): id for id in learned}
        numbers = self.searcher.fast_field_values(N, [address for _, address in page.hits])
        ranking = [ids.get(int(number or 0), "") for number in numbers]
        order = reranked(ranking, learned)
        page.moved = {place: rank - place for place, rank in enumerate(order) if rank != place}
        page.hits = [page.hits[rank] for rank in order]

    # ---- boosts

    def _boosted(self, query: Query) -> Query:
        """Return the query within the filters, what a rule's boost lets through counting more."""
        for filter, by in self.applied.boosts:
            boosted = self.snapshot.matching(filter)
            query = Query.boolean_query(
                [
                    (Occur.Should, Query.boost_query(restricted(query, [boosted]), by)),
                    (Occur.Should, restricted(query, [], [boosted])),
                ]
            )
        return restricted(query, self.must, self.must_not)

    def _by_boosts(self, begin: int, end: int) -> tuple[int, list[Scored]]:
        """Where nothing has a score, documents come by what boosts them, then by popularity."""
        filters = [(self.snapshot.matching(filter), by) for filter, by in self.applied.boosts]
        groups = sorted(
            product((True, False), repeat=len(filters)),
            key=lambda group: prod(by for (_, by), on in zip(filters, group, strict=True) if on),
            reverse=True,
        )
        finding = self.sought.finding_all_words
        found, hits = 0, list[Scored]()
        for group in groups:
            must = [one for (one, _), on in zip(filters, group, strict=True) if on]
            must_not = [one for (one, _), on in zip(filters, group, strict=True) if not on]
            query = restricted(finding, [*self.must, *must], [*self.must_not, *must_not])
            more, here = by_order(self.searcher, query, max(begin - found, 0), max(end - found, 0))
            found += more
            hits += here
        return found, hits

    # ---- what is shown

    def shown(self, page: _Page, *, explain: bool) -> tuple[Hit, ...]:
        """Return the hits of a page with their documents."""
        kind = self.kind
        bodies = [self.snapshot.body(address) for _, address in page.hits]
        marks: list[dict[str, str]] = [{}] * len(bodies)
        if kind.highlight and self.planned.slots:
            marks = highlights(bodies, reader_of(kind.highlight), self._marker())
        return tuple(
            Hit(
                selected(body, kind.fields),
                page.hits[place][0],
                marks[place],
                place in page.pinned,
                self._why(page, place) if explain else None,
            )
            for place, body in enumerate(bodies)
        )

    def _marker(self) -> Marker:
        term = self.snapshot.words.analyzer.term
        words = {
            term(word) if alternative.together else word
            for slot in self.planned.slots
            for alternative in slot.alternatives
            for word in alternative.terms
        }
        return Marker(words, term, self.snapshot.words.analyzer.language)

    def _why(self, page: _Page, place: int) -> dict[str, object]:
        """Why a hit is where it is."""
        score, address = page.hits[place]
        orders = self.searcher.fast_field_values(ORDER, [address])
        why: dict[str, object] = {
            "tier": self._tier(page, place),
            "score": score,
            "words": {
                " ".join(slot.alternatives[0].terms): part
                for slot in self.planned.slots
                if (part := self._part(slot, address))
            },
            "popularity": popularity_of(int(orders[0] or 0)),
        }
        if place in page.moved:
            why["learned"] = page.moved[place]
        if self.applied.rules:
            why["rules"] = list(self.applied.rules)
        return why

    def _tier(self, page: _Page, place: int) -> str:
        if place in page.pinned:
            return "pinned"
        if self.kind.keys:
            return "sorted"
        if not self.planned.slots:
            return "everything"
        return "all words" if place < page.full else "any word"

    def _part(self, slot: Slot, address: tantivy.DocAddress) -> float:
        """What a word gives to a document's score."""
        query = self.snapshot.ranking.all_words(Plan((slot,)))
        try:
            explained = query.explain(self.searcher, address).to_json()
        except ValueError:
            # It does not have the word.
            return 0.0
        return _explained(explained).value


class _Explained(msgspec.Struct):
    value: float


_explained: Final = msgspec.json.Decoder(_Explained).decode


def suggest(snapshot: Snapshot, q: str, limit: int) -> list[str]:
    """Return searches that begin as `q` does and find something, the likeliest first."""
    words = snapshot.words

    def beside(text: str, beginning: str) -> list[tuple[str, int]]:
        alternatives = (Alternative((term,)) for term in words.analyzer.terms(text)[:WORDS_MAX])
        slots = tuple(Slot((alternative,)) for alternative in alternatives)
        having = snapshot.ranking.finding_all_words(Plan(slots))
        return snapshot.searcher.terms_with_prefix(VOCAB, beginning, having, COMPLETIONS_SEEN)

    return suggestions(q, limit, words.analyzer, snapshot.vocabulary, beside)
