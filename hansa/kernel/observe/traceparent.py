"""Traceparent: the name of a piece of work within its trace, by W3C Trace Context (level 1,
sections 3.2 and 3.3). Pure but for the random bits.

Whether a trace is sampled is told by the lower 56 bits of its name, as level 2 (section 5.1) and
OpenTelemetry's consistent probability sampling have it, so all processes agree without asking.
"""

import re
from collections.abc import Callable
from random import Random
from typing import Final

from msgspec import Struct

from hansa.kernel import machine

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
SPACE: Final = 1 << 56
_LOW: Final = SPACE - 1
_KNOWN: Final = ("00", "01", "02", "03")
"""The flags that have a meaning: sampled, and (level 2) that the trace's name is random."""
SAMPLED: Final = frozenset({"01", "03"})


class Trace(Struct, gc=False):
    """A piece of work within its caller's trace, or within a new one."""

    request_id: str
    """What is answered as Hansa-Request-Id: the trace and the span."""
    above: str
    """The piece that asked for this one; "" in a new trace."""
    flags: str
    """Two hexadecimal digits; the lowest bit says that the trace is sampled."""

    @property
    def id(self) -> str:
        """The trace: 32 hexadecimal digits."""
        return self.request_id[:32]

    @property
    def span(self) -> str:
        """This piece of it: 16 hexadecimal digits."""
        return self.request_id[33:]

    @property
    def parent(self) -> str:
        """What is passed on as traceparent."""
        return f"00-{self.request_id}-{self.flags}"


class Tracer:
    """Names pieces of work. The names are unique, not secret."""

    __slots__ = ("_bits", "_rejected")

    def __init__(self, rate: float = 1.0) -> None:
        """Sample new traces at a `rate` from 0 to 1; for others their caller has decided."""
        self._bits = Random(machine.random_bytes(32)).getrandbits
        self._rejected = round((1.0 - rate) * SPACE)

    def trace(self, traceparent: str, believed: bool = True) -> Trace:
        """Return the trace of what came with a traceparent; a malformed one is ignored, as the
        standard asks (section 3.2.2.3). From who is not `believed` nobody has it kept by asking:
        then its name decides, as that of a new one."""
        if traceparent:
            match = _read(traceparent)
            if match is not None:
                # What is reserved is not passed on (section 3.2.2.5).
                trace, flags = match[1], _KNOWN[int(match[3], 16) & 3]
                if not believed:
                    flags = "01" if int(trace[18:], 16) >= self._rejected else "00"
                return Trace(f"{trace}-{new_span(self._bits)}", match[2], flags)
        noise = self._bits(192)
        flags = "01" if noise >> 64 & _LOW >= self._rejected else "00"
        return Trace(noise.to_bytes(24, "big").hex("-", -16), "", flags)


def new_span(bits: Callable[[int], int] = Random().getrandbits) -> str:
    """Return a name for a span: 16 hexadecimal digits."""
    return f"{bits(64) or 1:016x}"


def _read(traceparent: str) -> re.Match[str] | None:
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is not None and match[4] and traceparent.startswith("00"):
        return None  # version 00 has four fields and no more
    return match
