"""Payloads: what came in and went out, as it may be kept: without secrets, and bounded. Pure.

A field of the type `Secret` is hidden by its type. Behind that stands a second wall: what is called
a password, a token or the like is hidden by its name, whatever its type.
"""

import re
from typing import Any, Final

import msgspec

from hansa.kernel import codec
from hansa.kernel.structs import RawBody, Secret

HIDDEN: Final = "•••"
LENGTH_MAX: Final = 4_096
DEPTH_MAX: Final = 24
_NAMES: Final = re.compile(
    r"(?i)(pass(word|wd|phrase)|secret|token|api_?key|authorization|cookie|credential|signature"
    r"|private_?key|cvc|cvv|card_?number|iban|pan$)"
)


def _leave(value: Any) -> Any:
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, RawBody):
        return f"{len(value.body)} bytes, as they came"
    return f"({type(value).__name__})"


_encode: Final = msgspec.json.Encoder(enc_hook=_leave).encode


def told(value: Any) -> str:
    """Return a handler's arguments or answer as JSON, without secrets and of bounded length."""
    if isinstance(value, dict):
        value = {
            name: _leave(one) if isinstance(one, RawBody) else one for name, one in value.items()
        }
    try:
        plain = msgspec.json.decode(_encode(value))
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return f"({type(value).__name__} has no JSON form)"
    return cut(msgspec.json.encode(_hidden(plain, 0)).decode())


def answered(body: bytes, returns: Any, content_type: str) -> str:
    """Return an encoded answer likewise; `returns` is the type that it was encoded from."""
    if content_type == "application/json" and codec.holds_secret(returns):
        try:
            return told(codec.decode(body, returns))
        except (ValueError, msgspec.MsgspecError):
            return HIDDEN
    try:
        plain = msgspec.json.decode(body) if body else None
    except (msgspec.MsgspecError, RecursionError):
        return f"({len(body)} bytes)"
    return "" if plain is None else told(plain)


def _hidden(value: Any, depth: int) -> Any:
    if depth > DEPTH_MAX:
        return "…"
    if isinstance(value, dict):
        return {
            name: HIDDEN
            if _NAMES.search(str(name)) and not _plain(one)
            else _hidden(one, depth + 1)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [_hidden(one, depth + 1) for one in value]
    return value


def _plain(value: Any) -> bool:
    """Tell whether a value says nothing: null, a truth value, or an empty one."""
    return value is None or isinstance(value, bool) or value in ("", [], {})


def cut(text: str) -> str:
    """Return a text, its end replaced by how long it was where it is too long."""
    if len(text) <= LENGTH_MAX:
        return text
    return f"{text[:LENGTH_MAX]}… ({len(text)} characters)"
