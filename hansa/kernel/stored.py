"""Stored: what was written by this release or an older one, as the handlers of today know it.

What must never happen here: a stored value that is read as another type than it was written.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from hansa.kernel import codec, contracts
from hansa.kernel.actions import Action
from hansa.kernel.contracts import ContractUnknown
from hansa.kernel.log import LogEvent
from hansa.kernel.operation import Operation
from hansa.kernel.sealing import Sealer
from hansa.kernel.service import DueWork, Service

if TYPE_CHECKING:
    from hansa.kernel.due import DueRow


class Stored:
    """Reads stored values by the contracts of the services, and opens what is sealed."""

    def __init__(self, services: Iterable[Service], sealer: Sealer) -> None:
        every = list(services)
        self._reader = contracts.Reader(
            contracts.contracts_of(every), contracts.upcasters_of(every)
        )
        self._sealer = sealer

    def read(self, name: str, version: int, data: bytes) -> Any:
        """Return a stored value of a contract, lifted to today's version."""
        return self._reader.read(name, version, data)

    def attempt_request(
        self,
        action: Action[..., Any, Any, Any],
        site: str,
        data: bytes,
        sealed: bool,
        version: int,
    ) -> Any:
        """Return the request of an attempt as it was asked, lifted to today's version."""
        if sealed:
            data = self._sealer.open("attempt", site, data)
        return self._reader.read(contracts.request_name(action.id), version, data)

    def sealed(self, site: str, answer: bytes, returns: Any) -> tuple[bytes, bool]:
        """Return an answer as it may be kept, and whether it is sealed."""
        if codec.holds_secret(returns):
            return self._sealer.seal("answer", site, answer), True
        return answer, False

    def opened(self, site: str, answer: bytes, returns: Any) -> bytes:
        """Return a kept answer as it was given."""
        return self._sealer.open("answer", site, answer) if codec.holds_secret(returns) else answer

    def is_newer(self, event: LogEvent) -> bool:
        """Tell whether an event is only for the subscribers of a newer release."""
        return self._reader.is_newer(event.type, event.version)

    def event_value(self, event: LogEvent) -> Any:
        """Return an event as its subscribers know it, lifted to today's version."""
        return self._reader.read(event.type, event.version, event.data)

    def due_arguments(self, work: DueWork, row: "DueRow") -> dict[str, Any]:
        """Return the arguments of a due row, lifted to today's version."""
        values = msgspec.json.decode(row.arguments)
        if row.version != work.version:
            values = self._reader.lift(row.name, row.version, values)
        return _typed(work.parameters, values)

    def operation_arguments(self, operation: Operation[..., Any], data: bytes) -> dict[str, Any]:
        """Return encoded arguments as an operation's handler takes them. Raises ContractUnknown
        for those that only another release takes."""
        values = msgspec.json.decode(data)
        if unknown := values.keys() - {one.name for one in operation.parameters}:
            raise ContractUnknown(f"{operation.id} takes no {', '.join(sorted(unknown))} here")
        try:
            return _typed(operation.parameters, values)
        except msgspec.ValidationError as error:
            if "unknown field" in str(error):
                raise ContractUnknown(f"{operation.id}: {error}") from None
            raise


def _typed(parameters: Any, values: dict[str, Any]) -> dict[str, Any]:
    return {
        parameter.name: codec.convert(values[parameter.name], parameter.type)
        for parameter in parameters
        if parameter.name in values
    }
