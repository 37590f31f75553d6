"""The interface description: OpenAPI 3.1, made from the declarations.

Source: OpenAPI Specification 3.1.1 (spec.openapis.org), JSON Schema 2020-12.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hansa.kernel.http.backend import ServiceCard
from hansa.kernel.http.binding import PAGE_LIMIT_MAX
from hansa.kernel.http.endpoint import Endpoint
from hansa.kernel.http.headers import DEADLINE_MS_MAX, KEY_LENGTH_MAX, KEY_PATTERN
from hansa.kernel.json_schema import SCHEMA_REF, schemas_of
from hansa.kernel.operation import PUBLIC
from hansa.kernel.problems import TYPE_ROOT

Document = dict[str, Any]

_PLACE: Final = re.compile(r"\{(\w+)\}")
_PROBLEM_REF: Final = {"$ref": "#/components/responses/Problem"}

PROBLEM_SCHEMA: Final[Document] = {
    "type": "object",
    "description": "RFC 9457. Members beyond these tell more of particular types.",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri", "examples": [TYPE_ROOT + "not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "instance": {"type": "string", "description": "The id of the request, as in our log."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer into the body."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}

OPEN_SCHEMA: Final[Document] = {
    "type": "object",
    "description": "An action whose outcome is not known yet: ask again at Location.",
    "required": ["attempt", "state"],
    "properties": {
        "attempt": {"type": "string", "description": "The id, for GET /attempts/{id}."},
        "state": {"const": "open"},
    },
}

_HEADERS: Final[dict[str, Document]] = {
    "HansaSite": {
        "name": "Hansa-Site",
        "in": "header",
        "description": "The site, where neither the key nor the host tells it.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,64}$"},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Names the request: sent again with the same key it has the first answer.",
        "schema": {"type": "string", "maxLength": KEY_LENGTH_MAX, "pattern": f"^({KEY_PATTERN})$"},
    },
    "HansaDeadlineMs": {
        "name": "Hansa-Deadline-Ms",
        "in": "header",
        "description": "Milliseconds after which the answer is of no use any more.",
        "schema": {"type": "integer", "minimum": 1, "maximum": DEADLINE_MS_MAX},
    },
    "HansaPosition": {
        "name": "Hansa-Position",
        "in": "header",
        "description": "The position that an answer gave; this request sees at least that much.",
        "schema": {
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]{1,64}:[0-9]{1,19}:[0-9]{1,19}$",
            "examples": ["local:1:812"],
        },
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag that is known; 304 when it still holds.",
        "schema": {"type": "string"},
    },
    "PageLimit": {
        "name": "limit",
        "in": "query",
        "description": "How many items at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT_MAX, "default": 20},
    },
    "PageCursor": {
        "name": "cursor",
        "in": "query",
        "description": "Where to go on: `next` of the page before.",
        "schema": {"type": "string"},
    },
}

_RESPONSE_HEADERS: Final[Document] = {
    "Hansa-Request-Id": {
        "description": "Names the request in our log: trace and span.",
        "schema": {"type": "string"},
    }
}


def document(endpoints: Sequence[Endpoint], services: Iterable[ServiceCard]) -> Document:
    """Return the description of all endpoints, ready to be encoded.

    Raises TypeError for a type that JSON Schema cannot describe.
    """
    wanted = _types(endpoints)
    schemas, components = schemas_of(wanted.values())
    by_type = dict(zip(wanted, schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hansa", "version": "1"},
        "servers": [{"url": "/"}],
        "tags": [
            {"name": one.name, "description": f"{one.why}\n\nOwner: {one.owner}."}
            for one in services
        ],
        "paths": _paths(endpoints, by_type),
        "components": {
            "schemas": {**components, "Problem": PROBLEM_SCHEMA, "OpenAttempt": OPEN_SCHEMA},
            "parameters": _HEADERS,
            "responses": {
                "Problem": {
                    "description": "A refusal, saying what is wrong and what to do.",
                    "headers": _RESPONSE_HEADERS,
                    "content": {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                    },
                }
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths(endpoints: Sequence[Endpoint], schemas: dict[str, Document]) -> Document:
    """Return the operations by path and method.

    Operations may name a place in a path differently, ``{handle}`` and ``{id}``; paths that differ
    in such names only are one and stand there once (section 4.8.8), with ``{handle_or_id}``,
    whatever the order in which they were declared.
    """
    names: dict[str, list[list[str]]] = {}
    for endpoint in endpoints:
        found = names.setdefault(_PLACE.sub("{}", endpoint.path), [])
        found.append(_PLACE.findall(endpoint.path))
    paths: dict[str, Document] = {}
    for endpoint in endpoints:
        own = _PLACE.findall(endpoint.path)
        shape = _PLACE.sub("{}", endpoint.path)
        shared = ["_or_".join(sorted(set(place))) for place in zip(*names[shape], strict=True)]
        path = shape.format(*(f"{{{name}}}" for name in shared))
        described = _operation(endpoint, schemas, dict(zip(own, shared, strict=True)))
        paths.setdefault(path, {})[endpoint.operation.method.lower()] = described
    return paths


def _types(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return every type that stands in a request or an answer, by its name as text: types such as
    unions of structs need not be hashable."""
    types: dict[str, Any] = {}
    for endpoint in endpoints:
        operation = endpoint.operation
        types[_name(operation.returns)] = operation.returns
        for parameter in operation.parameters:
            if parameter.source in ("path", "query", "body"):
                types[_name(parameter.type)] = parameter.type
    return types


def _name(wanted: Any) -> str:
    return f"{wanted!r} {id(wanted)}" if isinstance(wanted, type) else repr(wanted)


def _operation(
    endpoint: Endpoint, schemas: dict[str, Document], in_path: dict[str, str]
) -> Document:
    operation = endpoint.operation
    described: Document = {
        "operationId": operation.id,
        "tags": [operation.service],
        "summary": " ".join(operation.summary.split()),
        "parameters": list(_parameters(endpoint, schemas, in_path)),
        "responses": _responses(endpoint, schemas),
        "security": [{}, {"key": []}] if operation.needs is PUBLIC else [{"key": []}],
    }
    if operation.needs is not PUBLIC:
        described["description"] = f"Needs the permission `{operation.needs}`."
        described["x-permission"] = str(operation.needs)
    body = _body(endpoint, schemas)
    if body is not None:
        described["requestBody"] = body
    if operation.deprecated:
        described["deprecated"] = True
        described["x-deprecated"] = operation.deprecated
    return described


def _parameters(
    endpoint: Endpoint, schemas: dict[str, Document], in_path: dict[str, str]
) -> Iterable[Document]:
    operation = endpoint.operation
    for parameter in operation.parameters:
        if parameter.source in ("path", "query"):
            yield {
                "name": in_path.get(parameter.name, parameter.name),
                "in": parameter.source,
                "required": parameter.source == "path" or parameter.required,
                "schema": schemas[_name(parameter.type)],
            }
        elif parameter.source == "page":
            yield _parameter("PageLimit")
            yield _parameter("PageCursor")
    if operation.scope == "site":
        yield _parameter("HansaSite")
    yield _parameter("HansaDeadlineMs")
    yield _parameter("HansaPosition")
    if not endpoint.reads:
        yield _parameter("IdempotencyKey")
    elif not endpoint.takes_body:
        yield _parameter("IfNoneMatch")


def _parameter(name: str) -> Document:
    return {"$ref": f"#/components/parameters/{name}"}


def _body(endpoint: Endpoint, schemas: dict[str, Document]) -> Document | None:
    body = endpoint.binding.body
    if body is not None:
        schema = schemas[_name(body.type)]
        return {"required": body.required, "content": {"application/json": {"schema": schema}}}
    if endpoint.binding.raw:
        # Any type is taken; this one tells generators of clients to hand over bytes as they are.
        return {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
    return None


def _responses(endpoint: Endpoint, schemas: dict[str, Document]) -> Document:
    operation = endpoint.operation
    answer: Document = {"description": "Done.", "headers": _RESPONSE_HEADERS}
    if operation.status != 204:
        schema = schemas[_name(operation.returns)]
        answer["content"] = {"application/json": {"schema": schema}}
    responses: Document = {str(operation.status): answer, "default": _PROBLEM_REF}
    if not endpoint.takes_body:
        responses["304"] = {"description": "What is known still holds."}
    if operation.kind == "action":
        responses["202"] = {
            "description": "The outcome is still open: ask again at Location.",
            "headers": {"Location": {"schema": {"type": "string"}}},
            "content": {
                "application/json": {"schema": {"$ref": SCHEMA_REF.format(name="OpenAttempt")}}
            },
        }
    return responses
