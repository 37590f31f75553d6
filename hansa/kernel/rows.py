"""Rows: how values go into parameters and how rows come out as Structs.

Both are made once per statement, so that a request only runs what is left for its columns.
What must never happen here: a value that comes back as another one than was written.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from operator import itemgetter
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from sqlalchemy import BigInteger, Boolean, Double, Float, Integer, LargeBinary, Text
from sqlalchemy.types import TypeEngine

from hansa.kernel import codec
from hansa.kernel.columns import Day, Instant, Json
from hansa.kernel.schedule import from_us, to_us
from hansa.kernel.storage import Dialect
from hansa.kernel.structs import Money

Convert = Callable[[Any], Any]
Decode = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class Result:
    """A column that a statement returns. `stored` tells a table's column from an expression, whose
    values PostgreSQL may compute in a wider type (a sum of BIGINT is NUMERIC)."""

    name: str
    kind: TypeEngine[Any]
    stored: bool


# ---- in


def _instant(value: Any) -> Any:
    if value is None or type(value) is int:
        return value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return to_us(value.astimezone(UTC))
    raise TypeError(f"an instant is an aware datetime, not {value!r}")


def _json(value: Any) -> str | None:
    return None if value is None else codec.encode(value).decode()


def _day(value: Any) -> Any:
    if isinstance(value, datetime):
        raise TypeError("a day is a date; take the date of an instant in the site's zone")
    return value.isoformat() if isinstance(value, date) else value


def encoder_of(kind: TypeEngine[Any]) -> Convert | None:
    """Return how a value becomes a parameter of a column's kind; None where as it is."""
    if isinstance(kind, Instant):
        return _instant
    if isinstance(kind, Json):
        return _json
    if isinstance(kind, Day):
        return _day
    return None


def list_encoder(kind: TypeEngine[Any], dialect: Dialect) -> Convert:
    """Return how a list becomes the one parameter of an IN."""
    inner = encoder_of(kind)

    def encode(values: Any) -> Any:
        found = [inner(value) for value in values] if inner else list(values)
        return codec.encode(found).decode() if dialect == "sqlite" else found

    return encode


# ---- out

_PLAIN: Final[tuple[tuple[type, tuple[type, ...]], ...]] = (
    (Instant, (int,)),
    (Day, (str,)),
    (Text, (str,)),
    (BigInteger, (int,)),
    (Integer, (int,)),
    (Double, (float,)),
    (Float, (float,)),
    (LargeBinary, (bytes,)),
)
"""What a kind's values are as the drivers give them."""


def decoder_of(column: Result, wanted: Any, dialect: Dialect) -> Convert | None:
    """Return how a column's value becomes one of the wanted type; None where as it is.

    It is not called for NULL. Raises TypeError where the type can never fit.
    """
    kind, bare = column.kind, _bare(wanted)
    if isinstance(kind, Json):
        return codec.decoder(wanted).decode
    if bare in (Any, object):
        return natural(column, dialect)
    if isinstance(kind, Instant) and bare is datetime:
        return from_us
    if isinstance(kind, Day) and bare is date:
        return date.fromisoformat
    if isinstance(kind, Boolean):
        _must(column, wanted, bare is bool)
        return bool if dialect == "sqlite" else None
    if isinstance(bare, type) and issubclass(bare, (int, float)) and bare is not bool:
        return _number(column, wanted, bare)
    for known, types in _PLAIN:
        if isinstance(kind, known):
            if bare in types or (get_origin(bare) is Literal and str in types):
                return None
            _must(column, wanted, bare not in (str, bool, bytes, datetime, date))
            break
    return lambda value: codec.convert(value, wanted)


def natural(column: Result, dialect: Dialect) -> Convert | None:
    """Return how a column's value becomes what its kind is in Python, where nobody says what."""
    kind = column.kind
    if isinstance(kind, Instant):
        return from_us
    if isinstance(kind, Json):
        return codec.decoder(Any).decode
    if isinstance(kind, Day):
        return date.fromisoformat
    if isinstance(kind, Boolean):
        return bool if dialect == "sqlite" else None
    if isinstance(kind, (BigInteger, Integer)) and not column.stored:
        return _whole
    return float if isinstance(kind, (Double, Float)) and not column.stored else None


def _number(column: Result, wanted: Any, bare: type) -> Convert | None:
    kind = column.kind
    _must(column, wanted, not isinstance(kind, (Text, LargeBinary)))
    if bare is float:
        return None if isinstance(kind, (Double, Float)) and column.stored else float
    if bare is int:
        _must(column, wanted, not (isinstance(kind, (Double, Float)) and column.stored))
        return None if isinstance(kind, (BigInteger, Integer)) and column.stored else _whole
    return lambda value: codec.convert(_whole(value), wanted)


def _whole(value: Any) -> int:
    whole = int(value)
    if whole != value:
        raise ValueError(f"{value} is not a whole number")
    return whole


def _must(column: Result, wanted: Any, fits: bool) -> None:
    if not fits:
        kind = type(column.kind).__name__.lower()
        name = getattr(wanted, "__name__", wanted)
        raise TypeError(f"the column {column.name} is a {kind}, which never is a {name}")


def _bare(wanted: Any) -> Any:
    """Return the type without its None and its annotations."""
    if get_origin(wanted) is Annotated:
        return _bare(get_args(wanted)[0])
    if get_origin(wanted) in (Union, UnionType):
        rest = [part for part in get_args(wanted) if part is not type(None)]
        return _bare(rest[0]) if len(rest) == 1 else wanted
    return wanted


# ---- a whole row


def row_decoder(columns: Sequence[Result], into: Any, dialect: Dialect) -> Decode:
    """Return the function from a row to `into`: a Struct by the names of its fields, any other type
    from the first column, or with None a tuple of what the columns are in Python.

    Columns without a field are passed over. Raises TypeError for fields without a column, and for
    fields that a column's values can never be.
    """
    if into is None:
        converts = [natural(column, dialect) for column in columns]
        if not any(converts):
            return tuple
        made = _written(", ".join(_taken(*pair) for pair in enumerate(converts)) + ",", converts)
        return made
    if isinstance(into, type) and issubclass(into, msgspec.Struct):
        if into is Money and "minor" not in {column.name for column in columns}:
            return _money_decoder(columns)
        return _struct_decoder(columns, into, dialect)
    convert = decoder_of(columns[0], into, dialect)
    if convert is None:
        return itemgetter(0)
    return _written(_taken(0, convert), [convert])


def _money_decoder(columns: Sequence[Result]) -> Decode:
    names = [column.name for column in columns]
    for place, name in enumerate(names):
        if name.endswith("_minor") and f"{name[:-6]}_currency" in names:
            return _written(_money(place, names.index(f"{name[:-6]}_currency")), [])
    raise TypeError(f"Money needs the columns x_minor and x_currency, not {', '.join(names)}")


def _struct_decoder(columns: Sequence[Result], into: Any, dialect: Dialect) -> Decode:
    places = {column.name: place for place, column in reversed(list(enumerate(columns)))}
    parts: list[tuple[str, str]] = []
    converts: list[Convert | None] = [None] * len(columns)
    missing: list[str] = []
    for field in msgspec.structs.fields(into):
        place = places.get(field.name)
        if place is not None:
            converts[place] = decoder_of(columns[place], field.type, dialect)
            parts.append((field.name, _taken(place, converts[place])))
        elif _bare(field.type) is Money and {f"{field.name}_minor", f"{field.name}_currency"} <= (
            places.keys()
        ):
            money = _money(places[f"{field.name}_minor"], places[f"{field.name}_currency"])
            parts.append((field.name, money))
        elif field.required:
            missing.append(field.name)
    if missing:
        raise TypeError(
            f"{into.__name__} needs {', '.join(missing)}, which the statement does not return; it"
            f" returns {', '.join(places)}: select more columns, or read into another Struct"
        )
    taken = [taken for _, taken in parts]
    if not _by_position(into, [name for name, _ in parts]):
        return _written(f"into({', '.join(f'{n}={t}' for n, t in parts)})", converts, into)
    if taken == [_taken(place, None) for place in range(len(columns))]:
        return _written("into(*row)", [], into)
    return _written(f"into({', '.join(taken)})", converts, into)


def _by_position(into: Any, names: Sequence[str]) -> bool:
    """Tell whether `names` are the first arguments of a Struct, in order."""
    parameters = list(inspect.signature(into).parameters.values())
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return first[: len(names)] == list(names)


def _taken(place: int, convert: Convert | None) -> str:
    """Return the expression for a column's value; `c` and the number is its converter."""
    if convert is None:
        return f"row[{place}]"
    return f"None if row[{place}] is None else c{place}(row[{place}])"


def _money(minor: int, currency: int) -> str:
    return f"None if row[{minor}] is None else Money(row[{minor}], row[{currency}])"


def _written(expression: str, converts: Sequence[Convert | None], into: Any = None) -> Decode:
    """Return ``lambda row: <expression>``: one written for the statement takes a third of the time
    of a loop over converters. It consists of numbers and of the names of a Struct's fields only."""
    names = {f"c{place}": convert for place, convert in enumerate(converts) if convert}
    made: Decode = eval(  # noqa: S307  # as dataclasses and namedtuple do
        f"lambda row: ({expression})", {"__builtins__": {}, "into": into, "Money": Money, **names}
    )
    return made
