"""The description of the events: AsyncAPI 3.0, made from the declarations.

Each event type is a channel; who publishes and who subscribes are its operations. Messages of one
channel that have the same aggregate come in their order. Source: AsyncAPI Specification 3.0.0
(asyncapi.com), with JSON Schema 2020-12 for the payloads.
"""

from collections.abc import Iterable, Sequence
from inspect import getdoc
from typing import TYPE_CHECKING, Any, Final

from hansa.kernel import contracts
from hansa.kernel.catalog import event_name
from hansa.kernel.contracts import Contract
from hansa.kernel.json_schema import schemas_of
from hansa.kernel.service import heard_in
from hansa.kernel.structs import Event

if TYPE_CHECKING:
    from hansa.kernel.service import Service

Document = dict[str, Any]

_FORMAT: Final = "application/schema+json;version=draft-07"
"""What the payload's keywords are: those that 2020-12 shares with the draft that AsyncAPI names."""


def document(services: "Sequence[Service]") -> Document:
    """Return the description of all events of some services, and of who hears them.

    Raises TypeError for a type that JSON Schema cannot describe.
    """
    events = [one for one in contracts.contracts_of(services) if one.kind == "event"]
    schemas, components = schemas_of(one.type for one in events)
    named = {one.name for one in events}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Hansa", "version": "1"},
        "defaultContentType": "application/json",
        "channels": {one.name: _channel(one) for one in events},
        "operations": {
            **{f"{one.name}.publish": _operation("send", one.name) for one in events},
            **{
                subscription.name: _operation("receive", name, _first_line(subscription.fn))
                for subscription in heard_in(services)
                if subscription.event and (name := event_name(subscription.event)) in named
            },
        },
        "components": {
            "messages": {
                _message_name(one): _message(one, schema)
                for one, schema in zip(events, schemas, strict=True)
            },
            "schemas": components,
        },
    }


def _channel(event: Contract) -> Document:
    message = _message_name(event)
    return {
        "address": event.name,
        "description": _first_line(event.type),
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "tags": [{"name": event.name.partition(".")[0]}],
    }


def _operation(action: str, channel: str, summary: str = "") -> Document:
    described: Document = {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}
    return {**described, "summary": summary} if summary else described


def _message_name(event: Contract) -> str:
    return f"{event.name}.v{event.version}"


def _message(event: Contract, schema: Document) -> Document:
    kind: type[Event] = event.type
    return {
        "name": event.name,
        "title": kind.__name__,
        "summary": _first_line(kind),
        "contentType": "application/json",
        "payload": {"schemaFormat": _FORMAT, "schema": schema},
        "x-version": event.version,
        "x-aggregate": kind.event_aggregate,
    }


def _first_line(told: Any) -> str:
    lines: Iterable[str] = (getdoc(told) or "").split("\n\n")
    return " ".join(next(iter(lines), "").split())
