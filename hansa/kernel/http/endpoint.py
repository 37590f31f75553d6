"""Endpoint: an operation with all that is prepared for serving it."""

import re
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from hansa.kernel import codec
from hansa.kernel.http.binding import Binding
from hansa.kernel.http.limits import Limits
from hansa.kernel.http.replies import Header
from hansa.kernel.operation import DENIED, INTERNAL, Operation
from hansa.kernel.shedding import Priority

BARE_BODY_BYTES_MAX: Final = 1024
"""What an operation without a body reads, to tell an empty object from more."""

_SINCE: Final = re.compile(r"\d{4}-\d{2}-\d{2}\b")


def is_served(operation: Operation[..., Any]) -> bool:
    """Tell whether an operation has a public address."""
    return bool(operation.path) and operation.needs not in (DENIED, INTERNAL)


class Endpoint:
    """One operation at its public path, ``/commerce/products/{handle}``."""

    __slots__ = (
        "binding",
        "body_bytes_max",
        "decoder",
        "headers",
        "operation",
        "path",
        "priority",
        "reads",
        "takes_body",
    )

    def __init__(self, operation: Operation[..., Any], limits: Limits) -> None:
        """Prepare it. Raises TypeError or ValueError for a declaration that cannot be served."""
        self.operation = operation
        self.path = f"/{operation.service}{operation.path.rstrip('/')}"
        self.reads = operation.kind == "query"
        self.takes_body = operation.method != "GET"
        self.priority = Priority.READ if self.reads else Priority.COMMAND
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
