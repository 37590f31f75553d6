"""Suggesting: searches that begin as what somebody has typed so far. Pure."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from hansa.platform.search.analysis import PAIRED, Analyzer
from hansa.platform.search.vocabulary import Vocabulary

Beside = Callable[[str, str], Sequence[tuple[str, int]]]
"""Given words and the beginning of another: what begins so in the documents that have the words,
each with in how many of them it is, the most frequent first."""

SUGGESTIONS_MAX: Final = 20

_LAST: Final = re.compile(r"[^\W_]+$")


def suggestions(
    q: str, limit: int, analyzer: Analyzer, vocabulary: Vocabulary, beside: Beside
) -> list[str]:
    """Return at most `limit` searches: what was typed with its last word made whole, the likeliest
    first, every one of which finds something; or with its last word corrected, where nothing begins
    so. What ends in no word begins none."""
    last = _LAST.search(q)
    if last is None or not (words := analyzer.words(last[0])):
        return []
    if PAIRED.search(words[-1]):  # pairs of letters are nothing that somebody types
        return []
    before, beginning = q[: last.start()], words[-1]
    if analyzer.words(before):
        meant = vocabulary.likeliest(dict(beside(before, beginning)))
    else:
        meant = vocabulary.completions(beginning) or vocabulary.similar(beginning)
    found: dict[str, str] = {}
    for one in meant:
        # Of the forms of a word the likeliest is enough.
        found.setdefault(analyzer.term(one.word), before + one.word)
    return list(found.values())[: min(limit, SUGGESTIONS_MAX)]
