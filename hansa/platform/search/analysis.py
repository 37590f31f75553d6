"""Analysis: the words of a text by its language, the same for documents and for searches. Pure.

A word is a run of letters and digits, small: ``DV7-1211ea`` is ``dv7`` and ``1211ea``, ``43.2`` is
``43`` and ``2``. Its term is its stem by the language, without accents; the stemmer comes first,
since it knows endings by their accents. Scripts without spaces between words are cut into pairs of
letters that overlap, as Lucene's CJKBigramFilter does; a document has the single letters as well,
so that a search for one finds it.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

import tantivy
from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from hansa.platform.search.stopping import STOP_WORDS

WORD_BYTES: Final = 80
"""A longer word, in UTF-8, is none: it is data that nobody types."""

STEMMERS: Final = {
    "ar": "Arabic",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "hu": "Hungarian",
    "it": "Italian",
    "nb": "Norwegian",
    "nl": "Dutch",
    "nn": "Norwegian",
    "no": "Norwegian",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "ta": "Tamil",
    "tr": "Turkish",
}
"""Languages by ISO 639-1 whose endings are known: Snowball's stemmers."""

_OTHERS: Final = """
aa ab ae af ak am an as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy dv dz ee
eo et eu fa ff fj fo fy ga gd gl gn gu gv ha he hi ho hr ht hy hz ia id ie ig ii ik io is iu ja jv
ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt
my na nd ne ng nr nv ny oc oj om or os pa pi pl ps qu rm rn rw sa sc sd se sg si sk sl sm sn so sq
sr ss st su sw te tg th ti tk tl tn to ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
"""
UNSTEMMED: Final = frozenset(_OTHERS.split())
"""The other languages of ISO 639-1: their words are found as they are written."""

# Letters with marks that stand by themselves, such as the vowels of Devanagari, are in one word
# only for the slower tokenizer.
_SET_WITH_MARKS: Final = """
ar as bn bo dv fa gu he hi km kn ks ku lo ml mr my ne or pa ps sa sd si ta te th ug ur yi
"""
_MARKED: Final = frozenset(_SET_WITH_MARKS.split())
_SIGNS: Final = {**dict.fromkeys(map(ord, "™℠®©"), " "), ord("İ"): "I"}
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005\u3040-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u1100-\u11ff\uac00-\ud7af"  # Korean
)
PAIRED: Final = re.compile(f"[{_UNSPACED}]")
"""A letter of a script without spaces, of which pairs are looked for."""
_RUN: Final = re.compile(f"[{_UNSPACED}]+")


class UnknownLocale(ValueError):
    """A schema names a language that there is not."""


class Analyzer:
    """What makes words of texts in a language: `plain` as they are written, `stemmed` as they are
    compared, both for texts that went through `text`; `stem` is for single words. `stops` are words
    that say little."""

    __slots__ = ("_words", "language", "plain", "stem", "stemmed", "stops")

    def __init__(self, language: str) -> None:
        self.language = language
        self.plain = _words_of(language).build()
        # One for searches alone: an analyzer is handed to an index and used by its writer.
        self._words = _words_of(language).build()
        self.stemmed = _with_stems(_words_of(language), language)
        self.stem = _with_stems(TextAnalyzerBuilder(Tokenizer.raw()), language)
        self.stops = STOP_WORDS.get(language, frozenset())

    def text(self, text: str) -> str:
        """Return a document's text as the engine's analyzers are given it."""
        return text if text.isascii() else _normal(text, singles=True)

    def terms(self, text: str) -> list[str]:
        """Return the words of a text as they are compared."""
        return [self.term(word) for word in self.words(text)]

    def words(self, text: str) -> list[str]:
        """Return the words of a search, as they are written."""
        return self._words.analyze(text if text.isascii() else _normal(text, singles=False))

    def term(self, word: str) -> str:
        """Return what a word, of `words`, is compared by."""
        return _term(self, word)


@lru_cache(maxsize=64)
def analyzer(locale: str) -> Analyzer:
    """Return the analyzer of a locale, of which the language counts: ``de-CH`` is ``de``. Raises
    UnknownLocale."""
    return _analyzer(language_of(locale))


@lru_cache(maxsize=64)
def _analyzer(language: str) -> Analyzer:
    return Analyzer(language)


def language_of(locale: str) -> str:
    """Return the language of a locale. Raises UnknownLocale, saying which there are."""
    language = re.split("[-_]", locale, maxsplit=1)[0].lower()
    if language in STEMMERS or language in UNSTEMMED:
        return language
    raise UnknownLocale(
        f"{locale!r} begins with no language of ISO 639-1. Endings of words are known in "
        f"{', '.join(STEMMERS)}; in all others, such as ja or pl, words are found as written."
    )


def fold(word: str) -> str:
    """Return a word without accents, as terms are."""
    return word if word.isascii() else "".join(_FOLDING.analyze(word))


def _words_of(language: str) -> TextAnalyzerBuilder:
    marked = language in _MARKED
    tokenizer = Tokenizer.regex(r"[\p{L}\p{N}\p{M}]+") if marked else Tokenizer.simple()
    return (
        TextAnalyzerBuilder(tokenizer)
        .filter(Filter.remove_long(WORD_BYTES))
        .filter(Filter.lowercase())
    )


_FOLDING: Final[TextAnalyzer] = (
    tantivy.TextAnalyzerBuilder(Tokenizer.raw()).filter(Filter.ascii_fold()).build()
)


def _with_stems(builder: TextAnalyzerBuilder, language: str) -> TextAnalyzer:
    if language in STEMMERS:
        builder = builder.filter(Filter.stemmer(STEMMERS[language]))
    return builder.filter(Filter.ascii_fold()).build()


@lru_cache(maxsize=1 << 14)
def _term(analyzer: Analyzer, word: str) -> str:
    return "".join(analyzer.stem.analyze(word))


def _normal(text: str, *, singles: bool) -> str:
    """NFKC: ``é`` is one letter however it was typed, wide letters are letters."""
    normal = unicodedata.normalize("NFKC", text.translate(_SIGNS))
    if _RUN.search(normal) is None:
        return normal
    return _RUN.sub(_with_singles if singles else _pairs, normal)


def _pairs(run: re.Match[str]) -> str:
    letters = run[0]
    if len(letters) == 1:
        return f" {letters} "
    return f" {' '.join(letters[at : at + 2] for at in range(len(letters) - 1))} "


def _with_singles(run: re.Match[str]) -> str:
    letters = run[0]
    # Pairs first, each next to the one that follows it: phrases are sought in pairs.
    return f" {_pairs(run)} {' '.join(letters)} " if len(letters) > 1 else f" {letters} "
