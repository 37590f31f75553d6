"""Passports: who calls which operation on which site, signed by one process for another. Pure.

A passport is base64url JSON and an HMAC-SHA256 (RFC 2104, FIPS 198-1) over it, under a key that
all processes of a league share. It is good for a short time and for one operation. It says who
asks, not what: the connection between processes is to be private (a mesh, or one machine).
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from hansa.kernel.caller import Principal
from hansa.kernel.structs import Struct

GOOD_S: Final = 60.0
SKEW_S: Final = 30.0
"""How far the clocks of two machines may be apart."""
KEY_BYTES_MIN: Final = 32
LENGTH_MAX: Final = 16_384


class Passport(Struct, omit_defaults=True):
    """What is signed. `inside` is a `ctx.call`: a service asks another one, which no one outside
    may do of what is internal. A release that knows no grants reads it where there is none."""

    site: str
    id: str
    permissions: tuple[str, ...]
    kind: Literal["key", "public", "system"]
    home: str
    operation: str
    inside: bool
    until_us: int
    grant: str = ""
    address: str = ""

    def principal(self) -> Principal:
        """Return who calls."""
        return Principal(
            self.id, frozenset(self.permissions), self.kind, self.home, self.grant, self.address
        )


class PassportRefused(Exception):
    """A passport that was not signed here, is over, or is for something else."""


class Seal:
    """Signs with the first of the keys, and accepts what any of them signed."""

    def __init__(self, keys: Sequence[bytes] | Callable[[], Sequence[bytes]]) -> None:
        """Take keys, or what tells them each time, where they rotate. Raises ValueError for no key,
        or one of fewer than 32 bytes."""
        self._now: Callable[[], Sequence[bytes]] = keys if callable(keys) else lambda: keys
        if not self._keys or any(len(key) < KEY_BYTES_MIN for key in self._keys):
            raise ValueError(f"a link key has {KEY_BYTES_MIN} bytes or more")

    @property
    def _keys(self) -> Sequence[bytes]:
        return self._now()

    def sign(
        self, principal: Principal, site: str, operation: str, *, inside: bool, now_us: int
    ) -> str:
        """Return the text of a new passport."""
        passport = Passport(
            site, principal.id, tuple(sorted(principal.permissions)), principal.kind,
            principal.home, operation, inside, now_us + int(GOOD_S * 1_000_000),
            principal.grant, principal.address,
        )  # fmt: skip
        body = urlsafe_b64encode(msgspec.json.encode(passport))
        return f"{body.decode()}.{self._mac(self._keys[0], body)}"

    def open(self, text: str, operation: str, now_us: int) -> Passport:
        """Return what a text says. Raises PassportRefused."""
        body, _, mac = text.encode("ascii", "replace").partition(b".")
        if len(text) > LENGTH_MAX or not any(
            hmac.compare_digest(self._mac(key, body).encode(), mac) for key in self._keys
        ):
            raise PassportRefused("it was not signed with a key of this league")
        try:
            passport = msgspec.json.decode(urlsafe_b64decode(body), type=Passport)
        except (ValueError, msgspec.MsgspecError) as error:
            raise PassportRefused(f"it cannot be read: {error}") from None
        slack_us = int(SKEW_S * 1_000_000)
        if not now_us - slack_us <= passport.until_us <= now_us + int(GOOD_S * 1e6) + slack_us:
            raise PassportRefused("its time is over, or has not come")
        if passport.operation != operation:
            raise PassportRefused("it is for another operation")
        return passport

    @staticmethod
    def _mac(key: bytes, body: bytes) -> str:
        return urlsafe_b64encode(hmac.digest(key, body, "sha256")).decode().rstrip("=")
