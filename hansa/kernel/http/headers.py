"""Headers: what those that the kernel gives a meaning say."""

import re
from typing import Final

from hansa.kernel.http.refusals import WrongMediaType
from hansa.kernel.problems import Invalid

KEY_LENGTH_MAX: Final = 255

DEADLINE_MS_MAX: Final = 9_999_999_999

# Printable ASCII; bare without what ends a token in a list or begins a string.
_QUOTED: Final = r'"((?:[ !#-\[\]-~]|\\["\\])+)"'
_BARE: Final = r"[!#-+\--:<-~]+"
KEY_PATTERN: Final = f"{_QUOTED}|{_BARE}"
"""An Idempotency-Key: a string of structured fields, whose first group is the key, or the key."""

_KEY: Final = re.compile(KEY_PATTERN)
_COUNT: Final = re.compile(r"[0-9]{1,10}")
_ESCAPED: Final = re.compile(r"\\(.)")
_JSON_KIND: Final = re.compile(r"application/(?:json|[\w.-]+\+json)")


def idempotency_key(header: str) -> str:
    """Return the key in an Idempotency-Key header: a string of structured fields (RFC 9651) or the
    bare key, as most clients send it. Raises Invalid."""
    match = _KEY.fullmatch(header)
    key = "" if match is None else header if match[1] is None else _ESCAPED.sub(r"\1", match[1])
    if not 1 <= len(key) <= KEY_LENGTH_MAX:
        raise Invalid(
            f"Idempotency-Key is 1 to {KEY_LENGTH_MAX} printable ASCII characters; put it in double"
            " quotes if it has a space, comma, semicolon or quote.",
            slug="invalid-idempotency-key",
        )
    return key


def seconds_until_deadline(header: str, longest_s: float) -> float:
    """Return the time that a Hansa-Deadline-Ms header grants, in seconds. Raises Invalid."""
    if not (_COUNT.fullmatch(header) and int(header)):
        raise Invalid(
            "Hansa-Deadline-Ms is a number of milliseconds, 1 or more.", slug="invalid-deadline"
        )
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
