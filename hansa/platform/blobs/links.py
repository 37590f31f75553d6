"""Links: who has one may read a blob, or write one, until it ends. Pure.

A link is signed with a key of its site over method, path, and everything else that it says, by
HMAC-SHA256. What must never happen: a link whose parts mean something else than what was signed.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

EXPIRES_S_MAX: Final = 7 * 86_400
SIGNATURE: Final = "signature"
EXPIRES: Final = "expires"


class LinkInvalid(ValueError):
    """The link was changed, or was never one."""


class LinkExpired(ValueError):
    """The link was good until its end."""


def _signature(key: bytes, method: str, path: str, values: Mapping[str, str]) -> str:
    parts = [method, path, *(part for pair in sorted(values.items()) for part in pair)]
    # Each part with its length, so that no two different lists give the same bytes.
    content = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    digest = hmac.new(key, content, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def link(key: bytes, method: str, path: str, expires: int, values: Mapping[str, str]) -> str:
    """Return a path with its query: a link for a method until an instant (seconds since 1970)."""
    said = {**values, EXPIRES: str(expires)}
    signed = _signature(key, method, path, said)
    return f"{quote(path)}?{urlencode({**said, SIGNATURE: signed})}"


def is_link(query: str) -> bool:
    """Tell whether a query has a signature, right or wrong."""
    return SIGNATURE + "=" in query


def read(keys: Sequence[bytes], method: str, path: str, query: str, now: int) -> dict[str, str]:
    """Return what a link says. HEAD may use a link for GET. Raises LinkInvalid, LinkExpired."""
    method = "GET" if method == "HEAD" else method
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=10)
    except ValueError:
        raise LinkInvalid("the query cannot be read") from None
    said = dict(pairs)
    signed = said.pop(SIGNATURE, "")
    if len(said) + 1 != len(pairs) or not said.get(EXPIRES, "").isdecimal():
        raise LinkInvalid("the query is not that of a link")
    try:
        given = signed.encode("ascii")
    except UnicodeEncodeError:
        raise LinkInvalid("the signature is none") from None
    known = [_signature(key, method, path, said).encode() for key in keys]
    if sum(hmac.compare_digest(one, given) for one in known) == 0:
        raise LinkInvalid("the signature does not fit")
    if int(said.pop(EXPIRES)) <= now:
        raise LinkExpired("the link has ended")
    return said
