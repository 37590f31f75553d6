"""Rows: how values go into parameters and how rows come out as Structs. Made once per statement."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from operator import itemgetter
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from sqlalchemy import Boolean
from sqlalchemy.types import TypeEngine

from hansa.kernel import codec
from hansa.kernel.columns import Day, Instant, Json
from hansa.kernel.schedule import from_us, to_us
from hansa.kernel.storage import Dialect
from hansa.kernel.structs import Money

Convert = Callable[[Any], Any]
Decode = Callable[[Sequence[Any]], Any]


def _us(value: Any) -> Any:
    return to_us(value.astimezone(UTC)) if isinstance(value, datetime) else value


def _json(value: Any) -> str | None:
    return None if value is None else codec.encode(value).decode()


def _day(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _flag(value: Any) -> Any:
    return None if value is None else int(value)


def encoder_of(kind: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    """Return how a value becomes a parameter of a column's kind; None where as it is."""
    if isinstance(kind, Instant):
        return _us
    if isinstance(kind, Json):
        return _json
    if isinstance(kind, Day):
        return _day
    if isinstance(kind, Boolean) and dialect == "sqlite":
        return _flag
    return None


def list_encoder(inner: Convert | None, dialect: Dialect) -> Convert:
    """Return how a list becomes the parameter of an IN."""

    def encode(values: Any) -> Any:
        found = [inner(value) for value in values] if inner else list(values)
        return codec.encode(found).decode() if dialect == "sqlite" else found

    return encode


def _bare(wanted: Any) -> Any:
    """Return the type without its None."""
    if get_origin(wanted) in (Union, UnionType):
        rest = [part for part in get_args(wanted) if part is not type(None)]
        return rest[0] if len(rest) == 1 else wanted
    return wanted


def decoder_of(kind: TypeEngine[Any], wanted: Any, dialect: Dialect) -> Convert | None:
    """Return how a column's value becomes one of the wanted type; None where as it is."""
    bare = _bare(wanted)
    if isinstance(kind, Instant) and bare is not int:
        return _unless_none(from_us)
    if isinstance(kind, Json):
        decode = codec.decoder(wanted).decode
        return lambda value: None if value is None else decode(value)
    if isinstance(kind, Day):
        return _unless_none(date.fromisoformat)
    if isinstance(kind, Boolean) and dialect == "sqlite":
        return _unless_none(bool)
    if bare in (str, int, float, bytes, Any) or get_origin(bare) is Literal:
        return None
    return lambda value: codec.convert(value, wanted)


def _unless_none(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _money(minor: int, currency: int) -> Decode:
    return lambda row: None if row[minor] is None else Money(row[minor], row[currency])


def row_decoder(
    columns: Sequence[tuple[str, TypeEngine[Any]]], into: Any, dialect: Dialect
) -> Decode:
    """Return the function from a row to `into`: a Struct by the names of its fields, a plain type
    from the first column, or with None the row as a tuple.

    Raises TypeError for a Struct with fields that the statement does not select.
    """
    if into is None:
        return tuple
    if not (isinstance(into, type) and issubclass(into, msgspec.Struct)):
        convert = decoder_of(columns[0][1], into, dialect)
        if convert is None:
            return itemgetter(0)
        return lambda row: convert(row[0])
    return _struct_decoder(columns, into, dialect)


def _struct_decoder(
    columns: Sequence[tuple[str, TypeEngine[Any]]], into: Any, dialect: Dialect
) -> Decode:
    places = {name: place for place, (name, _) in enumerate(columns)}
    parts: list[tuple[str, int, Convert | None, Decode | None]] = []
    plain = True
    for field in msgspec.structs.fields(into):
        if field.name in places:
            place = places[field.name]
            convert = decoder_of(columns[place][1], field.type, dialect)
            plain = plain and convert is None
            parts.append((field.name, place, convert, None))
        elif f"{field.name}_minor" in places:
            plain = False
            whole = _money(places[f"{field.name}_minor"], places[f"{field.name}_currency"])
            parts.append((field.name, 0, None, whole))
        elif field.required:
            raise TypeError(
                f"{into.__name__}.{field.name} is not among the columns"
                f" {', '.join(sorted(places))}; select it, or read into another Struct"
            )
        else:
            plain = False
    if plain and len(parts) > 1:
        pick = itemgetter(*(place for _, place, _, _ in parts))
        return lambda row: into(*pick(row))
    return _by_name(into, parts)


def _by_name(
    into: Any, parts: Sequence[tuple[str, int, Convert | None, Decode | None]]
) -> Decode:
    whole = len(parts) == len(into.__struct_fields__)
    steps = [(place, convert, compose) for _, place, convert, compose in parts]

    def values(row: Sequence[Any]) -> list[Any]:
        return [
            compose(row) if compose else convert(row[place]) if convert else row[place]
            for place, convert, compose in steps
        ]

    if whole:
        return lambda row: into(*values(row))
    names = [name for name, _, _, _ in parts]
    return lambda row: into(**dict(zip(names, values(row), strict=True)))
