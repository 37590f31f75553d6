"""Synonyms: what a site says of words: which mean the same, which mean little. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from hansa.kernel.problems import Fault, Unprocessable
from hansa.platform.search.analysis import Analyzer
from hansa.platform.search.curation import Curation, Synonym
from hansa.platform.search.rules import Words

Phrase = tuple[str, ...]
"""Terms after each other."""


class InvalidSynonym(Unprocessable):
    """A synonym that says nothing (422); `errors` tells where."""

    slug = "invalid-synonym"
    title = "The synonym is not valid"


def check(synonym: Synonym, words: Words) -> None:
    """Raise InvalidSynonym for one that no search could be helped by."""
    faults = tuple(_faults(synonym, words))
    if faults:
        raise InvalidSynonym(f"{faults[0].pointer}: {faults[0].detail}", errors=faults)


def _faults(synonym: Synonym, words: Words) -> Iterator[Fault]:
    texts = {f"/words/{place}": text for place, text in enumerate(synonym.words)}
    if synonym.of is not None:
        texts["/of"] = synonym.of
    meant = {pointer: tuple(words(text)) for pointer, text in texts.items()}
    for pointer, phrase in meant.items():
        if not phrase:
            yield Fault(pointer, "there is no word in it")
    if len(set(meant.values())) == 1:
        yield Fault("/words", "these are all one word; say another that means the same")


class Thesaurus:
    """The synonyms and stop words of a curation, as terms of a language. Made once, when the
    curation changes."""

    __slots__ = ("_by_first", "stops")

    def __init__(self, curation: Curation, analyzer: Analyzer) -> None:
        self.stops = analyzer.stops
        if curation.stop_words:  # else the set is one for all sites
            more = (word for given in curation.stop_words for word in analyzer.words(given))
            self.stops = self.stops.union(more)
        means: dict[Phrase, dict[Phrase, None]] = {}
        for synonym in curation.synonyms:
            words = [_phrase(one, analyzer) for one in synonym.words]
            if synonym.of is not None:
                means.setdefault(_phrase(synonym.of, analyzer), {}).update(dict.fromkeys(words))
            else:
                for one in words:
                    means.setdefault(one, {}).update(dict.fromkeys(words))
        self._by_first: dict[str, list[tuple[Phrase, tuple[Phrase, ...]]]] = {}
        for phrase in sorted(filter(None, means), key=len, reverse=True):
            others = tuple(one for one in means[phrase] if one and one != phrase)
            if others:
                self._by_first.setdefault(phrase[0], []).append((phrase, others))

    def at(self, terms: Sequence[str], place: int) -> tuple[int, tuple[Phrase, ...]]:
        """Return how many terms from a place on are the longest phrase that has synonyms, and
        those; 0 and nothing where there is none."""
        for phrase, others in self._by_first.get(terms[place], ()):
            if phrase == tuple(terms[place : place + len(phrase)]):
                return len(phrase), others
        return 0, ()


def _phrase(text: str, analyzer: Analyzer) -> Phrase:
    return tuple(analyzer.term(word) for word in analyzer.words(text))


NO_CURATION: Final = Curation()
