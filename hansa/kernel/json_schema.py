"""JSON Schema of our types, with the names that clients get to see.

Source: JSON Schema 2020-12 (json-schema.org), as OpenAPI 3.1 and AsyncAPI 3.0 take it.
"""

from collections.abc import Iterable, Sequence
from inspect import cleandoc
from typing import Any, Final

import msgspec

from hansa.kernel.http.body import INTEGER_MAX, INTEGER_MIN
from hansa.kernel.structs import Secret

Schema = dict[str, Any]

SCHEMA_REF: Final = "#/components/schemas/{name}"


def schemas_of(types: Iterable[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Return a schema for each of some types, and the components that these refer to.

    Raises TypeError for a type that JSON Schema cannot describe.
    """
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_schema_of, ref_template=SCHEMA_REF
    )
    names = short_names(components)
    told = {names[name]: _told(schema, names) for name, schema in components.items()}
    for name in components:
        if "." in name:
            told[names[name]]["title"] = names[name]
    return [_told(one, names) for one in schemas], told


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
