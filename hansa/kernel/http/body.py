"""Body: JSON from outside, examined before it is believed.

Each cheap test below can only err towards examining closely; a body that passes them all costs
little more than its decoding.
"""

import re
from typing import Any

import msgspec

from hansa.kernel.http.faults import fault_of, shorten
from hansa.kernel.problems import Invalid

INTEGER_MIN = -(1 << 63)
INTEGER_MAX = (1 << 63) - 1
"""What the storage keeps of an integer."""

_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_LONG = b"0" * 19
# The closing quote is optional, so that an unterminated string is passed over once, not per quote.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_NUMBER = re.compile(rb"-?\d[\d.eE+-]*")
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def examine(body: bytes, depth_max: int) -> None:
    """Refuse what no type can tell: bytes that are not UTF-8, depth, NUL, integers over 64 bits.

    Raises Invalid.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise Invalid(
                f"The body is not UTF-8: byte {error.start} begins no character.",
                slug="malformed-json",
            ) from None
    if body.count(b"{") + body.count(b"[") > depth_max:
        _examine_depth(body, depth_max)
    if b"\\u0000" in body:
        _examine_escapes(body)
    if _LONG in body.translate(_DIGITS):
        _examine_integers(body)


def _examine_depth(body: bytes, depth_max: int) -> None:
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", body)):
        if bracket in b"[{":
            depth += 1
            if depth > depth_max:
                raise too_deep(depth_max)
        else:
            depth -= 1


def too_deep(depth_max: int) -> Invalid:
    """Return the refusal of a body that is nested too deeply."""
    return Invalid(f"Arrays and objects may be {depth_max} deep.", slug="too-deep")


def _examine_escapes(body: bytes) -> None:
    """Refuse U+0000, which PostgreSQL cannot keep, and halves of surrogate pairs."""
    high_end = -1
    for match in _ESCAPE.finditer(body):
        code = int(match[1], 16) if match[1] else -1
        if code == 0:
            raise Invalid(
                f"The text at byte {match.start()} holds U+0000, which cannot be kept.",
                slug="malformed-json",
            )
        low = 0xDC00 <= code <= 0xDFFF
        if high_end >= 0 and not (low and high_end == match.start()):
            raise _half(high_end - 6)
        if high_end < 0 and low:
            raise _half(match.start())
        high_end = match.end() if 0xD800 <= code <= 0xDBFF else -1
    if high_end >= 0:
        raise _half(high_end - 6)


def _half(at: int) -> Invalid:
    return Invalid(f"The escape at byte {at} is half a surrogate pair.", slug="malformed-json")


def _examine_integers(body: bytes) -> None:
    for number in _NUMBER.findall(_STRING.sub(b'""', body)):
        text = number.lstrip(b"-")
        if not text.isdigit():
            continue
        if len(text) > 19 or not INTEGER_MIN <= int(number) <= INTEGER_MAX:
            raise Invalid(
                f"The number {shorten(number.decode())} needs more than 64 bits.",
                slug="number-too-large",
            )


def decode(body: bytes, decoder: "msgspec.json.Decoder[Any]", depth_max: int) -> Any:
    """Return an examined body as the decoder's type. Raises Invalid, saying what is wrong where."""
    examine(body, depth_max)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        _examine_escapes(body)
        fault = fault_of(error, body, decoder)
        place = fault.pointer or "The body"
        raise Invalid(f"{place}: {fault.detail}", errors=(fault,)) from None
    except msgspec.DecodeError as error:
        _examine_escapes(body)
        raise Invalid(_malformed(str(error)), slug="malformed-json") from None
    except RecursionError:
        raise too_deep(depth_max) from None


def _malformed(message: str) -> str:
    if message == "Input data was truncated":
        return "The JSON ends before it is complete."
    return shorten(message)
