"""Vocabulary: which words a collection has: for typos, for beginnings of words, for suggestions.

Whether a word is known, and in how many documents it is, is asked of the index itself, which is
never behind. What looks for similar words has a lexicon in memory: the `WORDS_MAX` most frequent,
as of a commit not long ago. Words beyond those are found as ever, but no typo leads to them.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log1p, sqrt
from typing import Final, Protocol, TypeVar

from rapidfuzz import process
from rapidfuzz.distance import OSA

from hansa.kernel import machine
from hansa.kernel.structs import Struct
from hansa.platform.search.analysis import fold

WORDS_MAX: Final = 100_000
"""How many words are kept to compare with: some 12 MB."""
INITIALS_MAX: Final = 64
"""How many letters, the most frequent, may stand for a wrong first one."""
TYPO_LETTERS_MIN: Final = 4
"""Shorter words have too many neighbours to guess (Algolia's rule; Meilisearch's is 5)."""
TWO_TYPOS_LETTERS_MIN: Final = 8
SIMILAR_MAX: Final = 5
WEIGHT_MIN: Final = 0.1
"""A word that counts less than this against another is not what is meant."""
PARTS_RATIO: Final = 4
COMPLETIONS_MAX: Final = 40
COMPLETIONS_SEEN: Final = 200
"""How many of the words that begin so are looked at, by how frequent they are."""
ANSWERS_MAX: Final = 2_048
"""How many answers are kept for searches to come."""
REST: Final = 20
"""A lexicon is read again only after so many times as long as reading it took: at most 5 % of a
core, however often the index commits."""

Answer = TypeVar("Answer")


class Terms(Protocol):
    """What an index tells of its words, as they are written. Any thread may ask."""

    @property
    def documents(self) -> int:
        """How many documents there are."""
        ...

    def containing(self, term: str) -> int:
        """Return in how many documents a term is, however it is written there."""
        ...

    def frequency(self, word: str) -> int:
        """Return in how many documents a word is."""
        ...

    def forms(self, word: str) -> int:
        """Return in how many documents a word is, in whichever of its forms."""
        ...

    def naming(self, word: str) -> int:
        """Return in how many titles a word is, in whichever of its forms."""
        ...

    def beginning(self, prefix: str, limit: int) -> Sequence[tuple[str, int]]:
        """Return the words that begin so, the most frequent first, each with how many documents it
        is in."""
        ...


class Meant(Struct):
    """A word that may be meant, and how much it counts against one that was typed, up to 1."""

    word: str
    weight: float


class Lexicon:
    """Words to compare with, without accents."""

    __slots__ = ("_accented", "_alike", "_initials", "_spellings", "_words")

    def __init__(self, words: Iterable[str]) -> None:
        self._words: set[str] = set()
        self._alike: dict[tuple[str, int], list[str]] = {}
        """By the first letter and how many there are."""
        self._spellings: dict[str, list[str]] = {}
        for word in words:
            folded = word
            if not word.isascii() and (folded := fold(word)) != word:
                self._spellings.setdefault(folded, []).append(word)
            if folded and folded not in self._words and not folded.isdigit():
                self._words.add(folded)
                self._alike.setdefault((folded[0], len(folded)), []).append(folded)
        self._accented = sorted(self._spellings)
        initials = Counter({first: 0 for first, _ in self._alike})
        for (first, _), alike in self._alike.items():
            initials[first] += len(alike)
        self._initials = [first for first, _ in initials.most_common(INITIALS_MAX)]

    def spellings(self, word: str) -> Sequence[str]:
        """Return how a word is written with accents; nothing where it has none."""
        return self._spellings.get(fold(word), ())

    def accented(self, beginning: str) -> Iterable[str]:
        """Return the words with accents that begin so without them."""
        for at in range(bisect_left(self._accented, beginning), len(self._accented)):
            if not self._accented[at].startswith(beginning):
                break
            yield from self._spellings[self._accented[at]]

    def one_edit_from(self, word: str) -> set[str]:
        """Return the words that one edit makes of one: a letter that is missing, too many, wrong,
        or exchanged with the next (the optimal string alignment of Damerau and Levenshtein)."""
        rest = word[1:]
        others = {rest, word[1:2] + word[:1] + word[2:]}
        for initial in self._initials:
            others |= {initial + rest, initial + word}
        return self._words & others | self._within(1, word)

    def two_edits_from(self, word: str) -> set[str]:
        """Return the words that two edits make of one, neither of its first letter."""
        return self._within(2, word)

    def one_edit_from_beginning(self, word: str) -> set[str]:
        """Return the words of which one edit, not of the first letter, makes a beginning of one."""
        longer = [
            other
            for (first, letters), alike in self._alike.items()
            if first == word[0] and letters >= len(word) - 1
            for other in alike
        ]
        found: set[str] = set()
        for letters in range(len(word) - 1, len(word) + 2):
            beginnings = [other[:letters] for other in longer]
            for _, _, place in process.extract(
                word, beginnings, scorer=OSA.distance, score_cutoff=1, limit=None
            ):
                found.add(longer[place])
        return found

    def _within(self, edits: int, word: str) -> set[str]:
        """The words at most so many edits away that begin with the same letter."""
        return {
            other
            for letters in range(len(word) - edits, len(word) + edits + 1)
            for other, _, _ in process.extract(
                word,
                self._alike.get((word[0], letters), ()),
                scorer=OSA.distance,
                score_cutoff=edits,
                limit=None,
            )
        }


class Vocabulary:
    """The words of an index as of a commit. Any thread may ask it."""

    __slots__ = (
        "_at_hand",
        "_begun",
        "_completions",
        "_lexicon",
        "_now",
        "_parts",
        "_similar",
        "_terms",
    )

    def __init__(
        self,
        terms: Terms,
        lexicon: Callable[[], Lexicon],
        at_hand: Callable[[], Lexicon | None] | None = None,
    ) -> None:
        self._terms = terms
        self._now = lexicon
        self._at_hand = at_hand or lexicon
        self._lexicon: Lexicon | None = None
        self._similar: dict[str, tuple[Meant, ...]] = {}
        self._begun: dict[str, tuple[Meant, ...]] = {}
        self._completions: dict[str, tuple[Meant, ...]] = {}
        self._parts: dict[str, tuple[str, str] | None] = {}

    def frequency(self, word: str) -> int:
        """Return in how many documents a word is as it is written."""
        return self._terms.frequency(word)

    def rarity(self, terms: Sequence[str]) -> float:
        """Return how much a document is worth for having terms: the sum of their inverse document
        frequencies, as in BM25 (Robertson and Sparck Jones 1976, without negative ones)."""
        documents = self._terms.documents
        counts = (min(self._terms.containing(term), documents) for term in terms)
        return sum(log1p((documents - count + 0.5) / (count + 0.5)) for count in counts)

    def known(self, word: str) -> bool:
        """Tell whether documents have a word, or a form of it."""
        return self._terms.forms(word) > 0

    def _compared(self) -> Lexicon:
        """The lexicon of now. What was answered from another one is forgotten."""
        lexicon = self._now()
        if lexicon is not self._lexicon:
            self._lexicon = lexicon
            self._similar, self._begun, self._completions = {}, {}, {}
        return lexicon

    def spellings(self, word: str) -> Sequence[str]:
        """Return how an unknown word is written with accents."""
        spellings = self._compared().spellings(word)
        return [one for one in spellings if self._terms.frequency(one)]

    def similar(self, word: str) -> tuple[Meant, ...]:
        """Return the words that an unknown one may stand for, the likeliest first: those one edit
        away or, from `TWO_TYPOS_LETTERS_MIN` letters and where there is none, two that leave the
        first letter. Digits are as they were typed: the next number is another thing."""
        self._compared()
        return _kept(self._similar, word, self._similar_to)

    def _similar_to(self, typed: str) -> tuple[Meant, ...]:
        word = fold(typed)
        if len(word) < TYPO_LETTERS_MIN - 1 or word.isdigit():
            return ()
        lexicon = self._compared()
        likely = self._likeliest_of(lexicon.one_edit_from(word), word)
        if not likely and len(word) >= TWO_TYPOS_LETTERS_MIN:
            likely = self._likeliest_of(lexicon.two_edits_from(word), word)
        return likely[:SIMILAR_MAX]

    def similar_beginnings(self, word: str) -> tuple[Meant, ...]:
        """Return the words that an unfinished one may be the beginning of when nothing begins so:
        those that begin with what one edit makes of it."""
        self._compared()
        return _kept(self._begun, word, self._begun_by)

    def _begun_by(self, typed: str) -> tuple[Meant, ...]:
        word = fold(typed)
        if len(word) < TYPO_LETTERS_MIN or word.isdigit():
            return ()
        found = self._compared().one_edit_from_beginning(word)
        return self._likeliest_of(found, word)[:SIMILAR_MAX]

    def _likeliest_of(self, found: Iterable[str], word: str) -> tuple[Meant, ...]:
        lexicon = self._compared()
        close: dict[str, float] = {}
        digits = _digits(word)
        for other in found:
            if len(other) >= TYPO_LETTERS_MIN and _digits(other) == digits:
                for written in (other, *lexicon.spellings(other)):
                    # Few people miss the first letter.
                    close[written] = 1.0 if other[0] == word[0] else 0.5
        frequent = {one: count for one in close if (count := self._terms.frequency(one))}
        return self.likeliest(frequent, close)

    def completions(self, beginning: str) -> tuple[Meant, ...]:
        """Return the words that begin so and are the likeliest to be searched for: those that name
        documents, and among them the frequent ones. Accents need not be typed, as soon as there is
        a lexicon: somebody who is typing does not wait for one."""
        if self._at_hand() is None:
            return self._completions_of(beginning)
        self._compared()
        return _kept(self._completions, beginning, self._completions_of)

    def _completions_of(self, beginning: str) -> tuple[Meant, ...]:
        frequent = dict(self._terms.beginning(beginning, COMPLETIONS_SEEN))
        if (lexicon := self._at_hand()) is not None:
            for word in lexicon.accented(beginning):
                if count := self._terms.frequency(word):
                    frequent[word] = count
        return self.likeliest(frequent)[:COMPLETIONS_MAX]

    def likeliest(
        self, frequent: Mapping[str, int], close: Mapping[str, float] | None = None
    ) -> tuple[Meant, ...]:
        """Return words by how likely they are searched for, given in how many documents each is,
        which counts a tenth of in how many titles, and how close to what was typed. The weights are
        roots of the shares of the first: a word a hundred times rarer counts a tenth, and one that
        is rarer still is left out."""
        shares: dict[str, float] = {}
        for word, count in frequent.items():
            share = min(self._terms.naming(word), count) + count / 10
            shares[word] = share * close[word] ** 2 if close else share
        most = max(shares.values(), default=1.0)
        likely = [word for word, share in shares.items() if share >= WEIGHT_MIN**2 * most]
        likely.sort(key=lambda word: (-shares[word], word))
        return tuple(Meant(word, sqrt(shares[word] / most)) for word in likely)

    def parts(self, word: str) -> tuple[str, str] | None:
        """Return the two words that one is made of, as where a space was left out: of all cuts the
        one whose rarer word is the most frequent. Where the whole is a word, too, those are
        more than `PARTS_RATIO` times as frequent: ``wifi`` is ``wi fi``."""
        return _kept(self._parts, word, self._parts_of)

    def _parts_of(self, word: str) -> tuple[str, str] | None:
        best, most = None, self._terms.frequency(word) * PARTS_RATIO
        for at in range(1, len(word)):
            left, right = word[:at], word[at:]
            # A single letter is a word only beside a number.
            if min(at, len(right)) < 2 and left[-1].isdigit() == right[0].isdigit():
                continue
            frequent = self._terms.frequency(left)
            if frequent > most and (rarer := min(frequent, self._terms.frequency(right))) > most:
                best, most = (left, right), rarer
        return best


def _digits(word: str) -> str:
    return "" if word.isalpha() else "".join(filter(str.isdigit, word))


def _kept(answers: dict[str, Answer], word: str, answer: Callable[[str], Answer]) -> Answer:
    try:
        return answers[word]
    except KeyError:
        if len(answers) >= ANSWERS_MAX:
            answers.clear()
        answers[word] = found = answer(word)
        return found


class Lexicons:
    """The lexicon of an index that goes on changing. After a commit it is read anew on a thread as
    soon as somebody asks, and the one before serves meanwhile. The very first is read by who needs
    it: `ready` tells beforehand whether that would take its time."""

    __slots__ = ("_editions", "_generation", "_lexicon", "_lock", "_not_before", "_reading")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lexicon: Lexicon | None = None
        self._generation = -1
        self._not_before = 0.0
        self._editions = 0
        self._reading: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        """Whether there is one already."""
        return self._lexicon is not None

    def edition(self, terms: Terms, generation: int) -> int:
        """Return which lexicon answers are from, 0 where there is none yet. One that is behind is
        read anew, as by `of`: so answers may be kept by their edition."""
        if self._lexicon is not None:
            self.of(terms, generation)
        return self._editions

    def at_hand(self, terms: Terms, generation: int) -> Lexicon | None:
        """Return the lexicon, as `of` does; have it read and return None where there is none."""
        if self._lexicon is None:
            self._refresh(terms, generation)
            return None
        return self.of(terms, generation)

    def of(self, terms: Terms, generation: int) -> Lexicon:
        """Return the lexicon of an index, which holds `terms` since its commit `generation`."""
        lexicon = self._lexicon
        if lexicon is None:
            with self._lock:
                return self._lexicon or self._read(terms, generation)
        if generation > self._generation and machine.monotonic() >= self._not_before:
            self._refresh(terms, generation)
        return lexicon

    def _refresh(self, terms: Terms, generation: int) -> None:
        with self._lock:
            if self._reading is None or not self._reading.is_alive():
                self._reading = threading.Thread(
                    target=self._read, args=(terms, generation), name="lexicon", daemon=True
                )
                self._reading.start()

    def _read(self, terms: Terms, generation: int) -> Lexicon:
        began = machine.monotonic()
        lexicon = Lexicon(word for word, _ in terms.beginning("", WORDS_MAX))
        ended = machine.monotonic()
        self._not_before = ended + REST * (ended - began)
        self._lexicon, self._generation = lexicon, generation
        self._editions += 1
        return lexicon

    def settle(self) -> None:
        """Wait until nothing is being read."""
        if (reading := self._reading) is not None:
            reading.join()
