"""Headers: what those that the kernel gives a meaning say."""

import re
from typing import Final

from hansa.kernel.http.refusals import WrongMediaType
from hansa.kernel.problems import Invalid

KEY_LENGTH_MAX: Final = 255

_QUOTED: Final = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
# Printable ASCII but for what ends a token in a list or begins a string.
_BARE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+")
_JSON_KIND: Final = re.compile(r"application/(?:json|[\w.-]+\+json)")


def idempotency_key(header: str) -> str:
    """Return the key in an Idempotency-Key header: a string of structured fields (RFC 9651) or the
    bare key, as most clients send it. Raises Invalid."""
    match = _QUOTED.fullmatch(header)
    key = re.sub(r"\\(.)", r"\1", match[1]) if match else header
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not (match or _BARE.fullmatch(header)):
        raise Invalid(
            f"Idempotency-Key is 1 to {KEY_LENGTH_MAX} printable ASCII characters; put it in double"
            " quotes if it has a space, comma, semicolon or quote.",
            slug="invalid-idempotency-key",
        )
    return key


def seconds_until_deadline(header: str, longest_s: float) -> float:
    """Return the time that a Hansa-Deadline-Ms header grants, in seconds. Raises Invalid."""
    if not (header.isascii() and header.isdigit() and len(header) <= 10):
        raise Invalid("Hansa-Deadline-Ms is a number of milliseconds.", slug="invalid-deadline")
    return min(int(header) / 1000, longest_s)


def check_media_type(content_type: str, content_encoding: str) -> None:
    """Refuse a body that is not plain JSON by its own account. Raises WrongMediaType."""
    if content_encoding not in ("", "identity"):
        raise WrongMediaType("Send the body without a Content-Encoding.")
    if content_type == "application/json":
        return
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    charset = parameters.strip().lower().replace('"', "")
    if not _JSON_KIND.fullmatch(kind):
        raise WrongMediaType("Send JSON, with Content-Type: application/json.")
    if charset not in ("", "charset=utf-8"):
        raise WrongMediaType("Send JSON in UTF-8; it has no other charset (RFC 8259).")
