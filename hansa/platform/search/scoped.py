"""Scoped keys: who has one may search some collections of a site through a filter, until it ends.
Pure.

A scoped key is ``hansasearch_<claims>.<signature>``, both base64url (RFC 4648) without padding: the
claims are a JSON array that begins with its version, the signature HMAC-SHA-256 (RFC 2104) over the
claims as they stand in the text, with a key of the site. Nothing of it is kept: it lives as long as
it says, at most a year, and as its parent does, the key that it was made with.

What must never happen: a key that finds more than its maker said, or a refusal that tells a forger
how near he came. So claims are believed only after the signature, and have one text only.
"""

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from hansa.kernel.problems import Fault, Unauthenticated, Unprocessable
from hansa.kernel.structs import Secret, Struct
from hansa.platform.search import filters

PREFIX: Final = "hansasearch"
EXPIRES_S_MAX: Final = 366 * 86_400
FILTER_LETTERS_MAX: Final = 1_024
COLLECTIONS_MAX: Final = 20
COLLECTION_LETTERS_MAX: Final = 64
KEY_BYTES_MIN: Final = 32
LETTERS_MAX: Final = 16_384
"""How long the text of a key can be: the server takes 64 KiB of headers."""

_VERSION: Final = 1
_SIGNATURE_LETTERS: Final = 43
_DECODER: Final = msgspec.json.Decoder(tuple[int, str, str, tuple[str, ...], int, str])
_PURPOSE: Final = b"hansa scoped search key 1\0"


class Claims(Struct):
    """What a scoped key says. `filter` always holds beside what is asked for; `expires` is in
    seconds since 1970, and from then on it is no key; `parent` is the key it was made with, whose
    end is its end too."""

    site: str
    filter: str
    collections: tuple[str, ...]
    expires: int
    parent: str


class InvalidSearchKey(Unprocessable):
    """Claims that no key is made for; `errors` tells which."""

    slug = "invalid-search-key"
    title = "No search key is made for this"


def check(claims: Claims, now: int) -> None:
    """Raise InvalidSearchKey, or InvalidFilter, for claims that no key is made for at `now`, in
    seconds since 1970. Whether the filter fits the collections is for who has their schemas."""
    faults = tuple(_faults(claims, now))
    if faults:
        raise InvalidSearchKey("; ".join(fault.detail for fault in faults), errors=faults)
    if claims.filter:
        filters.parse(claims.filter)


def _faults(claims: Claims, now: int) -> list[Fault]:
    faults = list[Fault]()
    if len(claims.filter) > FILTER_LETTERS_MAX:
        faults.append(
            Fault("/filter", f"the filter of a key has at most {FILTER_LETTERS_MAX} letters")
        )
    named = all(0 < len(name) <= COLLECTION_LETTERS_MAX for name in claims.collections)
    if not 1 <= len(claims.collections) <= COLLECTIONS_MAX or not named:
        faults.append(Fault("/collections", f"a key is for 1 to {COLLECTIONS_MAX} collections"))
    if not now < claims.expires <= now + EXPIRES_S_MAX:
        faults.append(Fault("/expires", "a key ends after now, and within 366 days"))
    return faults


def sign(key: bytes, claims: Claims) -> Secret:
    """Return the text of a scoped key. The claims have been checked; `key` is the site's."""
    said = _text(claims)
    return Secret(f"{PREFIX}_{said}.{_signature(key, said)}")


def is_scoped(text: str) -> bool:
    """Tell whether a text wants to be a scoped key, rightly or not."""
    return text.startswith(f"{PREFIX}_")


def site_of(text: str) -> str:
    """Return whose keys to verify a text with. Nothing of it is proved before that. Raises
    Unauthenticated for what is no scoped key."""
    said, _ = _parts(text)
    return _claims(said).site


def verify(keys: Sequence[bytes], text: str, now: int) -> Claims:
    """Return what a scoped key says at `now`, in seconds since 1970. `keys` are those of the site,
    all of which are believed, so that they can be changed. Raises Unauthenticated, in the same
    words for whatever was not signed here; what was, and has ended, is told so."""
    said, signature = _parts(text)
    right = [hmac.compare_digest(_signature(key, said), signature) for key in keys]
    if not any(right):
        raise _unknown()
    claims = _claims(said)
    if _text(claims) != said:
        raise _unknown()
    if now >= claims.expires:
        ended = datetime.fromtimestamp(claims.expires, UTC).isoformat().replace("+00:00", "Z")
        raise Unauthenticated(f"The search key ended at {ended}. Ask who made it for a new one.")
    return claims


def _unknown() -> Unauthenticated:
    return Unauthenticated("The search key is not known here.")


def _parts(text: str) -> tuple[str, str]:
    """Return the claims and the signature in a text, both still unproved."""
    said, dot, signature = text.removeprefix(f"{PREFIX}_").partition(".")
    if (
        not is_scoped(text)
        or len(text) > LETTERS_MAX
        or not text.isascii()
        or not dot
        or len(signature) != _SIGNATURE_LETTERS
    ):
        raise _unknown()
    return said, signature


def _signature(key: bytes, said: str) -> str:
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(f"a key that signs has at least {KEY_BYTES_MIN} bytes")
    return _letters(hmac.new(key, _PURPOSE + said.encode(), hashlib.sha256).digest())


def _letters(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _text(claims: Claims) -> str:
    said = [
        _VERSION, claims.site, claims.filter, claims.collections, claims.expires, claims.parent,
    ]  # fmt: skip
    return _letters(msgspec.json.encode(said))


def _claims(said: str) -> Claims:
    try:
        content = urlsafe_b64decode(said + "=" * (-len(said) % 4))
        version, site, filter, collections, expires, parent = _DECODER.decode(content)
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError):
        raise _unknown() from None
    if version != _VERSION:
        raise _unknown()
    return Claims(site, filter, collections, expires, parent)
