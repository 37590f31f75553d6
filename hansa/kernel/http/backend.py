"""Backend: the seam between serving and what runs the operations."""

from collections.abc import Sequence
from typing import Any, Protocol

from hansa.kernel.answer import Answer
from hansa.kernel.caller import Caller
from hansa.kernel.http.message import Request, Response
from hansa.kernel.operation import Operation


class ServiceCard(Protocol):
    """What the interface description says of a service."""

    @property
    def name(self) -> str:
        """The first part of its paths."""
        ...

    @property
    def owner(self) -> str:
        """The team that answers for it."""
        ...

    @property
    def why(self) -> str:
        """The first paragraph of its docstring."""
        ...


class Inner(Protocol):
    """Who answers other processes, under a prefix of its own."""

    async def respond(self, request: Request) -> Response:
        """Return the response. Raises Problem."""
        ...

    def drain(self) -> None:
        """Take no more, and let nobody wait for what may happen."""
        ...


class Backend(Protocol):
    """Who is asked to do the work; `runtime.Runtime` is one."""

    @property
    def operations(self) -> Sequence[Operation[..., Any]]:
        """All operations of this process; those without a path are not served."""
        ...

    @property
    def services(self) -> Sequence[ServiceCard]:
        """The services that they belong to."""
        ...

    async def authenticate(self, authorization: str, host: str, site: str) -> Caller:
        """Return who calls, by the headers Authorization, Host and Hansa-Site, each may be empty.

        Raises Unauthenticated, Denied or NotFound.
        """
        ...

    async def invoke(
        self,
        operation: Operation[..., Any],
        caller: Caller,
        arguments: dict[str, Any],
        *,
        key: str | None,
        request_hash: str,
        deadline: float,
        trace: str,
        token: str,
    ) -> Answer:
        """Check the permission (again: serving has done so before it read anything), run the
        operation and return its answer. Raises Problem.

        `key` is the Idempotency-Key, `request_hash` 32 hex digits that tell two requests under one
        key apart (empty without a key), `deadline` an instant of `time.monotonic`, `trace` a W3C
        traceparent whose span is this request, `token` the Hansa-Position sent or "".
        """
        ...

    def ready(self) -> str:
        """Return why requests should go elsewhere, or "" when they are welcome."""
        ...
