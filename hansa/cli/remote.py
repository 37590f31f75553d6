"""Remote: the few calls that the command line makes to a running server, over plain HTTP."""

import asyncio
import http.client
import json
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from hansa.business.commerce.api import Import, ImportBatch
from hansa.kernel import codec
from hansa.kernel.problems import Problem, problem_of

TIMEOUT_S = 60.0


class Server:
    """A running server and the key to it. One request at a time, on a kept connection."""

    def __init__(self, url: str, key: str, site: str) -> None:
        parts = urlsplit(url)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.netloc, timeout=TIMEOUT_S)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        if site:
            self._headers["hansa-site"] = site

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> bytes:
        """Send a request and return its answer. Raises Problem for a refusal."""
        return await asyncio.to_thread(self._call, method, path, body, key)

    def _call(self, method: str, path: str, body: Any, key: str) -> bytes:
        headers = dict(self._headers)
        if key:
            headers["idempotency-key"] = key
        data = None if body is None else codec.encode(body)
        self._connection.request(method, path, data, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise _problem(response.status, answer)
        return answer

    async def import_position(self, source: str) -> Import:
        """Return how far an import is."""
        answer = await self.call("GET", f"/commerce/imports/{quote(source)}")
        found: Import = codec.decode(answer, Import)
        return found

    async def send(self, batch: ImportBatch) -> Import:
        """Send a batch of an import, under a key of its own."""
        key = f"{batch.source}:{batch.first_line}-{batch.next_line}:{len(batch.products)}"
        if batch.again:  # what was refused may be taken the next time: each try is one of its own
            key = ""
        answer = await self.call("POST", "/commerce/imports", batch, key)
        done: Import = codec.decode(answer, Import)
        return done


def _problem(status: int, answer: bytes) -> Problem:
    try:
        return problem_of(json.loads(answer), status)
    except (ValueError, KeyError, TypeError):
        return Problem(f"The server answered {status}.", slug="bad-answer")
