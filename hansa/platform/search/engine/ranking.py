"""Ranking: a plan of words as queries of the engine.

Documents that have all words come before those that have any of them. Within both, what counts is
the sum of BM25 (tantivy's, as Lucene's: k1 1.2, b 0.75) over the fields of a word.

The weights were chosen on two collections that have nothing in common, 19,406 products and 1,400
abstracts, where each stands on a plateau: of 216 choices of weights around them the worst gives
products 0.765, the mean 0.792, and the best for four fifths of the searches 0.791 for the others.
`tests/platform/search/relevance.json` records what they give. nDCG@10 of products / of prose with
all of it is 0.807 / 0.402, and with one part taken away or changed:

- documents with all words not first: 0.785 / 0.401;
- traits in the bag: 0.789 / -; with half the boost of the bag: 0.770 / -; not searched: 0.764 / -;
- no title beside the bag: 0.803 / 0.386; twice the boost: 0.796 / 0.397;
- stop words as other words: 0.807 / 0.392;
- words as they are written, without stems: 0.785 / 0.384.

What else was tried gained on one of the two at most. At a time when they were at 0.781 / 0.403: the
best field instead of the sum gave 0.773 / 0.389, pairs of words next to each other 0.779 / 0.407,
documents with three quarters of the words before those with any 0.781 / 0.391, those with all words
in the title first 0.767 / 0.403, numbers with their decimals as one word 0.778 / 0.404, lengths
that count half as much 0.776 / 0.402.
"""

from collections.abc import Iterator
from math import sqrt
from typing import Final

import tantivy
from tantivy import Occur, Query

from hansa.platform.search.engine.wording import BAG, TITLE, TRAITS, VOCAB, WORDS
from hansa.platform.search.plan import Alternative, Plan
from hansa.platform.search.schema import Schema

TITLE_BOOST: Final = 0.5
"""Beside the bag, for a title of weight 1 in it; the more it weighs there, the less it needs."""
TRAITS_BOOST: Final = 0.1
"""Enough to order what only traits say."""


class Ranking:
    """Makes queries in an index of a schema."""

    __slots__ = ("_engine", "_fields")

    def __init__(self, schema: Schema, engine: tantivy.Schema) -> None:
        self._engine = engine
        self._fields: list[tuple[str, str, float]] = [(BAG, "freq", 1.0)]
        if schema.title:
            field = schema.field(schema.title)
            weight = max(field.words if field else 1, 1)
            self._fields.append((TITLE, "freq", TITLE_BOOST / sqrt(weight)))
        if any(field.words and field.type not in ("text", "keyword") for field in schema.fields):
            self._fields.append((TRAITS, "basic", TRAITS_BOOST))

    def all_words(self, plan: Plan) -> Query:
        """Return what finds and scores the documents that have all words of a plan; as the others,
        without those that lack a phrase or have what is excluded."""
        words = [(Occur.Must, _any(self._slot(slot.alternatives))) for slot in plan.slots]
        return self._limited(plan, words)

    def any_word(self, plan: Plan) -> Query:
        """Return what finds and scores the documents that have any."""
        words = [
            (Occur.Should, query) for slot in plan.slots for query in self._apart(slot.alternatives)
        ]
        return self._limited(plan, words)

    def finding_all_words(self, plan: Plan) -> Query:
        """Return what finds the same as `all_words`, for where scores do not matter: each word is
        sought in one field that has all, which takes half the time."""
        words = [
            (Occur.Must, _any([self._has(one) for one in slot.alternatives])) for slot in plan.slots
        ]
        return self._limited(plan, words)

    def finding_any_word(self, plan: Plan) -> Query:
        """Return what finds the same as `any_word`."""
        words = [
            (Occur.Should, query)
            for slot in plan.slots
            for query in (
                *(self._word(term) for term in slot.alternatives[0].terms),
                *(self._has(one) for one in slot.alternatives[1:]),
            )
        ]
        return self._limited(plan, words)

    def _has(self, alternative: Alternative) -> Query:
        if alternative.together:
            return self._phrase(alternative.terms)
        words = [self._word(term) for term in alternative.terms]
        if len(words) == 1:
            return words[0]
        return Query.boolean_query([(Occur.Must, word) for word in words])

    def _word(self, term: str) -> Query:
        return Query.term_query(self._engine, WORDS, term, "basic")

    def _limited(self, plan: Plan, words: list[tuple[Occur, Query]]) -> Query:
        phrases = [Query.const_score_query(self._phrase(one), 0.0) for one in plan.phrases]
        without = [self._has(one) for one in plan.without]
        if len(words) > 1:
            found = Query.boolean_query(words)
        else:
            found = words[0][1] if words else Query.all_query()
        if not phrases and not without:
            return found
        return Query.boolean_query(
            [
                (Occur.Must, found),
                *((Occur.Must, phrase) for phrase in phrases),
                *((Occur.MustNot, one) for one in without),
            ]
        )

    def _slot(self, alternatives: tuple[Alternative, ...]) -> list[Query]:
        return [query for one in alternatives for query in self._alternative(one)]

    def _apart(self, alternatives: tuple[Alternative, ...]) -> Iterator[Query]:
        """As `_slot`, but of several words that were typed each counts by itself."""
        typed, *others = alternatives
        for term in typed.terms:
            yield from self._term(term, typed.weight)
        for one in others:
            yield from self._alternative(one)

    def _alternative(self, alternative: Alternative) -> Iterator[Query]:
        terms, weight = alternative.terms, alternative.weight
        if len(terms) == 1 and not alternative.together:
            yield from self._term(terms[0], weight)
        elif alternative.together:
            yield _boosted(self._phrase(terms), weight)
        else:
            yield Query.boolean_query(
                [(Occur.Must, _any(list(self._term(term, weight)))) for term in terms]
            )

    def _term(self, term: str, weight: float) -> Iterator[Query]:
        for field, option, boost in self._fields:
            yield _boosted(Query.term_query(self._engine, field, term, option), weight * boost)

    def _phrase(self, words: tuple[str, ...]) -> Query:
        if len(words) == 1:
            return Query.term_query(self._engine, VOCAB, words[0], "freq")
        return Query.phrase_query(self._engine, VOCAB, list(words))


def _any(queries: list[Query]) -> Query:
    if len(queries) == 1:
        return queries[0]
    return Query.boolean_query([(Occur.Should, one) for one in queries])


def _boosted(query: Query, by: float) -> Query:
    return query if by == 1.0 else Query.boost_query(query, by)
