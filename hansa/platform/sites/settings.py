"""Settings: what can be set for each site, declared once with a type and a default.

    low_stock = setting("commerce.low_stock", int, 5, "Below this a product counts as low.")

A secret setting is sealed where it is kept and never returned by any operation. What must never
happen: a value that does not fit its type in the table, or a secret in an answer or an event.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from hansa.kernel import choices, codec, shapes

T = TypeVar("T")

SEAL_PURPOSE: Final = "sites.settings"
VALUE_BYTES_MAX: Final = 16_384
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:\.[a-z][a-z0-9_]*)+")


@dataclass(frozen=True)
class Setting(Generic[T]):
    """A declared setting: its name ``<service>.<what>``, its type, and what holds where none is
    set."""

    name: str
    type: Any
    default: T
    summary: str
    secret: bool = False

    def read(self, stored: bytes) -> T:
        """Return a stored value. Raises ValueError when it does not fit the type any more."""
        try:
            value: T = codec.decode(stored, self.type)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return value

    def write(self, value: Any) -> bytes:
        """Return JSON values as what is stored. Raises ValueError, without the value, when they do
        not fit the type or are larger than 16 KiB."""
        try:
            stored: bytes = codec.encode(codec.convert(value, self.type))
        except msgspec.ValidationError as error:
            raise ValueError(f"{self.name}: {choices.explain(error, self.type)}") from None
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self.name}: {error}") from None
        if len(stored) > VALUE_BYTES_MAX:
            raise ValueError(f"{self.name}: at most {VALUE_BYTES_MAX} bytes")
        return stored


class Registry:
    """The settings that are declared in a process, by name."""

    def __init__(self) -> None:
        self._known: dict[str, Setting[Any]] = {}

    def declare(self, one: Setting[T]) -> Setting[T]:
        """Add a setting. Raises ValueError for a malformed or taken name, or a default that does
        not fit."""
        if _NAME.fullmatch(one.name) is None:
            raise ValueError(f"setting {one.name!r}: name it <service>.<what>")
        shapes.shape_of(one.type)
        if self._known.setdefault(one.name, one) is not one:
            raise ValueError(f"setting {one.name} is declared twice")
        if codec.convert(one.default, one.type) != one.default:
            raise ValueError(f"setting {one.name}: its default does not fit its type")
        return one

    def find(self, name: str) -> Setting[Any] | None:
        """Return a declared setting, None if there is none of that name."""
        return self._known.get(name)

    def __iter__(self) -> Iterator[Setting[Any]]:
        """All of them, by name."""
        return iter([self._known[name] for name in sorted(self._known)])


declared: Final = Registry()
"""The settings of all services that are imported here."""


def setting(
    name: str, type: type[T], default: T, summary: str, *, secret: bool = False
) -> Setting[T]:
    """Declare a setting at module level. Raises as `Registry.declare`."""
    return declared.declare(Setting(name, type, default, summary, secret))
