"""Statements: what takes the time, by operation and by statement, in all processes together."""

from typing import Final

from starlette.responses import Response

from hansa.console.visit import Visit
from hansa.kernel.observe.spans import Kind
from hansa.kernel.problems import Invalid

KINDS: Final[dict[str, Kind]] = {
    "requests": "request", "calls": "call", "deliveries": "delivery", "due work": "due",
}  # fmt: skip
SHOWN: Final = 50


async def show(visit: Visit) -> Response:
    """Show what took the most time in all: operations of a kind, and statements."""
    kind = visit.asked("kind", "requests")
    if kind not in KINDS:
        raise Invalid(f"kind is one of {', '.join(KINDS)}.")
    operations = await visit.records.read(lambda reader: reader.operations(KINDS[kind]))
    statements = await visit.records.read(lambda reader: reader.statements(SHOWN))
    return visit.page(
        "statements.html", kind=kind, kinds=list(KINDS), operations=operations[:SHOWN],
        kind_name=KINDS[kind], statements=statements, recorded=visit.records.present,
    )  # fmt: skip
