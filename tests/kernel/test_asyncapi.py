"""The description of the events is valid by the published schema, and says who hears what."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from hansa.assembly import SERVICES
from hansa.cli.main import main
from hansa.kernel.asyncapi import document

PUBLISHED = Path(__file__).parent / "published" / "asyncapi-3.0.0.json.gz"


def errors(found: Any) -> list[str]:
    schema = json.loads(gzip.decompress(PUBLISHED.read_bytes()))
    return [error.message for error in Draft7Validator(schema).iter_errors(found)]


def test_it_is_valid_and_every_reference_leads_somewhere() -> None:
    found = document(SERVICES)
    assert not errors(found)
    assert "hansa." not in json.dumps(found)

    def follow(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                at: Any = found
                for part in value["$ref"].removeprefix("#/").split("/"):
                    at = at[part]
            for one in value.values():
                follow(one)
        elif isinstance(value, list):
            for one in value:
                follow(one)

    follow(found)


def test_the_published_schema_would_find_a_mistake() -> None:
    found = document(SERVICES)
    found["operations"]["wrong"] = {"action": "shout"}
    assert errors(found)


def test_it_says_what_is_declared() -> None:
    found = document(SERVICES)
    channel = found["channels"]["commerce.order_placed"]
    assert channel["description"].startswith("A cart became an order")
    message = found["components"]["messages"]["commerce.order_placed.v1"]
    assert (message["x-aggregate"], message["x-version"]) == ("id", 1)
    payload = found["components"]["schemas"]["OrderPlaced"]
    assert set(payload["required"]) >= {"id", "number", "lines", "total_minor"}
    assert found["operations"]["commerce.order_placed.publish"]["action"] == "send"
    heard = [
        name
        for name, one in found["operations"].items()
        if one["action"] == "receive"
        and one["channel"]["$ref"] == "#/channels/commerce.order_placed"
    ]
    assert all(name.startswith("commerce.") for name in heard) and heard


@pytest.mark.parametrize(("what", "key"), [("asyncapi", "asyncapi"), ("openapi", "openapi")])
def test_the_command_prints_it(what: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", what]) == 0
    assert json.loads(capsys.readouterr().out)[key].startswith("3.")
