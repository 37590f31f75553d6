"""Session: a cookie that stands for an API key, and what proves that a form is one of ours. Pure.

The cookie is ``1.<key id>.<nonce>.<end>.<mac>``: HMAC-SHA256 (RFC 2104) over what stands before the
last dot, with a key derived from the master key. Nothing in it opens the API; the key it names is
looked up on every request, so a revoked key ends its sessions. What must never happen: a session
that outlives its end, or a form of another website that is taken for one of ours.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from hansa.kernel.ids import ID
from hansa.kernel.structs import Struct

COOKIE: Final = "hansa_session"
LIVE_S: Final = 12 * 3600
"""A shift: after it the key is asked for again."""
PURPOSE: Final = "console.session"
"""What the signing keys are derived for (`Sealer.derived`)."""

_VERSION: Final = "1"
_LENGTH_MAX: Final = 400


class Session(Struct):
    """Who is logged in: a key, told apart from its other sessions by a nonce, until an instant in
    seconds since 1970."""

    key: ID
    nonce: str
    until_s: int


def begin(key: ID, now_s: int) -> Session:
    """Return a new session of a key."""
    return Session(key, secrets.token_hex(16), now_s + LIVE_S)


def cookie_of(keys: Sequence[bytes], session: Session) -> str:
    """Return the cookie of a session, signed with the first of the keys."""
    text = f"{_VERSION}.{session.key}.{session.nonce}.{session.until_s}"
    return f"{text}.{_mac(keys[0], 'cookie', text)}"


def read_cookie(keys: Sequence[bytes], cookie: str, now_s: int) -> Session | None:
    """Return the session of a cookie that one of the keys has signed; None once it has ended, and
    for anything else."""
    text, _, mac = cookie[:_LENGTH_MAX].rpartition(".")
    parts = text.split(".")
    if len(parts) != 4 or parts[0] != _VERSION or not _is_signed(keys, "cookie", text, mac):
        return None
    session = Session(parts[1], parts[2], int(parts[3]))
    return session if now_s < session.until_s else None


def form_token(keys: Sequence[bytes], session: Session) -> str:
    """Return what the forms of a session carry, and no other website can know."""
    return _mac(keys[0], "form", f"{session.key}.{session.nonce}")


def is_form_token(keys: Sequence[bytes], session: Session, token: str) -> bool:
    """Tell whether a form is one of the session's."""
    return _is_signed(keys, "form", f"{session.key}.{session.nonce}", token)


def _is_signed(keys: Sequence[bytes], purpose: str, text: str, mac: str) -> bool:
    """Tell whether any of the keys has signed a text, in a time that tells nothing."""
    if not text.isascii():  # none of ours, and half a surrogate pair has no bytes to be signed
        return False
    given = mac.encode("utf-8", "replace")
    right = [hmac.compare_digest(_mac(key, purpose, text).encode(), given) for key in keys]
    return any(right)


def _mac(key: bytes, purpose: str, text: str) -> str:
    return hmac.new(key, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()
