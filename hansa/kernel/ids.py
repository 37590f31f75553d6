"""Identifiers: TypeIDs, a type prefix and a UUIDv7 in base 32, sortable by the time they were made.

Sources: TypeID specification 0.3.0 (github.com/jetify-com/typeid), UUIDv7 in RFC 9562 section 5.7.
"""

import os
import re
from functools import lru_cache
from struct import unpack
from typing import Final

from hansa.kernel import machine

ID = str
"""A TypeID such as ``prod_01jd6q3w8xf5tbm0v9e2kz4n7c``; text in code, API and tables."""

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
PREFIX_LENGTH_MAX: Final = 63
_SHAPE: Final = re.compile(r"[a-z](?:[a-z_]{0,61}[a-z])?_[0-7][0-9a-hjkmnp-tv-z]{25}")
_PAIRS: Final = [a + b for a in ALPHABET for b in ALPHABET]

_DRAWN: Final = 256
"""Draws that are asked for at once."""


class RandomBits:
    """The machine's randomness, asked for in bulk: a call for each id would cost more than making
    the id. A forked process asks anew, so that no two draw the same."""

    __slots__ = ("_pool",)

    def __init__(self) -> None:
        self._pool: list[int] = []
        os.register_at_fork(after_in_child=self._pool.clear)

    def __call__(self) -> int:
        """Return 62 random bits."""
        try:
            return self._pool.pop() >> 2
        except IndexError:
            self._pool.extend(unpack(f"{_DRAWN}Q", machine.random_bytes(8 * _DRAWN)))
            return self._pool.pop() >> 2

    def forget(self) -> None:
        """Draw anew: what was asked for in advance came from another randomness."""
        self._pool.clear()


random_bits = RandomBits()
"""The randomness of this process."""


def typeid(prefix: str, at_us: int, bits: int) -> ID:
    """Return the TypeID of `prefix` for an instant in microseconds since 1970 and 62 random bits.

    The sub-millisecond part of the instant goes into the 12 bits before them, as RFC 9562 method 3
    allows, so that identifiers of one process follow each other more finely than by millisecond.
    """
    ms, us = divmod(at_us, 1000)
    # 48 bits of time are 10 letters, and two times 40 bits the other 16.
    bits &= 0x3FFFFFFFFFFFFFFF
    middle = 0x7000800000 | (us * 4096 // 1000) << 24 | bits >> 40
    return f"{prefix}_{_ten(ms & 0xFFFFFFFFFFFF)}{_eight(middle)}{_eight(bits & 0xFFFFFFFFFF)}"


def encode(value: int) -> str:
    """Return 128 bits as the 26 letters of the TypeID alphabet, most significant first."""
    return _ten(value >> 80) + _eight(value >> 40 & 0xFFFFFFFFFF) + _eight(value & 0xFFFFFFFFFF)


@lru_cache(maxsize=64)
def _ten(value: int) -> str:
    """Return 48 bits, so a time in milliseconds, which many identifiers share."""
    pairs = _PAIRS
    return "".join([pairs[value >> shift & 1023] for shift in range(40, -1, -10)])


def _eight(value: int) -> str:
    pairs = _PAIRS
    return (
        pairs[value >> 30] + pairs[value >> 20 & 1023] + pairs[value >> 10 & 1023]
        + pairs[value & 1023]
    )  # fmt: skip


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
