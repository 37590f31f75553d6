"""Signing: who sent a message and that nobody changed it, by Standard Webhooks 1.0. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
A signature is over `id.timestamp.body`: `v1` HMAC-SHA256 with a shared secret (`whsec_`), `v1a`
Ed25519 with a private key (`whsk_`) whose public half (`whpk_`) everybody may know.
What must never happen: a secret shorter than the standard asks, or one in an error's text.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Scheme = Literal["v1", "v1a"]

SHARED: Final = "whsec_"
PRIVATE: Final = "whsk_"
PUBLIC: Final = "whpk_"
SECRET_BYTES: Final = 32
"""What new secrets have; the standard allows shared ones of 24 to 64 bytes."""


def new_key(scheme: Scheme) -> str:
    """Return a fresh signing key as text."""
    prefix = SHARED if scheme == "v1" else PRIVATE
    return prefix + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def key_bytes(key: str) -> bytes:
    """Return what a key's text stands for. Raises ValueError, without the text."""
    prefix, _, text = key.partition("_")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("after the prefix a signing key is base64") from None
    if prefix + "_" == SHARED and 24 <= len(raw) <= 64:
        return raw
    if prefix + "_" == PRIVATE and len(raw) == SECRET_BYTES:
        return raw
    raise ValueError("a signing key is whsec_ with 24 to 64 bytes, or whsk_ with 32")


def public_key(key: str) -> str:
    """Return the half of a private key that receivers check with; nothing for a shared secret."""
    if not key.startswith(PRIVATE):
        return ""
    private = Ed25519PrivateKey.from_private_bytes(key_bytes(key))
    return PUBLIC + base64.b64encode(private.public_key().public_bytes_raw()).decode()


def signature(key: str, id: str, timestamp: int, body: bytes) -> str:
    """Return one signature of a message, with its version."""
    content = f"{id}.{timestamp}.".encode() + body
    if key.startswith(PRIVATE):
        made = Ed25519PrivateKey.from_private_bytes(key_bytes(key)).sign(content)
        return "v1a," + base64.b64encode(made).decode()
    digest = hmac.new(key_bytes(key), content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def headers(keys: Sequence[str], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message; with several keys (while one takes over from the
    other) it has a signature of each."""
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(key, id, timestamp, body) for key in keys),
    }
