"""The interface description is valid and says what the declarations say."""

import asyncio
import json
import re
from datetime import datetime
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from hansa.assembly import SERVICES
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.endpoint import Endpoint, is_served
from hansa.kernel.http.limits import Limits
from hansa.kernel.http.openapi import document
from hansa.kernel.json_schema import schemas_of, short_names
from hansa.kernel.structs import Page, Struct
from tests.kernel.http.backend import EchoBackend, get_product, operation
from tests.kernel.http.client import JSON, AsgiClient, Reply


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


def test_paths_that_differ_in_names_only_are_one() -> None:
    backend = EchoBackend()
    backend.operations.append(operation("GET", "/baskets/{handle}", get_product))
    client = AsgiClient(HttpApp(backend))
    paths = asyncio.run(client.send("GET", "/openapi.json")).json()["paths"]
    basket = paths["/shop/baskets/{handle_or_id}"]
    assert {"put", "delete", "get"} <= set(basket)
    assert "/shop/baskets/{id}" not in paths
    for one in basket.values():
        assert one["parameters"][0]["name"] == "handle_or_id"


@pytest.mark.parametrize("key", ["a", "8e03978e-40d5", '"a b"', r'"a\"b"', "a b", '"', "a,b", ""])
def test_it_tells_which_keys_are_taken(key: str) -> None:
    shared = description().json()["components"]["parameters"]
    pattern = shared["IdempotencyKey"]["schema"]["pattern"]
    sent = {**JSON, "idempotency-key": key}
    client = AsgiClient(HttpApp(EchoBackend()))
    reply = asyncio.run(client.send("POST", "/shop/baskets", b'{"lines":[]}', sent))
    assert bool(re.search(pattern, key)) == (reply.status == 201)


class Opening(Struct):
    """With all the ways that an instant may be in a struct."""

    at: datetime
    until: datetime | None
    breaks: list[tuple[datetime, datetime]]
    on_days: dict[str, datetime]
    told: tuple[datetime, str]
    note: str
    picture: bytes


def test_instants_are_told_from_texts() -> None:
    (named, maybe), components = schemas_of([Page[Opening], datetime | None])
    instant = {"type": "string", "format": "date-time"}
    assert named["$ref"].rpartition("/")[2] in components
    assert maybe == {"anyOf": [instant, {"type": "null"}]}
    fields = components["Opening"]["properties"]
    assert fields["at"] == instant
    assert fields["until"] == maybe
    assert fields["breaks"]["items"]["prefixItems"] == [instant, instant]
    assert fields["on_days"]["additionalProperties"] == instant
    for text in ("told", "note", "picture"):
        assert "date-time" not in json.dumps(fields[text])


def test_two_types_with_one_name_are_told_apart() -> None:
    dotted = ["hansa.mail.api.Message", "hansa.log.api.Message", "hansa.log.other.Message"]
    names = short_names(["Page_Message_", *dotted])
    assert names == {
        "Page_Message_": "Page_Message_",
        "hansa.mail.api.Message": "MailApiMessage",
        "hansa.log.api.Message": "LogApiMessage",
        "hansa.log.other.Message": "OtherMessage",
    }


def test_no_name_of_a_module_is_told() -> None:
    limits = Limits()
    served = [op for one in SERVICES for op in one.operations.values() if is_served(op)]
    made = document([Endpoint(one, limits) for one in served], SERVICES)
    found = json.loads(json.dumps(made))
    assert not list(OpenAPIV31SpecValidator(found).iter_errors())
    text = json.dumps(found)
    assert "hansa.platform" not in text and "hansa.business" not in text
    assert {"OpenAttempt", "AttemptsAttempt", "DeliveriesAttempt"} <= set(
        found["components"]["schemas"]
    )
    charge = found["paths"]["/commerce/carts/{id}/complete"]["post"]["responses"]["202"]
    schema = charge["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/OpenAttempt"}
