"""Idempotency: a command with a key has effect once, and its first committed answer is its answer.

The scope of a key is (site, principal, operation, key), as a digest; the same key with another
request is refused. All visitors of a site are one principal, so a visitor's key must be one that
nobody else takes or guesses: who has it has the answer. Refusals are not kept: they wrote nothing.
Answers are kept for seven days of the machine's clock. Source:
draft-ietf-httpapi-idempotency-key-header.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from hansa.kernel.caller import Principal
from hansa.kernel.problems import Invalid, Unprocessable
from hansa.kernel.storage import Session

KEPT_S: Final = 7 * 86_400
PUBLIC_KEY_LENGTH_MIN: Final = 22
"""Letters of base64url that 128 random bits take; a UUID has more."""

_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a key. `status` is 0 while an action's attempt is still open."""

    status: int
    answer: bytes
    sealed: bool
    attempt: str


def digest_of(site: str, principal: Principal, operation: str, key: str) -> str:
    """Return the digest under which a key is kept: 128 bits, in hexadecimal.

    Raises Invalid (`weak-idempotency-key`) for a visitor's key that another one might choose too.
    """
    if principal.kind == "public" and not (
        len(key) >= PUBLIC_KEY_LENGTH_MIN and _UNRESERVED.fullmatch(key)
    ):
        raise Invalid(
            "Without an API key the Idempotency-Key must be one that nobody else can guess: a new"
            f" random UUID, or {PUBLIC_KEY_LENGTH_MIN} and more random letters, digits and '-._~'.",
            slug="weak-idempotency-key",
        )
    scope = "\0".join((site, principal.id, operation, key))
    return blake2b(scope.encode(), digest_size=16).hexdigest()


_FIND = {
    "sqlite": "SELECT request, status, answer, sealed, attempt FROM hansa_keys"
    " WHERE site = ?1 AND digest = ?2",
    "postgresql": "SELECT request, status, answer, sealed, attempt FROM hansa_keys"
    " WHERE site = $1 AND digest = $2",
}


async def find(session: Session, site: str, digest: str, request: str) -> Known | None:
    """Return what is kept under a digest, None for a new one.

    Raises Unprocessable (`idempotency-key-reused`) when it was kept for another request.
    """
    rows = await session.fetch(_FIND[session.dialect], (site, digest))
    if not rows:
        return None
    kept_request, status, answer, sealed, attempt = rows[0]
    if kept_request != request:
        raise Unprocessable(
            "This Idempotency-Key was used for a different request. Send each new request with"
            " a new key, and repeat a request with exactly its first body.",
            slug="idempotency-key-reused",
        )
    return Known(status, bytes(answer), bool(sealed), attempt)
