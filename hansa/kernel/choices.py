"""Choices: which values a type allows where another one was sent, so that a refusal can list them.

msgspec says that a value is none of an enumeration, and where, but not what there is instead; that
is found by walking the type along the same place. Pure.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

SHOWN: Final = 20
"""How many values are listed at most."""
QUOTED_MAX: Final = 80
"""Characters of what was sent that are said again."""
KNOWN_MAX: Final = 1_000
"""Types whose description is kept: a refusal costs no more than the request did."""

Step = str | int | None
"""A field's name, an index, or None for any member of a free-form object."""

_PLACE: Final = re.compile(r"(.*?)(?: - at (`key` in )?`\$([^`]*)`)?", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_CHOICE: Final = re.compile(r"Invalid (?:enum )?value (.*)", re.DOTALL)


class Refused(NamedTuple):
    """What msgspec says is wrong, and where: `of_key` where it is the name of a member there."""

    what: str
    steps: tuple[Step, ...] = ()
    of_key: bool = False


def parse(message: str) -> Refused:
    """Return the parts of a message of msgspec's ``ValidationError``."""
    match = _PLACE.fullmatch(message)
    if match is None or match[3] is None:
        return Refused(message)
    steps = (
        name if name else None if index == "..." else int(index)
        for name, index in _STEP.findall(match[3])
    )
    return Refused(match[1], tuple(steps), match[2] is not None)


def explained(refused: Refused, wanted: Any) -> str:
    """Return what is wrong; of a value that is none of those that the type `wanted` allows at its
    place, with these: the first 20 of them, and the nearest."""
    match = _CHOICE.fullmatch(refused.what)
    choices = list(dict.fromkeys(_choices(wanted, refused))) if match else []
    if match is None or not choices:
        return refused.what
    listed = ", ".join(choices[:SHOWN])
    more = f" and {len(choices) - SHOWN} more" if len(choices) > SHOWN else ""
    near = get_close_matches(match[1][:QUOTED_MAX].strip("'").lower(), choices, 1)
    expected = f"did you mean {near[0]}? Expected" if near else "expected"
    return f"{_shortened(refused.what)}: {expected} one of {listed}{more}"


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTED_MAX else text[: QUOTED_MAX - 1] + "…"


def _choices(wanted: Any, refused: Refused) -> Iterator[str]:
    places = [_described(wanted)]
    for step in refused.steps:
        places = [below for one in _plain(places) for below in _below(one, step)]
    if refused.of_key:
        places = [one.key_type for one in _plain(places) if isinstance(one, inspect.DictType)]
    for one in _plain(places):
        if isinstance(one, inspect.LiteralType):
            yield from map(str, one.values)
        elif isinstance(one, inspect.EnumType):
            yield from (str(member.value) for member in one.cls)


@lru_cache(maxsize=KNOWN_MAX)
def _described(wanted: Any) -> inspect.Type:
    return inspect.type_info(wanted)


def _plain(types: Iterable[inspect.Type]) -> Iterator[inspect.Type]:
    """Yield types without what is around them, those of a union one by one."""
    for one in types:
        if isinstance(one, inspect.UnionType):
            yield from _plain(one.types)
        elif isinstance(one, inspect.Metadata):
            yield from _plain((one.type,))
        else:
            yield one


def _below(holder: inspect.Type, step: Step) -> Sequence[inspect.Type]:
    """Return what may be at a step below a type."""
    match holder:
        case inspect.StructType(tag=tag, tag_field=name) if tag is not None and name == step:
            return (inspect.LiteralType((tag,)),)
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            return [one.type for one in holder.fields if one.encode_name == step]
        case inspect.DictType() if not isinstance(step, int):
            return (holder.value_type,)
        case inspect.TupleType() if isinstance(step, int):
            return holder.item_types[step : step + 1]
        case inspect.CollectionType() if isinstance(step, int):
            return (holder.item_type,)
        case _:
            return ()


def explain(error: msgspec.ValidationError, wanted: Any) -> str:
    """Return msgspec's message about a value that is no `wanted`, with what there is instead."""
    message = str(error)
    refused = parse(message)
    return explained(refused, wanted) + message[len(refused.what) :]
