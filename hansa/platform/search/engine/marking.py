"""Marking: the found words in the texts of a hit, as a piece of HTML. Pure.

A text is not taken apart: it is gone over for what begins like a word that was looked for, and only
what stands there is stemmed. For a title and a description that is a twentieth of the work.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import accumulate, product
from typing import Final

from hansa.platform.search.analysis import PAIRED, fold

FRAGMENT_LETTERS: Final = 200
TEXT_LETTERS_MAX: Final = 20_000
"""Words further on in a text are not marked."""
OPEN: Final = "<mark>"
CLOSE: Final = "</mark>"
GAP: Final = "…"

_BEGIN, _END, _GAP = "\x02", "\x03", "\x00"
_SIGNS: Final = re.compile("[\x00\x02\x03]")

_WORD: Final = re.compile(r"[^\W_]+")
_TWO_FOR_ONE: Final = re.compile("ss|ae|oe|th|ij|ts|dz|ff|fi|fl")
"""What a single letter, such as ß or æ, may become where accents are taken off."""
_TWICE: Final = re.compile(r"([aeou])\1")

Span = tuple[int, int, str]
"""Where a word begins and ends in a text, and which one of the search it is."""


class Marker:
    """Marks words of a language, given as terms; `term` makes that of a word of a text in small
    letters."""

    __slots__ = ("_begins", "_pairs", "_term", "_words")

    def __init__(self, words: Iterable[str], term: Callable[[str], str], language: str) -> None:
        self._words = frozenset(words)
        self._term = term
        self._pairs = sorted(word for word in self._words if PAIRED.search(word))
        whole = self._words.difference(self._pairs)
        self._begins = sorted({begin for word in whole for begin in begins_of(word, language)})

    def marked(self, texts: Sequence[str]) -> list[tuple[int, str] | None]:
        """Return, for each text, how many different words it has, and the piece of it with the most
        of them, marked and all else escaped; None for one that has none."""
        # All at once: what costs is to begin looking, not to look. So with what follows.
        whole = _joined([text[:TEXT_LETTERS_MAX] for text in texts])
        small = whole.lower() if whole.isascii() else _small(whole)
        folded = small if small.isascii() else _folded(small)
        shown = whole.split(_GAP)
        begins = list(accumulate((len(text) + 1 for text in shown), initial=0))
        spans: dict[int, list[Span]] = {}
        for first, last, word in self._spans(small, folded):
            place = bisect_right(begins, first) - 1
            at = begins[place]
            spans.setdefault(place, []).append((first - at, last - at, word))
        html = escape(_GAP.join(_piece(shown[place], found) for place, found in spans.items()))
        pieces = html.replace(_BEGIN, OPEN).replace(_END, CLOSE).split(_GAP)
        marked: list[tuple[int, str] | None] = [None] * len(texts)
        for (place, found), piece in zip(spans.items(), pieces, strict=False):
            marked[place] = len({word for _, _, word in found}), piece
        return marked

    def _spans(self, small: str, folded: str) -> list[Span]:
        """Where the words are in a text, given in small letters and without accents, in order."""
        found: list[Span] = []
        terms, words = self._term, self._words
        for begin in self._begins:
            letters = len(begin)
            at = folded.find(begin)
            while at >= 0:
                end = at + letters
                if not (at and folded[at - 1].isalnum()) and (match := _WORD.match(small, at)):
                    end = max(end, match.end())
                    word = match[0]
                    word = terms(word if word.isascii() else unicodedata.normalize("NFKC", word))
                    if word in words:
                        found.append((at, end, word))
                at = folded.find(begin, end)
        for pair in self._pairs:
            at = folded.find(pair)
            while at >= 0:
                found.append((at, at + len(pair), pair))
                at = folded.find(pair, at + 1)
        found.sort()
        return _united(found) if self._pairs else found


def _piece(text: str, spans: list[Span]) -> str:
    """The piece of a text that has the most of the words, with signs for where marks go."""
    begin, end = (0, len(text)) if len(text) <= FRAGMENT_LETTERS else _window(text, spans)
    parts = [GAP] if begin else []
    at = begin
    for first, last, _ in spans:
        if first >= at and last <= end:
            parts += (text[at:first], _BEGIN, text[first:last], _END)
            at = last
    parts.append(text[at:end])
    if end < len(text):
        parts.append(GAP)
    return "".join(parts)


def begins_of(word: str, language: str) -> set[str]:
    """Return what every form of a word begins with, one of these, without accents: stems differ
    from words in their ends (happi, happy), short ones from the second letter on (die, dying), in
    German in what was written for an umlaut (ol, oel), and in Dutch in a vowel that is twice there
    (jaar, jarig), in what it begins with (maak, gemaakt) and in one of its endings (loceer,
    locatie)."""
    if not word.isalpha():
        return {_folded(word)}
    # English shortens words of three letters in one way only; to look for one letter takes long.
    is_stable = language == "en" and not word.endswith("ie")
    most = (2 if is_stable else 1) if len(word) <= 3 else min(4, len(word) - 1)
    if double := _TWO_FOR_ONE.search(word, 0, most + 1):
        most = min(most, max(1, double.start()))
    if language == "nl":
        most = max(1, len(word) - 3) if word.endswith("eer") and len(word) <= 6 else most
        once = _TWICE.sub(r"\1", word)
        return {f"{ge}{one[:most]}" for one in (word, once) for ge in ("", "ge")}
    begin = _folded(word[:most])
    if language != "de":
        return {begin}
    written = product(*((one, f"{one}e") if one in "aou" else (one,) for one in begin))
    return {"".join(letters)[:most] for letters in written}


def _joined(texts: Sequence[str]) -> str:
    """Return texts as one, with one sign for each letter, however it was typed, and none of those
    that stand for something here but between them."""
    whole = _GAP.join(texts)
    if _BEGIN in whole or _END in whole or whole.count(_GAP) >= len(texts):
        whole = _GAP.join([_SIGNS.sub(" ", text) for text in texts])
    return whole if whole.isascii() else unicodedata.normalize("NFC", whole)


def _small(text: str) -> str:
    """Return a text in small letters, as long as it is: of İ alone two would be made."""
    return text.replace("İ", "I").lower()


def _bare(letter: str) -> str:
    """A letter as terms begin that have it: without its accents, of æ the a."""
    bare = fold(unicodedata.normalize("NFKC", letter)).lower()[:1]
    if bare.isascii() and bare.isalnum():
        return bare
    return unicodedata.normalize("NFD", letter)[0] if _is_greek(letter) else letter


def _is_greek(letter: str) -> bool:
    return "\u0370" <= letter < "\u0400" and letter.isalpha()


_LETTERS: Final = (
    *range(0xAA, 0x250), *range(0x370, 0x400), *range(0x1E00, 0x1F00), *range(0xFF10, 0xFF5B)
)  # fmt: skip
_BARE: Final = {
    **{chr(one): bare for one in _LETTERS if (bare := _bare(chr(one))) != chr(one)},
    "ё": "е",
    "ς": "σ",
}
_ACCENTED: Final = re.compile(f"[{''.join(_BARE)}]")


def _folded(text: str) -> str:
    """Return a text in small letters without accents, as long as it is."""
    return _ACCENTED.sub(lambda found: _BARE[found[0]], text)


def _united(spans: list[Span]) -> list[Span]:
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
