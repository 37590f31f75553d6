"""The values that handlers take, return, publish and keep.

What must never happen here: a value that means one thing in one process and another in the next. So
structs are frozen, unknown fields are refused, and money is never a float.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, dataclass_transform

import msgspec

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value with named, typed fields: immutable, compared by value, strict when decoded."""


class Secret(str):
    """A text that leaves the process once, in an answer, and is sealed wherever it is kept."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"


MINOR_MAX: Final = 2**53 - 1
"""The largest amount in minor units: what every JSON reader keeps exactly (RFC 8259 section 6)."""

# Only told, in the description of the interface: Money checks itself, wherever it is made.
_MINOR: Final = msgspec.Meta(extra_json_schema={"minimum": -MINOR_MAX, "maximum": MINOR_MAX})
_CURRENCY: Final = msgspec.Meta(extra_json_schema={"pattern": "^[A-Z]{3}$"})


class Money(Struct):
    """An amount in the smallest unit of its currency: ``Money(1999, "EUR")`` is 19.99 euro."""

    minor: Annotated[int, _MINOR]
    currency: Annotated[str, _CURRENCY]

    def __post_init__(self) -> None:
        if len(self.currency) != 3 or not self.currency.isascii() or not self.currency.isupper():
            raise ValueError("currency must be three capital letters of ISO 4217")
        if not -MINOR_MAX <= self.minor <= MINOR_MAX:
            raise ValueError(f"minor must be within ±{MINOR_MAX}")


class EventMeta(msgspec.StructMeta):
    """Takes `aggregate=` and `version=` in the head of an event class."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        aggregate: str = "",
        version: int = 1,
        **options: Any,
    ) -> Any:
        """Make the class and remember what its head says."""
        cls: Any = super().__new__(mcls, name, bases, namespace, **options)
        cls.event_aggregate = aggregate or getattr(cls, "event_aggregate", "")
        cls.event_version = version
        return cls


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Event(
    msgspec.Struct, metaclass=EventMeta, frozen=True, forbid_unknown_fields=True, dict=False
):
    """Something that happened. Subclass it with the field that names its aggregate:

        class ProductCreated(Event, aggregate="id"):
            id: ID
            handle: str

    Events of one aggregate carry a gapless sequence and reach every subscriber in that order.
    `version` rises when fields change; an upcaster then lifts the older ones (see contracts).
    """

    event_aggregate: ClassVar[str] = ""
    event_version: ClassVar[int] = 1


class PageRequest(Struct):
    """Which part of a list is wanted: at most `limit` items, after the place of `cursor`."""

    limit: int = 20
    cursor: str | None = None


class Page(Struct, Generic[T], frozen=True):
    """A part of a list; `next` is the cursor of the part after it, None at the end."""

    items: Sequence[T]
    next: str | None = None


class RawBody(Struct):
    """A body as it came, for a handler that checks a signature over its bytes: its argument `raw`.

    `headers` has lower-case names; of a header that came twice it has the first.
    """

    body: bytes
    headers: dict[str, str]
