"""Snapshot: what one commit made visible, and what is known about it."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import Final

import tantivy
from tantivy import Query

from hansa.platform.search.analysis import Analyzer, analyzer
from hansa.platform.search.curation import Curation
from hansa.platform.search.engine.layout import BODY, ID, ORDER
from hansa.platform.search.engine.matching import query_of
from hansa.platform.search.engine.ranking import Ranking
from hansa.platform.search.engine.seen import Seen
from hansa.platform.search.engine.wording import TITLE, VOCAB, WORDS
from hansa.platform.search.filters import Filter
from hansa.platform.search.rules import Rulebook
from hansa.platform.search.schema import Schema
from hansa.platform.search.synonyms import NO_CURATION, Thesaurus
from hansa.platform.search.vocabulary import Lexicons, Vocabulary

READ_AT_ONCE: Final = 1_000
SEEN_MAX: Final = 64
"""Filters whose words are in mind."""

_serials = count(1)


class Curated:
    """A curation as it is used: laid out by words. What is kept of answers is kept by its number:
    many sites have none, and share one that says nothing."""

    __slots__ = ("curation", "rules", "serial", "thesaurus")

    def __init__(self, curation: Curation, analyzer: Analyzer) -> None:
        self.serial = next(_serials)
        self.curation = curation
        self.thesaurus = Thesaurus(curation, analyzer)
        self.rules = Rulebook(curation.rules, analyzer.terms)


@lru_cache(maxsize=64)
def _uncurated(locale: str) -> Curated:
    return Curated(NO_CURATION, analyzer(locale))


class Words:
    """What an index knows of words, whatever it was committed with: how they are compared, which
    are like others, and what its site says of them."""

    __slots__ = ("_curated", "analyzer", "lexicons", "schema")

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.analyzer = analyzer(schema.locale)
        self.lexicons = Lexicons()
        self._curated = _uncurated(schema.locale)

    def curated(self, curation: Curation) -> Curated:
        """Return a curation as it is used. Nearly all searches have that of the one before."""
        curated = self._curated
        if curation is not curated.curation and curation != curated.curation:
            self._curated = curated = Curated(curation, self.analyzer)
        return curated


class Spoken:
    """The words of an index as of a commit. A snapshot has them, and they do not have it: what
    refers to each other lives, with its files and threads, until Python looks for such circles."""

    __slots__ = ("_analyzer", "_searcher")

    def __init__(self, words: Words, searcher: tantivy.Searcher) -> None:
        self._analyzer = words.analyzer
        self._searcher = searcher

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return self._searcher.num_docs

    def containing(self, term: str) -> int:
        """Return in how many documents a term is, however it is written there."""
        return self._searcher.doc_freq(WORDS, term)

    def frequency(self, word: str) -> int:
        """Return in how many documents a word is, as it is written."""
        return self._searcher.doc_freq(VOCAB, word)

    def forms(self, word: str) -> int:
        """Return in how many documents a word is, in whichever of its forms."""
        return self._searcher.doc_freq(WORDS, self._analyzer.term(word))

    def naming(self, word: str) -> int:
        """Return in how many titles a word is, in whichever of its forms."""
        return self._searcher.doc_freq(TITLE, self._analyzer.term(word))

    def beginning(self, prefix: str, limit: int) -> list[tuple[str, int]]:
        """Return the words that begin so, the most frequent first, and in how many documents each
        is."""
        return self._searcher.terms_with_prefix(VOCAB, prefix, limit=limit)


class Snapshot:
    """The documents of an index as of a commit. Any thread may read them."""

    def __init__(self, words: Words, index: tantivy.Index) -> None:
        self.schema = words.schema
        self.words = words
        self.serial = serial = next(_serials)
        """Its number among all of the process."""
        self.engine = index.schema
        self.searcher = index.searcher()
        self.ranking = Ranking(words.schema, index.schema)
        self.spoken = spoken = Spoken(words, self.searcher)
        self.vocabulary = Vocabulary(
            spoken,
            lambda: words.lexicons.of(spoken, serial),
            lambda: words.lexicons.at_hand(spoken, serial),
        )
        self._index = index
        self._seen: dict[str, Vocabulary] = {}

    def vocabulary_of(self, always: Filter | None, said: str) -> Vocabulary:
        """Return the words for who finds what a checked filter lets through; `said` is its text."""
        if always is None:
            return self.vocabulary
        known = self._seen.get(said)
        if known is None:
            words, spoken, serial = self.words, self.spoken, self.serial
            seen = Seen(words.analyzer, self.searcher, self.engine, self.matching(always))
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            known = self._seen[said] = Vocabulary(
                seen,
                lambda: words.lexicons.of(spoken, serial),
                lambda: words.lexicons.at_hand(spoken, serial),
            )
        return known

    @property
    def edition(self) -> tuple[int, int]:
        """What answers may be kept by: they depend on the words that are compared with, too."""
        return self.serial, self.words.lexicons.edition(self.spoken, self.serial)

    @property
    def documents(self) -> int:
        """How many there are."""
        return self.searcher.num_docs

    def matching(self, filter: Filter) -> Query:
        """Return the query of a checked filter, which scores nothing."""
        return query_of(filter, self.schema, self._index)

    def body(self, address: tantivy.DocAddress) -> bytes:
        """Return the JSON of a document."""
        body: bytes | None = self.searcher.doc(address).get_first(BODY)
        assert body is not None, "every document has a body"
        return body

    def everything(self) -> Iterator[tuple[str, int, bytes]]:
        """Return all documents, in the order that decides between those of one score: the id, the
        number that says so, and the body of each."""
        for begin in range(0, self.documents, READ_AT_ONCE):
            hits = self.searcher.search(
                Query.all_query(), READ_AT_ONCE, False, ORDER, begin, tantivy.Order.Desc
            ).hits
            for order, address in hits:
                document = self.searcher.doc(address)
                id: str = document.get_first(ID) or ""
                yield id, order, document.get_first(BODY) or b""
