"""Seen: the words of the documents that a filter lets through, as of a commit.

Who finds only a part of an index is to learn nothing of the rest by what a typo is taken for: not
that a word is known there, nor which.
"""

from collections.abc import Sequence
from typing import Final

import tantivy
from tantivy import Query

from hansa.platform.search.analysis import Analyzer
from hansa.platform.search.engine.retrieval import count, restricted
from hansa.platform.search.engine.wording import TITLE, VOCAB, WORDS

COUNTS_MAX: Final = 4_096


class Seen:
    """What an index tells of its words to who finds only a part of it."""

    __slots__ = ("_analyzer", "_counts", "_documents", "_engine", "_filter", "_searcher")

    def __init__(
        self,
        analyzer: Analyzer,
        searcher: tantivy.Searcher,
        engine: tantivy.Schema,
        filter: Query,
    ) -> None:
        self._analyzer = analyzer
        self._searcher = searcher
        self._engine = engine
        self._filter = filter
        self._documents: int | None = None
        self._counts: dict[tuple[str, str], int] = {}

    @property
    def documents(self) -> int:
        """How many of these documents there are."""
        if self._documents is None:
            self._documents = count(self._searcher, self._filter)
        return self._documents

    def containing(self, term: str) -> int:
        """Return in how many of these documents a term is, however it is written there."""
        return self._count(WORDS, term)

    def frequency(self, word: str) -> int:
        """Return in how many of these documents a word is, as it is written."""
        return self._count(VOCAB, word)

    def forms(self, word: str) -> int:
        """Return in how many of these documents a word is, in whichever of its forms."""
        return self._count(WORDS, self._analyzer.term(word))

    def naming(self, word: str) -> int:
        """Return in how many of their titles a word is, in whichever of its forms."""
        return self._count(TITLE, self._analyzer.term(word))

    def beginning(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        """Return the words in them that begin so, the most frequent first, and in how many of them
        each is."""
        return self._searcher.terms_with_prefix(VOCAB, prefix, self._filter, limit)

    def _count(self, field: str, term: str) -> int:
        if not self._searcher.doc_freq(field, term):
            return 0
        known = self._counts.get((field, term))
        if known is None:
            query = restricted(Query.term_query(self._engine, field, term), [self._filter])
            if len(self._counts) >= COUNTS_MAX:
                self._counts.clear()
            known = self._counts[field, term] = count(self._searcher, query)
        return known
