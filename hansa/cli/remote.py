"""Remote: the few calls that the command line makes to a running server, over plain HTTP."""

import asyncio
import http.client
import json
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from hansa.kernel import codec
from hansa.kernel.operation import Operation
from hansa.kernel.problems import Invalid, Problem, problem_of

T = TypeVar("T")

TIMEOUT_S: Final = 60.0


FIRST_KEY: Final = (
    "`hansa up` leaves one in operator.key of its folder; elsewhere `hansa sites key platform '*'`"
    " makes the first one, while nobody serves the cell."
)
IN_USE: Final = (
    "Or work through the server: its address with --url, and a key of the platform with --key."
    f" {FIRST_KEY}"
)


class ServerUnusable(OSError):
    """What was named as a server cannot be asked; the text says what to do."""


class Server:
    """A running server and the key to it. One request at a time, on a kept connection."""

    def __init__(self, url: str, key: str) -> None:
        """Raises ServerUnusable for a URL that is none, and without a key."""
        self._url = url
        parts = _parts(url)
        if not key:
            raise ServerUnusable(
                f"{url} needs an API key: --key or HANSA_KEY, of the platform or of the site."
                f" {FIRST_KEY}"
            )
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._connection = kind(parts.netloc, timeout=TIMEOUT_S)
        self._root = parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self.site = ""
        """The id of the site that is asked; without it that of the key, or the platform."""

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    async def ask(
        self, operation: Operation[..., T], arguments: dict[str, Any], key: str = ""
    ) -> T:
        """Run an operation there, under an idempotency key if one is given, and return its answer.
        Raises Problem and ServerUnusable."""
        path = f"/{operation.service}{operation.path}".rstrip("/")
        query, body = dict[str, str](), None
        for one in operation.parameters:
            value = arguments.get(one.name)
            if one.source == "path":
                path = path.replace(f"{{{one.name}}}", quote(str(value), safe=""))
            elif one.source == "page" and value is not None:
                query["limit"] = str(value.limit)
                if value.cursor is not None:
                    query["cursor"] = value.cursor
            elif one.source == "query" and value is not None:
                query[one.name] = str(value)
            elif one.source == "body":
                body = value
        if query:
            path += f"?{urlencode(query)}"
        answer = await self.call(operation.method, path, body, key)
        return codec.decode(answer or b"null", operation.returns)  # type: ignore[no-any-return]

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> bytes:
        """Send a request and return its answer. Raises Problem for a refusal, ServerUnusable."""
        try:
            return await asyncio.to_thread(self._call, method, path, body, key)
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnusable(
                f"{self._url} (--url or HANSA_URL) does not answer: {error or repr(error)}. Start"
                " the server or name another one; without either the cell is opened here."
            ) from error

    def _call(self, method: str, path: str, body: Any, key: str) -> bytes:
        headers = dict(self._headers)
        if self.site:
            headers["hansa-site"] = self.site
        if key:
            headers["idempotency-key"] = key
        data = None if body is None else codec.encode(body)
        self._connection.request(method, self._root + path, data, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise _problem(response.status, answer)
        return answer


def _problem(status: int, answer: bytes) -> Problem:
    try:
        problem = problem_of(json.loads(answer), status)
    except (ValueError, KeyError, TypeError):
        return Problem(f"The server answered {status}.", slug="bad-answer")
    if problem.slug == "site-missing":  # it speaks of headers, which nobody types
        return Invalid(
            "Say which site is meant, by its id with --site: this key may not list the sites.",
            slug="site-missing", title=problem.title,
        )  # fmt: skip
    return problem


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    raise ServerUnusable(
        f"{url!r} (--url or HANSA_URL) is no address such as http://localhost:8400"
    )
