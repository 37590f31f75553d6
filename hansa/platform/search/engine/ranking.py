"""Ranking: a plan of words as queries of the engine.

Documents that have all words come before those that have any of them. Within both, what counts is
the sum of BM25 (tantivy's, as Lucene's: k1 1.2, b 0.75) over a word's fields.

How the weights were found is told in `docs/search.md`; what each is worth, on two collections that
have nothing in common, `hansa search evaluate` tells.
"""

from collections.abc import Iterator
from typing import Final

import tantivy
from tantivy import Occur, Query

from hansa.platform.search.engine.wording import BAG, TITLE, TRAITS, VOCAB
from hansa.platform.search.plan import Alternative, Plan
from hansa.platform.search.schema import Schema

TITLE_BOOST: Final = 0.3
"""Beside the bag, in which the title has its weight already. Prose gains by it up to 0.5, products
lose above it."""
TRAITS_BOOST: Final = 0.1
"""Enough to order what only traits say."""


class Ranking:
    """Makes queries in an index of a schema."""

    __slots__ = ("_engine", "_fields")

    def __init__(self, schema: Schema, engine: tantivy.Schema) -> None:
        self._engine = engine
        self._fields: list[tuple[str, str, float]] = [(BAG, "freq", 1.0)]
        if schema.title:
            self._fields.append((TITLE, "freq", TITLE_BOOST))
        if any(field.words and field.type not in ("text", "keyword") for field in schema.fields):
            self._fields.append((TRAITS, "basic", TRAITS_BOOST))

    def queries(self, plan: Plan) -> tuple[Query, Query]:
        """Return what finds the documents that have all words of a plan, and those that have any;
        both without those that lack a phrase or have what is excluded."""
        all_words = [(Occur.Must, _any(self._slot(slot.alternatives))) for slot in plan.slots]
        any_word = [
            (Occur.Should, query)
            for slot in plan.slots
            for query in self._apart(slot.alternatives)
        ]
        return self._limited(plan, all_words), self._limited(plan, any_word)

    def _limited(self, plan: Plan, words: list[tuple[Occur, Query]]) -> Query:
        phrases = [Query.const_score_query(self._phrase(one), 0.0) for one in plan.phrases]
        without = [_any(list(self._alternative(one))) for one in plan.without]
        if not phrases and not without:
            return Query.boolean_query(words) if len(words) > 1 else words[0][1]
        found = Query.boolean_query(words) if words else Query.all_query()
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
