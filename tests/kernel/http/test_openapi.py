"""The interface description is valid and says what the declarations say."""

import asyncio
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from hansa.kernel.http.app import HttpApp
from tests.kernel.http.backend import EchoBackend
from tests.kernel.http.client import AsgiClient, Reply


def description() -> Reply:
    return asyncio.run(AsgiClient(HttpApp(EchoBackend())).send("GET", "/openapi.json"))


def test_it_is_valid() -> None:
    reply = description()
    assert reply.status == 200 and reply.headers["etag"]
    errors = list(OpenAPIV31SpecValidator(reply.json()).iter_errors())
    assert not errors


def _names(document: Any, operation: Any) -> list[str]:
    shared = document["components"]["parameters"]
    return [
        shared[one["$ref"].rpartition("/")[2]]["name"] if "$ref" in one else one["name"]
        for one in operation["parameters"]
    ]


def test_it_says_what_the_declarations_say() -> None:
    document = description().json()
    paths = document["paths"]
    assert "/shop/hidden" not in paths and "/shop" not in paths
    listing = paths["/shop/products"]["get"]
    assert listing["operationId"] == "shop.list_products"
    assert {"limit", "cursor", "colour", "Hansa-Site", "If-None-Match"} <= set(
        _names(document, listing)
    )
    keeping = paths["/shop/baskets"]["post"]
    assert "Idempotency-Key" in _names(document, keeping)
    body = keeping["requestBody"]
    assert body["required"]
    schema = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert document["components"]["schemas"][schema]["additionalProperties"] is False
    assert keeping["security"] == [{}, {"key": []}]
    assert paths["/shop/keys"]["post"]["security"] == [{"key": []}]
    assert paths["/shop/keys"]["post"]["x-permission"] == "shop.keys:write"
    assert paths["/shop/find"]["get"]["deprecated"] is True
    assert keeping["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    assert "content" not in paths["/shop/baskets/{id}"]["delete"]["responses"]["204"]
