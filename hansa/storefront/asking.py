"""Asking: the API, as the visitor's own browser would ask it, from inside the process.

Each question goes through `HttpApp` with the visitor's host and address: the same routes, limits,
quotas, traces and refusals hold as for everybody, and where the service runs elsewhere it is asked
there.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from hansa.kernel import codec
from hansa.kernel.http.app import HttpApp
from hansa.kernel.http.asgi import AsgiHeaders
from hansa.kernel.http.message import Request
from hansa.kernel.problems import Problem, problem_of

T = TypeVar("T")

_PASSED: Final = frozenset({b"host", b"x-forwarded-for"})
"""Of what the browser sent, that which says whom it asks and from where. No key is passed on: who
looks at the shop is a visitor."""


class StillOpen(Exception):
    """An attempt whose outcome is not known yet (202)."""


class Asking:
    """The API as one visitor sees it."""

    def __init__(self, app: HttpApp, headers: Sequence[tuple[bytes, bytes]], peer: str) -> None:
        """`headers` are those of the visitor's request, and `peer` who has connected."""
        self._app = app
        self._headers = [one for one in headers if one[0] in _PASSED]
        self._peer = peer

    async def get(self, path: str, wanted: type[T], query: str = "") -> T:
        """Return what there is at a path. Raises Problem."""
        return codec.decode(await self._ask("GET", path, query), wanted)  # type: ignore[no-any-return]

    async def send(
        self, method: str, path: str, body: dict[str, Any], wanted: type[T], *, key: str = ""
    ) -> T:
        """Send a body, once for each `key`. Raises Problem, and StillOpen."""
        return codec.decode(await self._ask(method, path, "", body, key), wanted)  # type: ignore[no-any-return]

    async def tell(self, path: str, body: dict[str, Any]) -> None:
        """Send what has no answer. Raises Problem."""
        await self._ask("POST", path, "", body)

    async def _ask(
        self, method: str, path: str, query: str, body: dict[str, Any] | None = None, key: str = ""
    ) -> bytes:
        sent = b"" if body is None else codec.encode(body)
        headers = [*self._headers, (b"content-type", b"application/json")]
        if key:
            headers.append((b"idempotency-key", key.encode()))
        given = AsgiHeaders(headers)

        async def read(length: int, limit: int) -> bytes:
            return sent

        request = Request(
            method, path, query, given.get("host", ""), given, read, len(sent), self._peer
        )
        response = await self._app.respond(request)
        if response.status == 202:
            raise StillOpen
        if response.status >= 400:
            problem = _refusal(response.body, response.status)
            waits = dict(response.headers).get("retry-after", "")
            problem.retry_after_s = int(waits) if waits.isdecimal() else None
            raise problem
        return response.body


def _refusal(body: bytes, status: int) -> Problem:
    try:
        return problem_of(msgspec.json.decode(body), status)
    except (msgspec.MsgspecError, KeyError, TypeError):
        return Problem(f"The API answered {status}.")
