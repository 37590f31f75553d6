"""Endpoint: an operation with all that is prepared for serving it."""

import re
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from hansa.kernel import codec
from hansa.kernel.http.binding import Binding
from hansa.kernel.http.limits import Limits
from hansa.kernel.http.refusals import WrongMediaType
from hansa.kernel.http.replies import Header
from hansa.kernel.operation import DENIED, INTERNAL, Operation
from hansa.kernel.problems import Invalid

BARE_BODY_BYTES_MAX: Final = 1024
"""What an operation without a body reads, to tell an empty object from more."""
KEY_LENGTH_MAX: Final = 255
DEADLINE_MS_MAX: Final = 10**9

_QUOTED: Final = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e][\x21-\x2b\x2d-\x3a\x3c-\x7e]*")
_SINCE: Final = re.compile(r"\d{4}-\d{2}-\d{2}\b")


def is_served(operation: Operation[..., Any]) -> bool:
    """Tell whether an operation has a public address."""
    return bool(operation.path) and operation.needs not in (DENIED, INTERNAL)


class Endpoint:
    """One operation at its public path, ``/commerce/products/{handle}``."""

    __slots__ = ("binding", "body_bytes_max", "decoder", "headers", "operation", "path", "reads")

    def __init__(self, operation: Operation[..., Any], limits: Limits) -> None:
        """Prepare it. Raises TypeError or ValueError for a declaration that cannot be served."""
        self.operation = operation
        self.path = f"/{operation.service}{operation.path.rstrip('/')}"
        self.reads = operation.kind == "query"
        self.binding = Binding(operation, limits)
        self.decoder: msgspec.json.Decoder[Any] | None = None
        self.body_bytes_max = BARE_BODY_BYTES_MAX
        if self.binding.body is not None:
            self.decoder = codec.decoder(self.binding.body.type)
        if self.decoder is not None or self.binding.raw:
            self.body_bytes_max = operation.body_bytes_max
        self.headers: tuple[Header, ...] = ()
        if operation.deprecated:
            self.headers = (("deprecation", deprecation(operation)),)


def deprecation(operation: Operation[..., Any]) -> str:
    """Return the Deprecation header (RFC 9745): the day since when, as a structured date.

    Raises ValueError unless `deprecated` begins with that day, ``2026-11-01: use ...``.
    """
    match = _SINCE.match(operation.deprecated)
    if match is None:
        raise ValueError(f"{operation.id}: begin deprecated= with the day since when, 2026-11-01")
    day = date.fromisoformat(match[0])
    return f"@{int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())}"


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
    if kind != "application/json" and not re.fullmatch(r"application/[\w.-]+\+json", kind):
        raise WrongMediaType("Send JSON, with Content-Type: application/json.")
    if charset not in ("", "charset=utf-8"):
        raise WrongMediaType("Send JSON in UTF-8; it has no other charset (RFC 8259).")
