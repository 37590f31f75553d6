"""JSON in and out of the kernel: one encoder, and a decoder per type, made once.

`Secret` is the only type of ours that JSON does not know; it travels as text.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_args, get_origin

import msgspec

from hansa.kernel.structs import Secret


def _leave(value: Any) -> Any:
    if isinstance(value, Secret):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form; use a Struct or a builtin type")


def _enter(wanted: type, value: Any) -> Any:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError(f"{wanted.__name__} cannot be read from JSON")


encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_leave).encode
"""Return a value as JSON bytes. Raises TypeError for a type that has no JSON form."""


@lru_cache(maxsize=16_384)
def decoder(wanted: Any) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a type; its `decode` raises msgspec.ValidationError with the path."""
    return msgspec.json.Decoder(wanted, dec_hook=_enter)


def decode(data: bytes, wanted: Any) -> Any:
    """Return JSON bytes as a value of the type `wanted`."""
    return decoder(wanted).decode(data)


def convert(value: Any, wanted: Any, *, strict: bool = True) -> Any:
    """Return builtin values (as of a JSON reader) as a value of the type `wanted`."""
    return msgspec.convert(value, wanted, strict=strict, dec_hook=_enter)


def convert_out(value: Any) -> Any:
    """Return a value as the builtin values that JSON has, as a reader of it would see them."""
    return msgspec.json.decode(encode(value))


@lru_cache(maxsize=16_384)
def holds_secret(wanted: Any) -> bool:
    """Tell whether values of a type may contain a `Secret`, and so must be sealed when kept."""
    return _holds(wanted, set())


def _holds(wanted: Any, seen: set[Any]) -> bool:
    if wanted is Secret:
        return True
    if get_origin(wanted) is None and isinstance(wanted, type):
        if wanted in seen or not issubclass(wanted, msgspec.Struct):
            return False
        seen.add(wanted)
        return any(_holds(field.type, seen) for field in msgspec.structs.fields(wanted))
    fields = get_args(wanted)
    origin = get_origin(wanted)
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        fields = (*fields, *(field.type for field in msgspec.structs.fields(wanted)))
    return any(_holds(part, seen) for part in fields)
