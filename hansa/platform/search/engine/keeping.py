"""Keeping: what was made for one search and serves the next, bounded for the whole process.

Thousands of sites are open in a process, and nearly all searches are of few: what is kept competes
for one bound, by when it was last of use. Keys have the number of a snapshot and not the snapshot,
so nothing here keeps files open; what is of a snapshot that is gone is never asked for again, and
goes as new things come.
"""

from collections import OrderedDict
from collections.abc import Hashable
from hashlib import blake2b
from threading import Lock
from typing import Final, Generic, TypeVar

from hansa.platform.search.filters import Filter, text_of

T = TypeVar("T")

TEXTS_MAX: Final = 1_024
TEXT_LETTERS: Final = 1_000

_texts: Final[dict[int, tuple[Filter, str]]] = {}
"""The texts of filters that always hold, by the identity of those that are here beside them."""


class Kept(Generic[T]):
    """Values by key, of a weight that is at most `most` together. Any thread may use it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.weight = 0
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> T | None:
        """Return what is kept under a key."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: T, weight: int = 1) -> None:
        """Keep a value, and let go of those that were not asked for the longest."""
        with self._lock:
            _, before = self._values.pop(key, (None, 0))
            self._values[key] = value, weight
            self.weight += weight - before
            while self.weight > self.most:
                _, (_, gone) = self._values.popitem(last=False)
                self.weight -= gone

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._values.clear()
            self.weight = 0


def said(always: Filter | None) -> str:
    """Return what tells one filter from another: as values, true and 1 are equal in Python, and in
    the engine they are not."""
    if always is None:
        return ""
    known = _texts.get(id(always))
    if known is None or known[0] is not always:
        if len(_texts) >= TEXTS_MAX:
            _texts.clear()
        text = text_of(always)
        if len(text) > TEXT_LETTERS:  # as of a filter that hides thousands of documents one by one
            text = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        known = _texts[id(always)] = (always, text)
    return known[1]
