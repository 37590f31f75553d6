"""Tracking: which searches there were, and names of searches that clicks refer to."""

import hmac
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from hansa.kernel import codec
from hansa.kernel.ids import ID
from hansa.kernel.structs import Struct
from hansa.platform.search.request import Found

QUERIES_MAX: Final = 10_000
"""Different queries in mind at once; of more the rarest are not counted."""
Q_LETTERS_MAX: Final = 120
SHOWN_MAX: Final = 20
MAC_BYTES: Final = 12
GOOD_S: Final = 86_400


class Searched(Struct):
    """A search that somebody made: in which collection, for what, and when (seconds since 1970)."""

    collection: ID
    q: str
    at: int


def normal(q: str) -> str:
    """Return what a search is for, whatever its capitals and spaces."""
    return " ".join(unicodedata.normalize("NFKC", q).casefold().split())[:Q_LETTERS_MAX]


def named(key: bytes, collection: ID, q: str, at: datetime) -> str:
    """Return the name of a search, which only this site's own key makes."""
    body = f"{int(at.timestamp())}:{collection}:{q}".encode()
    mac = hmac.digest(key, body, "sha256")[:MAC_BYTES]
    return urlsafe_b64encode(mac + body).decode().rstrip("=")


def read_name(keys: Sequence[bytes], name: str, now: datetime) -> Searched | None:
    """Return the search that a name stands for; None where nobody gave it, or that is a day ago."""
    try:
        raw = urlsafe_b64decode(name + "=" * (-len(name) % 4))
        mac, body = raw[:MAC_BYTES], raw[MAC_BYTES:]
        at, collection, q = body.decode().split(":", 2)
        made = int(at)
    except ValueError:
        return None
    if not any(
        hmac.compare_digest(hmac.digest(key, body, "sha256")[:MAC_BYTES], mac) for key in keys
    ):
        return None
    if not -60 <= now.timestamp() - made <= GOOD_S:
        return None
    return Searched(collection, q, made)


class Count(Struct):
    """How often something was searched for since the last look, how often it found nothing, and
    what a first page showed."""

    site: ID
    collection: ID
    q: str
    searches: int
    without: int
    shown: tuple[str, ...]


class _Id(msgspec.Struct):
    id: str = ""


class Uses:
    """Searches of this process that are not yet written down. A crash loses a few seconds of them:
    they are for statistics."""

    def __init__(self) -> None:
        self._counts: dict[tuple[ID, ID, str], tuple[list[int], tuple[str, ...]]] = {}

    def note(self, site: ID, collection: ID, q: str, found: Found) -> None:
        """Count a search; further pages of one are no other search."""
        if found.page > 1 or not q:
            return
        name = (site, collection, q)
        known = self._counts.get(name)
        if known is None:
            if len(self._counts) >= QUERIES_MAX:
                return
            ids = (codec.decode(bytes(hit.document), _Id).id for hit in found.hits[:SHOWN_MAX])
            known = self._counts[name] = ([0, 0], tuple(ids))
        known[0][0] += 1
        known[0][1] += not found.found

    def take(self) -> list[Count]:
        """Return what was counted, and begin anew."""
        counts, self._counts = self._counts, {}
        return [
            Count(*name, searches, without, shown)
            for name, ((searches, without), shown) in counts.items()
        ]
