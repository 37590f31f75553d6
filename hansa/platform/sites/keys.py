"""Keys: what a caller proves itself with, and what it may then do.

A key is ``hansa_<key id>_<secret>``: the last 26 letters of the key's TypeID, then 256 random bits
in 52 letters. Only the SHA-256 of the secret is kept; it needs no salt and no slow hash, since 256
random bits cannot be guessed. What must never happen: a kept secret, a comparison that takes longer
the more of the secret is right, or a key that gives more than its maker had.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from hansa.kernel.caller import Principal
from hansa.kernel.ids import ALPHABET, ID, is_id
from hansa.kernel.structs import Secret

PREFIX: Final = "key"
SECRET_BITS: Final = 256
SECRET_LETTERS: Final = 52
PERMISSIONS_MAX: Final = 100

_KEY: Final = re.compile(r"hansa_([0-7][0-9a-hjkmnp-tv-z]{25})_([0-9a-hjkmnp-tv-z]{52})")
_PERMISSION: Final = re.compile(
    r"\*|[a-z][a-z0-9]*(?:\.\*|(?:\.[a-z][a-z0-9_]*)+(?::(?:\*|[a-z][a-z0-9_]*))?)"
)


def new_secret() -> str:
    """Return 256 random bits as 52 letters."""
    bits = secrets.randbits(SECRET_BITS)
    return "".join(ALPHABET[bits >> shift & 31] for shift in range(0, SECRET_LETTERS * 5, 5))


def key_text(key_id: ID, secret: str) -> Secret:
    """Return the text that its owner keeps and sends as ``Authorization: Bearer <text>``."""
    return Secret(f"hansa_{key_id[-26:]}_{secret}")


def parse_key(text: str) -> tuple[ID, str] | None:
    """Return the key id and the secret in a key's text, None if it is not one."""
    match = _KEY.fullmatch(text)
    return None if match is None else (f"{PREFIX}_{match[1]}", match[2])


def secret_hash(secret: str) -> str:
    """Return what is kept of a secret: its SHA-256 (FIPS 180-4) in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret_of(secret: str, kept_hash: str) -> bool:
    """Tell whether a secret belongs to a kept hash, in a time that tells nothing."""
    return hmac.compare_digest(secret_hash(secret), kept_hash)


def shown(key_id: ID) -> str:
    """Return how a key is shown in lists: enough to find it, nothing to use it."""
    return f"hansa_{key_id[-26:]}_…"


def is_live(now: datetime, expires_at: datetime | None, revoked_at: datetime | None) -> bool:
    """Tell whether a key is good at `now`: from its expiry on it is not."""
    return revoked_at is None and (expires_at is None or now < expires_at)


# ---- permissions


def check_permission(text: str) -> str:
    """Return a permission as it may be granted: ``commerce.products:write``, ``commerce.*``,
    ``commerce.products:*`` or ``*``. Raises ValueError for another form."""
    if _PERMISSION.fullmatch(text) is None:
        raise ValueError(f"{text[:64]!r} is not a permission such as commerce.products:write")
    return text


def check_permissions(texts: Iterable[str]) -> tuple[str, ...]:
    """Return permissions once each and in order. Raises ValueError for none, too many, or a
    malformed one."""
    found = tuple(sorted({check_permission(text) for text in texts}))
    if not 1 <= len(found) <= PERMISSIONS_MAX:
        raise ValueError(f"a key has 1 to {PERMISSIONS_MAX} permissions")
    return found


def check_needed(texts: Iterable[str], needs: Iterable[str]) -> None:
    """Raise ValueError for a permission of a service that is there, which none of its operations
    needs: a slip of the pen would make a key that opens nothing."""
    known = set(needs)
    services = {name.partition(".")[0] for name in known}
    for text in texts:
        service = text.partition(".")[0]
        if service in services and "*" not in text and text not in known:
            several = ", ".join(sorted(one for one in known if one.startswith(f"{service}.")))
            raise ValueError(f"nothing needs {text[:64]!r}; there are {several}")


def not_held(principal: Principal, asked: Iterable[str]) -> list[str]:
    """Return which of the `asked` permissions the principal does not have, so cannot pass on.

    A wildcard is had by who has the same or a wider one.
    """
    return [permission for permission in asked if not principal.allows(permission)]


def is_key_id(text: str) -> bool:
    """Tell whether `text` is the identifier of a key."""
    return is_id(text, PREFIX)
