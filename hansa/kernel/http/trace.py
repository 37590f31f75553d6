"""Trace: the name of a request, by W3C Trace Context (level 1, sections 3.2 and 3.3)."""

import re
from dataclasses import dataclass
from random import Random
from typing import Final

from hansa.kernel import machine

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)


@dataclass(slots=True)
class Trace:
    """A span of this request within its caller's trace, or within a new one."""

    parent: str
    """What is passed on as traceparent."""
    request_id: str
    """What is answered as Hansa-Request-Id: the trace and the span."""


class Tracer:
    """Names requests. The names are unique, not secret."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = Random(machine.random_bytes(32)).getrandbits

    def trace(self, traceparent: str) -> Trace:
        """Return the trace of a request by its traceparent header; a malformed one is ignored, as
        the standard asks (section 3.2.2.3)."""
        noise = self._bits(192).to_bytes(24, "big").hex()
        trace, span, flags = noise[:32], noise[32:], "01"
        if traceparent:
            match = _TRACEPARENT.fullmatch(traceparent)
            # Version 00 has four fields and no more.
            if match is not None and not (match[3] and traceparent.startswith("00")):
                trace, flags = match[1], match[2]
        name = f"{trace}-{span}"
        return Trace(f"00-{name}-{flags}", name)
