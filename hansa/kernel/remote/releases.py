"""Releases: what a process of one release says to one of the release before or after. Pure.

A release may add optional fields to what it takes, and fields to what it answers. So an argument
that has its default is left out, and the older release takes it as ever; one that has another value
is told, and the older release refuses it. In an answer, fields that are not known are passed over.
What must never happen here: a value that somebody has given and nobody takes, without a word.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from hansa.kernel import codec, shapes
from hansa.kernel.operation import Operation

_MISSING: Final = object()


def spoken(operation: Operation[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an operation as they are sent: without those that are defaults."""
    defaults = {one.name: one.default for one in operation.parameters if not one.required}
    return {
        name: terse(value)
        for name, value in arguments.items()
        if defaults.get(name, _MISSING) != value
    }


def terse(value: Any) -> Any:
    """Return a value without the fields of its structs that have their defaults."""
    if isinstance(value, msgspec.Struct):
        shape = _shape(type(value))
        if shape is None:
            return value
        told = {name: tag for name, tag in (shape.tag,) if name}
        for field in shape.fields:
            found = getattr(value, field.name)
            default = field.default
            if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            if default is msgspec.NODEFAULT or found != default:
                told[field.encode_name] = terse(found)
        return told
    if isinstance(value, list | tuple):
        return [terse(one) for one in value]
    if isinstance(value, dict):
        return {name: terse(one) for name, one in value.items()}
    return value


class _Shape(msgspec.Struct):
    """How a struct is written as an object."""

    fields: tuple[msgspec.structs.FieldInfo, ...]
    tag: tuple[str, Any]


@lru_cache(maxsize=4_096)
def _shape(wanted: type[msgspec.Struct]) -> _Shape | None:
    """Return how a struct is written, None for one that is no object."""
    config = wanted.__struct_config__
    if config.array_like:
        return None
    return _Shape(msgspec.structs.fields(wanted), (config.tag_field or "", config.tag))


def heard(body: bytes, wanted: Any) -> Any:
    """Return an answer as a value of the type `wanted`; fields of a later release are passed over.
    Raises msgspec.ValidationError for what does not fit."""
    try:
        return codec.decode(body, wanted)
    except msgspec.ValidationError:
        return codec.convert(shapes.prune(msgspec.json.decode(body), _shape_of(wanted)), wanted)


_shape_of = lru_cache(maxsize=4_096)(shapes.shape_of)
