"""Marking: the found words in the texts of a hit, as a piece of HTML. Pure.

A text is not taken apart: it is gone over for what begins like a word that was looked for, and only
what stands there is stemmed. For a title and a description that is a twentieth of the work.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from html import escape
from typing import Final

FRAGMENT_LETTERS: Final = 200
TEXT_LETTERS_MAX: Final = 20_000
"""Words further on in a text are not marked."""
OPEN: Final = "<mark>"
CLOSE: Final = "</mark>"
GAP: Final = "…"

_BEGIN: Final = "\x02"
_END: Final = "\x03"

_WORD: Final = re.compile(r"[^\W_]+")
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u1100-\u11ff\uac00-\ud7af]"
)
"""Letters of scripts without spaces, of which pairs are looked for."""
_TWO_FOR_ONE: Final = re.compile("ss|ae|oe|th|ij|ts|dz|ff|fi|fl")
"""What a single letter, such as ß or æ, may become where accents are taken off."""

Span = tuple[int, int, str]
"""Where a word begins and ends in a text, and which one of the search it is."""


class Marker:
    """Marks words, given as terms; `term` makes that of a word of a text in small letters."""

    __slots__ = ("_begins", "_pairs", "_term", "_words")

    def __init__(self, words: Iterable[str], term: Callable[[str], str]) -> None:
        self._words = frozenset(words)
        self._term = term
        self._pairs = sorted(word for word in self._words if _UNSPACED.search(word))
        self._begins = sorted({_begin(word) for word in self._words.difference(self._pairs)})

    def marked(self, text: str) -> tuple[int, str] | None:
        """Return how many different words a text has, and the piece of it with the most of them,
        marked and all else escaped; None where it has none."""
        if len(text) > TEXT_LETTERS_MAX:
            text = text[:TEXT_LETTERS_MAX]
        if text.isascii():
            small = folded = text.lower()
        else:
            text = unicodedata.normalize("NFC", text)
            small, folded = _folded(text)
        spans = self._spans(small, folded)
        if not spans:
            return None
        begin, end = (0, len(text)) if len(text) <= FRAGMENT_LETTERS else _window(text, spans)
        parts = [GAP] if begin else []
        at = begin
        for first, last, _ in spans:
            if first >= at and last <= end:
                parts += (_plain(text[at:first]), _BEGIN, _plain(text[first:last]), _END)
                at = last
        parts.append(_plain(text[at:end]))
        if end < len(text):
            parts.append(GAP)
        piece = escape("".join(parts)).replace(_BEGIN, OPEN).replace(_END, CLOSE)
        return len({word for _, _, word in spans}), piece

    def _spans(self, small: str, folded: str) -> list[Span]:
        """Where the words are in a text, given in small letters and without accents."""
        found: list[Span] = []
        for begin in self._begins:
            at = folded.find(begin)
            while at >= 0:
                end = at + len(begin)
                if (at == 0 or not folded[at - 1].isalnum()) and (match := _WORD.match(small, at)):
                    end = max(end, match.end())
                    if (word := self._term(match[0])) in self._words:
                        found.append((at, match.end(), word))
                at = folded.find(begin, end)
        for pair in self._pairs:
            at = folded.find(pair)
            while at >= 0:
                found.append((at, at + len(pair), pair))
                at = folded.find(pair, at + 1)
        if len(found) > 1:
            found.sort()
        return _joined(found) if self._pairs else found


def _plain(text: str) -> str:
    """A text without the signs that stand for marks until all else is escaped."""
    if _BEGIN in text or _END in text:
        return text.replace(_BEGIN, " ").replace(_END, " ")
    return text


def _begin(word: str) -> str:
    """What every form of a word begins with: stems differ from words in their ends (happi, happy),
    short ones from the second letter on (die, dying)."""
    if not word.isalpha():
        return word
    most = 1 if len(word) <= 3 else min(4, len(word) - 1)
    double = _TWO_FOR_ONE.search(word, 0, most + 1)
    return word[: max(1, min(most, double.start()) if double else most)]


def _folded(text: str) -> tuple[str, str]:
    """Return a text in small letters, and that without accents, each as long as the text."""
    small = text.lower()
    if len(small) != len(text):
        small = "".join(one if len(one.lower()) != 1 else one.lower() for one in text)
    return small, small.translate(_FOLDING)


class _Folding(dict[int, int]):
    """Letters to the ones that they are without accents, as far as that is one."""

    def __missing__(self, letter: int) -> int:
        parts = unicodedata.normalize("NFKD", chr(letter))
        bare = "".join(one for one in parts if not unicodedata.combining(one)).lower()
        self[letter] = folded = ord(bare) if len(bare) == 1 else letter
        return folded


_FOLDING: Final = _Folding()


def _joined(spans: list[Span]) -> list[Span]:
    """Pairs of letters that overlap, as one."""
    joined: list[Span] = []
    for begin, end, word in spans:
        if joined and begin <= joined[-1][1]:
            first, last, before = joined[-1]
            joined[-1] = (first, max(last, end), before)
        else:
            joined.append((begin, end, word))
    return joined


def _window(text: str, spans: list[Span]) -> tuple[int, int]:
    """Where the piece begins and ends that has the most different words, then the most words."""
    best: tuple[int, int, int, int] = (0, 0, 0, 0)
    last = 0
    for first, (begin, _, _) in enumerate(spans):
        last = max(last, first)
        while last + 1 < len(spans) and spans[last + 1][1] - begin <= FRAGMENT_LETTERS:
            last += 1
        within = spans[first : last + 1]
        worth = (len({word for _, _, word in within}), len(within))
        if worth > best[:2]:
            best = (*worth, begin, within[-1][1])
    begin, end = best[2], best[3]
    spare = max(FRAGMENT_LETTERS - (end - begin), 0)
    # More of what stands before is shown than a reader needs, less than would push the words out.
    begin = max(0, begin - spare // 3)
    end = min(len(text), begin + max(FRAGMENT_LETTERS, end - begin))
    begin = max(0, min(begin, end - FRAGMENT_LETTERS))
    return _after_space(text, begin, best[2]), _before_space(text, end, best[3])


def _after_space(text: str, at: int, most: int) -> int:
    """The beginning of the next word, not beyond `most`."""
    if at == 0:
        return 0
    space = text.find(" ", at - 1, most)
    return space + 1 if space >= 0 else at


def _before_space(text: str, at: int, least: int) -> int:
    """The end of the last whole word, not before `least`."""
    if at == len(text):
        return at
    space = text.rfind(" ", least, at + 1)
    return space if space >= 0 else at
