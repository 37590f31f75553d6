"""JSON Schema of our types, with the names that clients get to see.

Source: JSON Schema 2020-12 (json-schema.org), as OpenAPI 3.1 and AsyncAPI 3.0 take it.
"""

from collections.abc import Iterable, Iterator, Sequence
from inspect import cleandoc
from typing import Any, Final

import msgspec
from msgspec import inspect

from hansa.kernel.http.body import INTEGER_MAX, INTEGER_MIN
from hansa.kernel.structs import Secret

Schema = dict[str, Any]

SCHEMA_REF: Final = "#/components/schemas/{name}"


def schemas_of(types: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Return a schema for each of some types, and the components that these refer to.

    Raises TypeError for a type that JSON Schema cannot describe.
    """
    types = list(types)
    kinds = inspect.multi_type_info(types)
    structs = list(_structs(kinds).values())
    schemas, components = msgspec.json.schema_components(
        [*types, *(one.cls for one in structs)], schema_hook=_schema_of, ref_template=SCHEMA_REF
    )
    for schema, struct in zip(schemas[len(kinds) :], structs, strict=True):
        described = components[schema["$ref"].rpartition("/")[2]]["properties"]
        for field in struct.fields:
            _mark_instants(described[field.encode_name], field.type)
    for schema, kind in zip(schemas, kinds, strict=False):
        _mark_instants(schema, kind)
    names = short_names(components)
    told = {names[name]: _told(schema, names) for name, schema in components.items()}
    for name in components:
        if "." in name:
            told[names[name]]["title"] = names[name]
    return [_told(one, names) for one in schemas[: len(kinds)]], told


def _inner(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Go through a type and all that its values are made of, but not into structs."""
    yield kind
    match kind:
        case inspect.UnionType(types) | inspect.TupleType(types):
            inside: Iterable[inspect.Type] = types
        case inspect.CollectionType(item):
            inside = (item,)
        case inspect.DictType(_, value):
            inside = (value,)
        case inspect.Metadata(described):
            inside = (described,)
        case _:
            inside = ()
    for one in inside:
        yield from _inner(one)


def _structs(kinds: Iterable[inspect.Type]) -> dict[Any, inspect.StructType]:
    """Return every struct that values of some types may have in them, by its class."""
    found: dict[Any, inspect.StructType] = {}
    waiting = list(kinds)
    while waiting:
        for one in _inner(waiting.pop()):
            if isinstance(one, inspect.StructType) and one.cls not in found:
                found[one.cls] = one
                waiting.extend(field.type for field in one.fields)
    return found


def _mark_instants(schema: Any, kind: inspect.Type) -> None:
    """Say of instants that they are; msgspec calls them strings, as it takes other forms as well.

    A value that has texts beside instants, such as a pair of both, is left as it is.
    """
    inside = list(_inner(kind))
    if any(isinstance(one, inspect.StrType) for one in inside):
        return
    if any(isinstance(one, inspect.DateTimeType) for one in inside):
        _mark_strings(schema)


def _mark_strings(schema: Any) -> None:
    if isinstance(schema, list):
        for one in schema:
            _mark_strings(one)
    elif isinstance(schema, dict):
        if schema.get("type") == "string" and not {"enum", "contentEncoding"} & schema.keys():
            schema.setdefault("format", "date-time")
        _mark_strings(list(schema.values()))


def short_names(components: Iterable[str]) -> dict[str, str]:
    """Return names that generators of clients can use: of two types with one name, which come as
    ``hansa.mail.api.Message``, each gets as much of its module before it as tells them apart."""
    found = {name: name for name in components if "." not in name}
    dotted = {name: name.split(".") for name in components if "." in name}
    for name, parts in dotted.items():
        for many in range(2, len(parts) + 1):
            short = found[name] = _camel(parts[-many:])
            rivals = [other for other in dotted.values() if _camel(other[-many:]) == short]
            if len(rivals) == 1 and list(found.values()).count(short) == 1:
                break
    return found


def _camel(parts: Sequence[str]) -> str:
    return "".join(part[:1].upper() + part[1:] for part in parts)


def _told(value: Any, names: dict[str, str]) -> Any:
    """Return a part of a schema with the names that are told, with docstrings set flush, and with
    the 64 bits that every integer has: others are refused."""
    if isinstance(value, list | tuple):
        return [_told(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _told(one, names) for key, one in value.items()}
    reference = changed.get("$ref")
    if isinstance(reference, str):
        head, _, name = reference.rpartition("/")
        changed["$ref"] = f"{head}/{names.get(name, name)}"
    if isinstance(changed.get("description"), str):
        changed["description"] = cleandoc(changed["description"])
    if changed.get("type") == "integer":
        changed = {"minimum": INTEGER_MIN, "maximum": INTEGER_MAX, **changed}
    return changed


def _schema_of(wanted: Any) -> Schema:
    if wanted is Secret:
        return {"type": "string", "description": "Told once, in this answer; kept sealed."}
    # What msgspec asks a schema_hook to raise for a type that it does not know; TypeError follows.
    raise NotImplementedError(f"{wanted!r} has no JSON Schema")
