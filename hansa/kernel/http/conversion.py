"""Conversion: a text in a path or query as a value of the type that a handler declares.

Stricter than JSON texts need be: ``1e3`` is no integer, ``nan`` no number, and an instant has its
offset, so that what a client sends means one thing.
"""

import math
import re
from collections.abc import Callable
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec

from hansa.kernel import choices, codec
from hansa.kernel.http.body import INTEGER_MAX, INTEGER_MIN

Convert = Callable[[str], Any]
"""Turns a decoded text into a value. Raises ValueError with what was expected."""

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_MANY: Final = (
    msgspec.inspect.StructType,
    msgspec.inspect.CollectionType,
    msgspec.inspect.TupleType,
    msgspec.inspect.DictType,
    msgspec.inspect.TypedDictType,
    msgspec.inspect.DataclassType,
)


def is_text(wanted: Any) -> bool:
    """Tell whether a type takes any text as it is."""
    return _bare(wanted, annotated=False) is str


def optional_converter(wanted: Any) -> Convert:
    """Return the converter of a query parameter; None in its type means that it may be absent."""
    if get_origin(wanted) in (Union, UnionType):
        rest = tuple(one for one in get_args(wanted) if one is not NoneType)
        wanted = Union[rest]  # noqa: UP007 - put together at run time
    return str if is_text(wanted) else converter(wanted)


def converter(wanted: Any) -> Convert:
    """Return what turns text into a value of a type. Raises TypeError for a type of many values."""
    if isinstance(msgspec.inspect.type_info(wanted), _MANY):
        raise TypeError(f"{wanted!r} cannot stand in a path or query; use a body")
    bare = _bare(wanted, annotated=True)
    if bare is int:
        return lambda text: codec.convert(_integer(text), wanted)
    if bare is datetime:
        return lambda text: _aware(codec.convert(text, wanted))
    if bare is float:
        return lambda text: _finite(codec.convert(text, wanted, strict=False))
    return lambda text: _chosen(text, wanted)


def _bare(wanted: Any, *, annotated: bool) -> Any:
    """Return the type behind NewType, and behind Annotated where its constraints are kept."""
    while True:
        if hasattr(wanted, "__supertype__"):
            wanted = wanted.__supertype__
        elif annotated and get_origin(wanted) is Annotated:
            wanted = get_args(wanted)[0]
        else:
            return wanted


def _chosen(text: str, wanted: Any) -> Any:
    try:
        return codec.convert(text, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(choices.explain(error, wanted)) from None


def _integer(text: str) -> int:
    value = int(text) if _INTEGER.fullmatch(text) else INTEGER_MAX + 1
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise ValueError("expected an integer of 64 bits")
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("the instant needs its offset from UTC, such as Z")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value
