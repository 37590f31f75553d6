"""Identifiers: TypeIDs, a type prefix and a UUIDv7 in base 32, sortable by the time they were made.

Sources: TypeID specification 0.3.0 (github.com/jetify-com/typeid), UUIDv7 in RFC 9562 section 5.7.
"""

import os
import re
import secrets
from collections.abc import Callable
from typing import Final

ID = str
"""A TypeID such as ``prod_01jd6q3w8xf5tbm0v9e2kz4n7c``; text in code, API and tables."""

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
PREFIX_LENGTH_MAX: Final = 63
_SHAPE: Final = re.compile(r"[a-z](?:[a-z_]{0,61}[a-z])?_[0-7][0-9a-hjkmnp-tv-z]{25}")
_PAIRS: Final = [a + b for a in ALPHABET for b in ALPHABET]

_DRAWN: Final = 10
"""Bytes for 74 bits."""

Random80 = Callable[[], int]
"""Where an identifier takes its 74 random bits from; on a test clock a seeded sequence."""


class RandomBits:
    """The operating system's randomness, asked for in bulk: a call for each id would cost more
    than making the id. A forked process asks anew, so that no two draw the same."""

    __slots__ = ("_pid", "_pool")

    def __init__(self) -> None:
        self._pool = b""
        self._pid = 0

    def __call__(self) -> int:
        """Return 74 random bits."""
        pool = self._pool
        if len(pool) < _DRAWN or self._pid != os.getpid():
            pool = secrets.token_bytes(256 * _DRAWN)
            self._pid = os.getpid()
        self._pool = pool[_DRAWN:]
        return int.from_bytes(pool[:_DRAWN]) >> 6


random_bits = RandomBits()
"""The randomness of this process."""


def typeid(prefix: str, at_us: int, bits: int) -> ID:
    """Return the TypeID of `prefix` for an instant in microseconds since 1970 and 74 random bits.

    The sub-millisecond part of the instant goes first into the random bits, as RFC 9562 method 3
    allows, so that identifiers of one process follow each other more finely than by millisecond.
    """
    ms, us = divmod(at_us, 1000)
    high = (us * 4096 // 1000) & 0xFFF
    value = (ms & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62
    value |= bits & 0x3FFFFFFFFFFFFFFF
    return f"{prefix}_{encode(value)}"


def encode(value: int) -> str:
    """Return 128 bits as the 26 letters of the TypeID alphabet, most significant first."""
    pairs = _PAIRS
    return "".join([pairs[value >> shift & 1023] for shift in range(120, -1, -10)])


def decode(text: str) -> int:
    """Return the 128 bits behind 26 letters. Raises ValueError for anything else."""
    if len(text) != 26 or text[0] > "7":
        raise ValueError("a TypeID ends in 26 letters of which the first is at most 7")
    value = 0
    for letter in text:
        value = value << 5 | ALPHABET.index(letter)
    return value


def is_id(text: str, prefix: str | None = None) -> bool:
    """Tell whether `text` is a well-formed TypeID, and of the type `prefix` if one is given."""
    if len(text) > PREFIX_LENGTH_MAX + 27 or _SHAPE.fullmatch(text) is None:
        return False
    return prefix is None or text[:-27] == prefix


def time_us(identifier: ID) -> int:
    """Return the instant in an identifier, in microseconds since 1970, exact to the millisecond."""
    return (decode(identifier[-26:]) >> 80) * 1000
