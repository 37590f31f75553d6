"""Tracking: which searches there were, by how many, and names of searches that clicks refer to.

What must never happen here: a name that nobody was given, or that says more than was shown; or the
address of a visitor where it is kept.
"""

import hmac
import struct
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime
from hashlib import blake2b
from typing import Final
from zlib import crc32

import msgspec

from hansa.kernel.caller import Principal
from hansa.kernel.ids import ID
from hansa.kernel.structs import Struct
from hansa.platform.search.request import PER_PAGE_MAX, Found, Hit

QUERIES_MAX: Final = 20_000
"""Different queries in mind at once."""
COLLECTION_QUERIES_MAX: Final = 1_000
"""Of one collection; what is first asked for after so many is not counted this time."""
Q_BYTES_MAX: Final = 120
SHOWN_MAX: Final = 20
ASKERS_MIN: Final = 3
"""How many different visitors are several."""
MAC_BYTES: Final = 12
GOOD_S: Final = 86_400
_HEAD: Final = struct.Struct(">QHB")
_MARK_BYTES: Final = 2
_ID_BYTES_MAX: Final = 40
NAME_LETTERS_MAX: Final = -(
    -4 * (MAC_BYTES + _HEAD.size + _MARK_BYTES * PER_PAGE_MAX + _ID_BYTES_MAX + Q_BYTES_MAX) // 3
)
"""How long the name of a search can be."""


class Searched(Struct):
    """A search that somebody made: in which collection, for what, when (seconds since 1970), and
    what it showed: a mark of each hit of its page, which began at the place `first`."""

    collection: ID
    q: str
    at: int
    first: int = 1
    marks: bytes = b""

    def showed(self, id: str, place: int) -> bool:
        """Tell whether a document stood at a place, counted from 1."""
        begin = (place - self.first) * _MARK_BYTES
        return begin >= 0 and self.marks[begin : begin + _MARK_BYTES] == _mark(id)


def normal(q: str) -> str:
    """Return what a search is for, whatever its capitals and spaces; of what is long the beginning,
    whole letters of at most `Q_BYTES_MAX` bytes."""
    text = " ".join(unicodedata.normalize("NFKC", q).casefold().split())
    return text.encode()[:Q_BYTES_MAX].decode(errors="ignore").strip()


def named(key: bytes, collection: ID, q: str, at: datetime, first: int, ids: Sequence[str]) -> str:
    """Return the name of a search, which only this site's own key makes; its page has these
    documents and begins at the place `first`."""
    head = _HEAD.pack(int(at.timestamp()), min(first, 0xFFFF), len(ids))
    body = head + b"".join(map(_mark, ids)) + f"{collection}:{q}".encode()
    mac = hmac.digest(key, body, "sha256")[:MAC_BYTES]
    return urlsafe_b64encode(mac + body).decode().rstrip("=")


def read_name(keys: Sequence[bytes], name: str, now: datetime) -> Searched | None:
    """Return the search that a name stands for; None where nobody gave it, or that is a day ago."""
    try:
        raw = urlsafe_b64decode(name + "=" * (-len(name) % 4))
    except ValueError:
        return None
    mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
    if not any(
        hmac.compare_digest(hmac.digest(key, body, "sha256")[:MAC_BYTES], mac) for key in keys
    ):
        return None
    at, first, shown = _HEAD.unpack_from(body)
    end = _HEAD.size + shown * _MARK_BYTES
    collection, _, q = body[end:].decode().partition(":")
    if not -60 <= now.timestamp() - at <= GOOD_S:
        return None
    return Searched(collection, q, at, first, body[_HEAD.size : end])


def _mark(id: str) -> bytes:
    """Return what tells documents of one page apart; the name that it is in is signed."""
    return (crc32(id.encode()) & 0xFFFF).to_bytes(_MARK_BYTES)


class _Id(msgspec.Struct):
    id: str = ""


_id: Final = msgspec.json.Decoder(_Id).decode


def ids_of(hits: Sequence[Hit]) -> list[str]:
    """Return which documents some hits are."""
    return [_id(hit.document).id for hit in hits]


# ---- who


def who(key: bytes, day: date, principal: Principal, said: str = "") -> str:
    """Return a digest by which somebody is known for a day, "" for nobody that can be told apart:
    of the address of who has no key of their own, and of a key with whom it says it asks for (a
    shop's own server knows its visitors). Where there is no address, `said` stands for it."""
    if principal.is_stranger:
        text = f"at {principal.address}" if principal.address else said and f"said {said}"
    else:
        text = f"{principal.id} {said}"
    if not text:
        return ""
    return blake2b(f"{day} {text}".encode(), digest_size=12, key=key).hexdigest()


# ---- how often


class Count(Struct):
    """How often something was searched for since the last look, how often it found nothing, what a
    first page showed, and who asked, of at most `ASKERS_MIN` of them."""

    site: ID
    collection: ID
    q: str
    searches: int
    without: int
    shown: tuple[str, ...]
    askers: tuple[str, ...] = ()


class _Tally:
    """What is known of one query."""

    __slots__ = ("askers", "searches", "shown", "without")

    def __init__(self, shown: tuple[str, ...]) -> None:
        self.searches = self.without = 0
        self.shown = shown
        self.askers: set[str] = set()


class Uses:
    """Searches of this process that are not yet written down. A crash loses a few seconds of them:
    they are for statistics."""

    def __init__(self) -> None:
        self._counts: dict[tuple[ID, ID], dict[str, _Tally]] = {}
        self._size = 0

    def note(
        self,
        site: ID,
        collection: ID,
        q: str,
        found: Found,
        ids: Sequence[str],
        asker: Callable[[], str],
    ) -> None:
        """Count a search whose page has documents with these ids; further pages of one are no other
        search. `asker` tells who asked, "" for nobody whose queries others may be told."""
        if found.page > 1 or not q:
            return
        counts = self._counts.setdefault((site, collection), {})
        tally = counts.get(q)
        if tally is None:
            if len(counts) >= COLLECTION_QUERIES_MAX or self._size >= QUERIES_MAX:
                return
            self._size += 1
            tally = counts[q] = _Tally(tuple(ids[:SHOWN_MAX]))
        tally.searches += 1
        tally.without += not found.found
        if len(tally.askers) < ASKERS_MIN and (one := asker()):
            tally.askers.add(one)

    def take(self) -> list[Count]:
        """Return what was counted, and begin anew."""
        counts, self._counts, self._size = self._counts, {}, 0
        return [
            Count(*name, q, one.searches, one.without, one.shown, tuple(sorted(one.askers)))
            for name, some in counts.items()
            for q, one in some.items()
        ]
