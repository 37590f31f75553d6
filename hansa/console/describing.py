"""Describing: what an OpenAPI document says of each operation, as a page shows it. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from hansa.console.wording import pretty
from hansa.kernel.structs import Struct

DEPTH_MAX: Final = 6
"""How deep an example goes into types that hold others, or themselves."""
_REF: Final = "#/components/schemas/"


class Field(Struct):
    """A parameter of an operation, or a member of its body or answer."""

    name: str
    place: str
    required: bool
    type: str
    about: str = ""


class Described(Struct):
    """An operation as it is shown. `words` is what it is found by."""

    id: str
    service: str
    method: str
    path: str
    summary: str
    permission: str
    deprecated: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    sample: str
    """An example of the body, "" where there is none."""
    status: str
    answer: str
    """An example of the answer."""
    per_site: bool
    words: str


def operations(document: dict[str, Any]) -> dict[str, Described]:
    """Return all operations of a document, by id, in the document's order."""
    found = [
        _operation(document, method, path, said)
        for path, methods in document["paths"].items()
        for method, said in methods.items()
    ]
    return {one.id: one for one in sorted(found, key=lambda one: one.service)}


def _operation(document: dict[str, Any], method: str, path: str, said: dict[str, Any]) -> Described:
    schemas = document["components"]["schemas"]
    parameters = list(_parameters(document, said))
    body = _schema(said.get("requestBody", {}))
    status = next(name for name in said["responses"] if name.startswith("2"))
    answer = _schema(said["responses"][status])
    id, service = said["operationId"], said["tags"][0]
    needs = said.get("x-permission", "")
    return Described(
        id, service, method.upper(), path, said.get("summary", ""), needs,
        said.get("x-deprecated", ""),
        tuple(one for one in parameters if one.place in ("path", "query")),
        tuple(_members(body, schemas)),
        "" if body is None else pretty(sample(body, schemas)),
        status, "" if answer is None else pretty(sample(answer, schemas)),
        any(one.name == "Hansa-Site" for one in parameters),
        " ".join((id, method, path, said.get("summary", ""), needs)).lower(),
    )  # fmt: skip


def _parameters(document: dict[str, Any], said: dict[str, Any]) -> Iterator[Field]:
    shared, schemas = document["components"]["parameters"], document["components"]["schemas"]
    for one in said.get("parameters", ()):
        if "$ref" in one:
            one = shared[one["$ref"].rsplit("/", 1)[-1]]
        yield Field(
            one["name"], one["in"], bool(one.get("required")), type_of(one["schema"], schemas),
            one.get("description", ""),
        )  # fmt: skip


def _schema(said: dict[str, Any]) -> Any:
    """Return the schema of a body or an answer in JSON, None where there is none."""
    return said.get("content", {}).get("application/json", {}).get("schema")


def _members(schema: Any, schemas: dict[str, Any]) -> Iterator[Field]:
    resolved = _resolved(schema or {}, schemas)
    required = resolved.get("required", ())
    for name, one in resolved.get("properties", {}).items():
        about = one.get("description", "")
        yield Field(name, "body", name in required, type_of(one, schemas), about)


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    for _ in range(DEPTH_MAX):
        if "$ref" not in schema:
            break
        schema = schemas.get(schema["$ref"].removeprefix(_REF), {})
    return schema


def type_of(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return a schema's type in a word or a few: ``list of Line``, ``one of a, b``."""
    if "$ref" in schema:
        target = _resolved(schema, schemas)
        name = str(schema["$ref"]).removeprefix(_REF)
        return name if target.get("properties") else type_of(target, schemas)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(one, schemas) for one in schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(str(one) for one in schema["enum"])
    if "const" in schema:
        return repr(schema["const"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {type_of(schema.get('items') or {}, schemas)}"
    if kind == "string" and "format" in schema:
        return str(schema["format"])
    return str(kind)


def sample(schema: Any, schemas: dict[str, Any], depth: int = 0) -> Any:
    """Return an example of what a schema describes: what is given as one, else made up."""
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return None
    found = _resolved(schema, schemas)
    for word in ("examples", "enum"):
        if found.get(word):
            return found[word][0]
    for word in ("example", "const", "default"):
        if word in found:
            return found[word]
    for word in ("anyOf", "oneOf", "allOf"):
        if found.get(word):
            kinds = [one for one in found[word] if one.get("type") != "null"]
            return sample(kinds[0] if kinds else {}, schemas, depth + 1)
    return _made_up(found, schemas, depth)


def _made_up(schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return {
            name: sample(one, schemas, depth + 1)
            for name, one in schema.get("properties", {}).items()
        }
    if kind == "array":
        if "prefixItems" in schema:
            return [sample(one, schemas, depth + 1) for one in schema["prefixItems"]]
        made = sample(schema.get("items"), schemas, depth + 1)
        return [] if made is None else [made]
    if kind == "string":
        formats = {"date-time": "2026-01-01T12:00:00Z", "date": "2026-01-01"}
        return formats.get(schema.get("format", ""), "text")
    plain = {"integer": max(1, schema.get("minimum", 1)), "number": 1.5, "boolean": False}
    return plain.get(str(kind))
