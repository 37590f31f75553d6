"""Body: JSON from outside, examined before it is believed.

Each cheap test below can only err towards examining closely; a body that passes them all costs
little more than its decoding. The close examinations never run Python code for each byte, so that
the largest body cannot hold up the loop for others.
"""

import re
from itertools import accumulate
from typing import Any, Final

import msgspec

from hansa.kernel.http.faults import fault_of, shorten
from hansa.kernel.problems import Invalid

INTEGER_MIN = -(1 << 63)
INTEGER_MAX = (1 << 63) - 1
"""What the storage keeps of an integer."""

_DIGITS: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_LONG: Final = b"0" * 19
_NUMBER: Final = re.compile(rb"-?\d[\d.eE+-]{18,}")
_STEPS: Final = bytes(1 if byte in b"[{" else 255 for byte in range(256))
"""An opening bracket as a signed byte 1, any other as -1."""
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
# Escapes up to the first that stands for U+0000 or for half a surrogate pair.
_GOOD_ESCAPES: Final = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?!0000|[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u(?=[dD][c-fC-F][0-9a-fA-F]{2}))*+",
    re.DOTALL,
)


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


def _outside(body: bytes) -> list[bytes]:
    """Return what stands between the strings of a JSON text."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return body.split(b'"')[::2]


def _examine_depth(body: bytes, depth_max: int) -> None:
    steps = memoryview(b"".join(_outside(body)).translate(_STEPS, _NO_BRACKETS)).cast("b")
    if max(accumulate(steps), default=0) > depth_max:
        raise too_deep(depth_max)


def too_deep(depth_max: int) -> Invalid:
    """Return the refusal of a body that is nested too deeply."""
    return Invalid(f"Arrays and objects may be {depth_max} deep.", slug="too-deep")


def _examine_escapes(body: bytes) -> None:
    """Refuse U+0000, which PostgreSQL cannot keep, and halves of surrogate pairs."""
    match = _GOOD_ESCAPES.match(body)
    at = match.end() if match else 0
    if body.startswith(b"\\u0000", at):
        raise Invalid(
            f"The text at byte {at} holds U+0000, which cannot be kept.", slug="malformed-json"
        )
    if body.startswith(b"\\u", at):
        raise Invalid(f"The escape at byte {at} is half a surrogate pair.", slug="malformed-json")


def _examine_integers(body: bytes) -> None:
    for number in _NUMBER.findall(b" ".join(_outside(body))):
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
