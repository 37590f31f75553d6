"""Plan: what a search looks for: slots of alternatives, made of its words. Pure.

A slot stands for a word that was typed, or for several that mean one thing. Its first alternative
is what was typed; the others are synonyms, the same in one word or in two (``flat screen``,
``flatscreen``; ``8gb``, ``8 gb``), what a word that is not known may stand for, and what the last
word may be the beginning of.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from hansa.kernel.structs import Struct
from hansa.platform.search.analysis import Analyzer
from hansa.platform.search.request import WORDS_MAX
from hansa.platform.search.synonyms import Thesaurus
from hansa.platform.search.vocabulary import Vocabulary

SYNONYM: Final = 0.7
JOINED: Final = 0.8
PARTED: Final = 0.8
GUESSED_PARTS: Final = 0.5
UNFINISHED: Final = 0.5
"""How much alternatives count against what was typed."""

_QUOTES: Final = str.maketrans("“”„«»", '"""""')
# A quote opens at the beginning of a word only: 17" is inches.
_MARKED: Final = re.compile(r'(?<!\S)(-?)"([^"]+)"(?!\w)|(?<!\S)-(?=[^\W_])(\S+)')


class Alternative(Struct):
    """Terms that must all be in a document, wherever; or with `together` the words as they are
    written, next to each other."""

    terms: tuple[str, ...]
    weight: float = 1.0
    together: bool = False


class Slot(Struct):
    """What may stand for one thing that is searched for; the first is what was typed."""

    alternatives: tuple[Alternative, ...]


class Plan(Struct):
    """Slots, each to be found; `phrases` that a document must have word by word; what it must not
    have; and the words that stand for one that is not known."""

    slots: tuple[Slot, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    without: tuple[Alternative, ...] = ()
    corrected: dict[str, tuple[str, ...]] = {}

    @property
    def is_of_one_word(self) -> bool:
        """Whether to have any of its words is to have all."""
        return len(self.slots) <= 1 and all(
            len(slot.alternatives[0].terms) == 1 for slot in self.slots
        )


def plan(
    q: str,
    analyzer: Analyzer,
    vocabulary: Vocabulary,
    thesaurus: Thesaurus,
    *,
    typo: bool = True,
    prefix: bool = False,
) -> Plan:
    """Return the plan of a search: ``red "usb hub" -lenovo``. Of more than `WORDS_MAX` words the
    first count."""
    text = q.translate(_QUOTES)
    phrases: list[tuple[str, ...]] = []
    without: list[Alternative] = []

    def taken(marked: re.Match[str]) -> str:
        minus, quoted, word = marked.groups()
        words = analyzer.words(word or quoted)
        if word or minus:
            without.append(_excluded(words, analyzer, together=quoted is not None))
            return " "
        phrases.append(tuple(_as_written(one, vocabulary) for one in words))
        return f" {quoted} "

    if '"' in text or "-" in text:
        text = _MARKED.sub(taken, text)
    return _Planning(analyzer, vocabulary, thesaurus, typo).plan(
        analyzer.words(text)[:WORDS_MAX],
        tuple(filter(None, phrases)),
        tuple(one for one in without if one.terms),
        # After a space the last word is whole.
        unfinished=prefix and bool(text) and text[-1].isalnum(),
    )


def _excluded(words: Sequence[str], analyzer: Analyzer, *, together: bool) -> Alternative:
    terms = tuple(words) if together else tuple(analyzer.term(word) for word in words)
    return Alternative(terms, together=together)


def _as_written(word: str, vocabulary: Vocabulary) -> str:
    if vocabulary.frequency(word):
        return word
    return max(vocabulary.spellings(word), key=vocabulary.frequency, default=word)


class _Planning:
    """One search's way from words to slots."""

    def __init__(
        self, analyzer: Analyzer, vocabulary: Vocabulary, thesaurus: Thesaurus, typo: bool
    ) -> None:
        self.term = analyzer.term
        self.vocabulary = vocabulary
        self.thesaurus = thesaurus
        self.typo = typo
        self.corrected: dict[str, tuple[str, ...]] = {}

    def plan(
        self,
        words: list[str],
        phrases: tuple[tuple[str, ...], ...],
        without: tuple[Alternative, ...],
        *,
        unfinished: bool,
    ) -> Plan:
        terms = [self.term(word) for word in words]
        last = len(words) - 1 if unfinished else -1
        stops = self.thesaurus.stops
        if all(word in stops for word in words):
            stops = frozenset[str]()
        slots: dict[Slot, None] = {}
        place = 0
        while place < len(words):
            taken, slot = self._several(words, terms, place, last)
            if slot is None and (place == last or words[place] not in stops):
                slot = self._one(words[place], terms[place], unfinished=place == last)
            if slot is not None:
                slots[slot] = None
            place += taken or 1
        return Plan(tuple(slots), phrases, without, self.corrected)

    def _several(
        self, words: list[str], terms: list[str], place: int, last: int
    ) -> tuple[int, Slot | None]:
        """A slot of several words, or of one with synonyms, and how many words it takes."""
        taken, others = self.thesaurus.at(terms, place)
        if taken:
            typed = Alternative(tuple(terms[place : place + taken]))
            return taken, Slot((typed, *(self._synonym(one, typed.terms) for one in others)))
        if place + 1 < len(words) and place + 1 != last:
            joined = words[place] + words[place + 1]
            if self.vocabulary.frequency(joined):
                typed = Alternative((terms[place], terms[place + 1]))
                return 2, Slot((typed, Alternative((self.term(joined),), JOINED)))
        return 0, None

    def _synonym(self, terms: tuple[str, ...], typed: tuple[str, ...]) -> Alternative:
        """What means the same. Where it is rarer it counts no more for that: who asks for a tv is
        not after the few documents that say telly."""
        rarity = self.vocabulary.rarity(terms)
        less = min(self.vocabulary.rarity(typed) / rarity, 1.0) if rarity else 1.0
        return Alternative(terms, SYNONYM * less)

    def _one(self, word: str, term: str, *, unfinished: bool) -> Slot:
        typed = Alternative((term,))
        others: dict[tuple[str, ...], Alternative] = {}

        def add(terms: tuple[str, ...], weight: float, together: bool = False) -> None:
            if terms not in others or others[terms].weight < weight:
                others[terms] = Alternative(terms, weight, together)

        known = self.vocabulary.known(word)
        if known and (parts := self.vocabulary.parts(word)) is not None:
            add(parts, PARTED, True)
        if unfinished and (completions := self.vocabulary.completions(word)):
            known = True
            for meant in completions:
                add((self.term(meant.word),), meant.weight)
            typed = Alternative((term,), UNFINISHED)
        if not known:
            spellings = self.vocabulary.spellings(word)
            for spelling in spellings:
                add((self.term(spelling),), 1.0)
            if not spellings and self.typo:
                self._guess(word, add, unfinished=unfinished)
        same = others.pop(typed.terms, typed)
        return Slot((max(typed, same, key=lambda one: one.weight), *others.values()))

    def _guess(
        self,
        word: str,
        add: Callable[[tuple[str, ...], float, bool], None],
        *,
        unfinished: bool,
    ) -> None:
        meant = self.vocabulary.similar_beginnings(word) if unfinished else ()
        meant = meant or self.vocabulary.similar(word)
        for one in meant:
            add((self.term(one.word),), one.weight, False)
        corrected = [one.word for one in meant]
        if (parts := self.vocabulary.parts(word)) is not None:
            add(parts, GUESSED_PARTS, True)
            corrected.append(" ".join(parts))
        if corrected:
            self.corrected[word] = tuple(corrected)
