"""Shapes: the type of a stored value as plain JSON, so that it can be kept, read and compared.

A shape says what msgspec would accept. Names of Python classes do not stand in it, since renaming a
class changes nothing that is stored; names and defaults of fields do.
"""

from typing import Any, Final, TypeGuard

import msgspec
from msgspec import inspect

from hansa.kernel.structs import Secret

Shape = Any
"""A text such as "int", or a mapping with one of the keys struct, list, tuple, map, union, choice,
again (so many structs up) and of (with its limits); in a struct also optional, with its default.
Only what JSON can hold."""

_PLAIN: Final[dict[type, str]] = {
    inspect.AnyType: "any",
    inspect.NoneType: "null",
    inspect.BoolType: "bool",
    inspect.DateType: "date",
    inspect.TimeDeltaType: "duration",
    inspect.UUIDType: "uuid",
    inspect.DecimalType: "decimal",
    inspect.RawType: "any",
}
_LIMITED: Final[dict[type, str]] = {
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.StrType: "text",
    inspect.BytesType: "bytes",
    inspect.DateTimeType: "instant",
    inspect.TimeType: "time",
}
_MANY: Final = (
    inspect.ListType,
    inspect.VarTupleType,
    inspect.SetType,
    inspect.FrozenSetType,
    inspect.CollectionType,
)


def is_mapping(value: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Tell whether a JSON value is an array."""
    return isinstance(value, list)


def shape_of(wanted: Any) -> Shape:
    """Return the shape of a type. Raises TypeError for one that cannot be stored."""
    return _shape(inspect.type_info(wanted), ())


def _shape(info: inspect.Type, around: tuple[type, ...]) -> Shape:
    kind = type(info)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _LIMITED:
        return _limited(_LIMITED[kind], info)
    if isinstance(info, inspect.Metadata):
        return _shape(info.type, around)
    if isinstance(info, _MANY):
        return _limited({"list": _shape(info.item_type, around)}, info)
    if isinstance(info, inspect.TupleType):
        return {"tuple": [_shape(item, around) for item in info.item_types]}
    if isinstance(info, inspect.DictType):
        entry = [_shape(info.key_type, around), _shape(info.value_type, around)]
        return _limited({"map": entry}, info)
    if isinstance(info, inspect.UnionType):
        return {"union": sorted((_shape(part, around) for part in info.types), key=_sorting)}
    if isinstance(info, inspect.LiteralType):
        return {"choice": sorted(info.values, key=str)}
    if isinstance(info, inspect.EnumType):
        return {"choice": sorted((member.value for member in info.cls), key=str)}
    if isinstance(info, inspect.StructType | inspect.DataclassType | inspect.TypedDictType):
        return _fields(info, around)
    if isinstance(info, inspect.CustomType) and info.cls is Secret:
        return "secret"
    raise TypeError(f"{info} cannot be stored: use structs and builtin types")


def _limited(shape: Shape, info: Any) -> Shape:
    """Add what bounds the values: a length, a range, a pattern."""
    skipped = ("item_type", "key_type", "value_type")
    limits = {
        name: getattr(info, name)
        for name in info.__struct_fields__
        if name not in skipped and getattr(info, name) is not None
    }
    return {"of": shape, "limits": limits} if limits else shape


def _fields(info: Any, around: tuple[type, ...]) -> Shape:
    if info.cls in around:
        return {"again": len(around) - around.index(info.cls)}  # recursive: so many structs up
    inside = (*around, info.cls)
    fields: dict[str, Shape] = {}
    for field in info.fields:
        shape = _shape(field.type, inside)
        if not field.required:
            shape = {"optional": shape, "default": _default(field)}
        fields[field.encode_name] = shape
    struct: dict[str, Any] = {"struct": fields}
    if getattr(info, "tag", None) is not None:
        struct["tag"] = [info.tag_field, info.tag]
    if getattr(info, "array_like", False):
        struct["order"] = [field.encode_name for field in info.fields]
    return struct


def _default(field: inspect.Field) -> Any:
    value = field.default
    if value is msgspec.NODEFAULT:
        value = None if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))


def _sorting(shape: Shape) -> bytes:
    return msgspec.json.encode(shape, order="deterministic")


def changes(old: Shape, new: Shape, where: str = "") -> list[str]:
    """Return what keeps values of the shape `old` from being read as `new`, and the reverse.

    Only one change is free: a struct may gain a field with a default. Releases run side by side, so
    a value written by either must be read by both.
    """
    if is_mapping(old) and is_mapping(new):
        if "struct" in old and "struct" in new:
            return _struct_changes(old, new, where)
        for key in ("list", "of"):
            if old.keys() == new.keys() and key in old and old.get("limits") == new.get("limits"):
                return changes(old[key], new[key], where + ("[]" if key == "list" else ""))
        for key in ("map", "tuple", "union"):
            if old.keys() == new.keys() == {key} and len(old[key]) == len(new[key]):
                pairs = zip(old[key], new[key], strict=True)
                return [text for before, after in pairs for text in changes(before, after, where)]
    if old == new:
        return []
    return [f"{where or 'the value'} was {describe(old)} and is {describe(new)}"]


def _struct_changes(old: dict[str, Any], new: dict[str, Any], where: str) -> list[str]:
    before, after = old["struct"], new["struct"]
    found: list[str] = []
    for name, one in before.items():
        place = f"{where}.{name}" if where else name
        if name not in after:
            found.append(f"{place} is gone")
            continue
        other = after[name]
        found += changes(type_of(one), type_of(other), place)
        if _is_optional(one) != _is_optional(other):
            found.append(f"{place} {'was' if _is_optional(one) else 'is now'} optional")
        elif _is_optional(one) and one["default"] != other["default"]:
            found.append(f"{place} has another default, so stored values would change")
    for name in after.keys() - before.keys():
        if not _is_optional(after[name]):
            found.append(f"{f'{where}.{name}' if where else name} is new and has no default")
    if old.get("tag") != new.get("tag"):
        found.append(f"{where or 'the struct'} has another tag")
    if "order" in old or "order" in new:
        kept = old.get("order", ())
        if "order" not in old or list(new.get("order", ()))[: len(kept)] != list(kept):
            found.append(f"{where or 'the struct'} is kept by position, and the order changed")
    return sorted(found)


def type_of(field: Shape) -> Shape:
    """Return the shape of a field's value, whether or not it is optional."""
    return field["optional"] if _is_optional(field) else field


def _is_optional(field: Shape) -> bool:
    return is_mapping(field) and "optional" in field


def describe(shape: Shape) -> str:
    """Return a shape in a few words for a message."""
    if not is_mapping(shape):
        return str(shape)
    if "of" in shape:
        limits = ", ".join(f"{name} {value}" for name, value in sorted(shape["limits"].items()))
        return f"{describe(shape['of'])} ({limits})"
    for key, text in (("list", "a list of {}"), ("struct", "a struct")):
        if key in shape:
            return text.format(describe(shape[key])) if key == "list" else text
    for key, joint in (("union", " or "), ("tuple", ", "), ("map", " to ")):
        if key in shape:
            return joint.join(describe(part) for part in shape[key])
    return "one of " + ", ".join(map(str, shape.get("choice", shape.values())))


def prune(value: Any, shape: Shape, around: tuple[Shape, ...] = ()) -> Any:
    """Return JSON values without the fields that `shape` does not know.

    A newer release of the same version may have added optional fields; the older one reads on.
    """
    if is_mapping(value) and is_mapping(shape):
        if "again" in shape:
            up = shape["again"]
            shape, around = around[-up], around[:-up]
        if "struct" in shape:
            inside = (*around, shape)
            kept = {shape["tag"][0]} if "tag" in shape else set[str]()
            return {
                name: prune(item, type_of(shape["struct"][name]), inside)
                if name in shape["struct"]
                else item
                for name, item in value.items()
                if name in shape["struct"] or name in kept
            }
        if "map" in shape:
            return {name: prune(item, shape["map"][1], around) for name, item in value.items()}
    if is_mapping(shape):
        if "of" in shape:
            return prune(value, shape["of"], around)
        if "union" in shape:
            return _prune_union(value, shape["union"], around)
        if is_list(value):
            if "list" in shape:
                return [prune(item, shape["list"], around) for item in value]
            if "tuple" in shape and len(shape["tuple"]) == len(value):
                return [
                    prune(item, part, around)
                    for item, part in zip(value, shape["tuple"], strict=True)
                ]
    return value


def _prune_union(value: Any, parts: list[Shape], around: tuple[Shape, ...]) -> Any:
    for part in parts:
        fits = is_mapping(part) and (
            (is_mapping(value) and _tag_fits(value, part))
            or (is_list(value) and ("list" in part or "tuple" in part))
        )
        if fits:
            return prune(value, part, around)
    return value


def _tag_fits(value: dict[str, Any], part: dict[str, Any]) -> bool:
    if "map" in part or "again" in part:
        return True
    return "struct" in part and ("tag" not in part or value.get(part["tag"][0]) == part["tag"][1])
