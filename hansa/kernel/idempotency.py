"""Idempotency: a command with a key has effect once, and its first committed answer is its answer.

The scope of a key is (site, principal, operation, key), as a digest; the same key with another
request is refused. Refusals are not kept: they wrote nothing. Answers are kept for seven days of
the machine's clock. Source: draft-ietf-httpapi-idempotency-key-header.
"""

from dataclasses import dataclass
from hashlib import blake2b

from hansa.kernel.problems import Unprocessable
from hansa.kernel.storage import Session

KEPT_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a key. `status` is 0 while an action's attempt is still open."""

    status: int
    answer: bytes
    sealed: bool
    attempt: str


def digest_of(site: str, principal: str, operation: str, key: str) -> str:
    """Return the digest under which a key is kept: 128 bits, in hexadecimal."""
    scope = "\0".join((site, principal, operation, key))
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
