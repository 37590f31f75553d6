"""Payloads: stored data as it may be shown: readable, and without what is secret."""

from typing import Any, Final

from hansa.console.wording import pretty
from hansa.kernel import codec
from hansa.kernel.log import LogEvent
from hansa.kernel.operation import Operation
from hansa.kernel.runtime import Runtime

HIDDEN: Final = "It holds a secret, and so is not shown."


def event_shown(runtime: Runtime, event: LogEvent) -> str:
    """Return the data of an event; not that of one with a secret in it."""
    for service in runtime.services:
        cls = service.events.get(event.type)
        if cls is not None and codec.holds_secret(cls):
            return HIDDEN
    return pretty(event.data)


def arguments_shown(runtime: Runtime, name: str, arguments: bytes) -> str:
    """Return the arguments of due work; not where one of them is secret."""
    work = runtime.due_work.get(name)
    operation: Operation[..., Any] | None = runtime.by_id.get(name)
    parameters = work.parameters if work else operation.parameters if operation else ()
    if any(codec.holds_secret(one.type) for one in parameters):
        return HIDDEN
    return pretty(arguments)
