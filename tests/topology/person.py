"""Persons: who works through HTTP, as a good client does: a key for each command, and patience."""

import http.client
import itertools
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

T = TypeVar("T")

WAIT_S: Final = 30.0
NO_ANSWER: Final = 0
AGAIN: Final = (503, 507)
"""What a client is told that may send the same request again."""


@dataclass
class Reply:
    """What a request was answered; the status is NO_ANSWER where nothing came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body) if self.body else None

    @property
    def slug(self) -> str:
        """The type of a refusal."""
        return str(self.value["type"]).rpartition("/")[2]


@dataclass
class Person:
    """Somebody who calls one site, at each of some servers in turn."""

    urls: list[str]
    site: str = ""
    key: str = ""
    again_at: tuple[int, ...] = AGAIN
    """At which status a request is sent again."""
    again: int = 0
    """How often a request was sent again, because it was told to."""
    _turn: "itertools.count[int]" = field(default_factory=itertools.count)

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str
    ) -> Reply:
        """Send a request until it is answered: a refusal is an answer, "later" is none. A command
        has a key; a body that is no bytes is sent as JSON."""
        sent = {"Content-Type": "application/json", **headers}
        if method not in ("GET", "HEAD"):
            sent["Idempotency-Key"] = key or secrets.token_hex(12)
        if self.site:
            sent["Hansa-Site"] = self.site
        if self.key:
            sent["Authorization"] = f"Bearer {self.key}"
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        end = time.monotonic() + WAIT_S
        while True:
            url = self.urls[next(self._turn) % len(self.urls)] + path
            reply = _once(urllib.request.Request(url, data, sent, method=method))
            if reply.status not in self.again_at or time.monotonic() > end:
                assert reply.status != NO_ANSWER, f"{method} {url}: {reply.body.decode()}"
                return reply
            self.again += 1
            _pause()

    def get(self, path: str) -> Any:
        """Return what is there. Raises AssertionError for a refusal."""
        return self._value(self.ask("GET", path))

    def post(self, path: str, body: Any = None, *, key: str = "") -> Any:
        """Have a command done. Raises AssertionError for a refusal."""
        return self._value(self.ask("POST", path, body, key=key))

    @staticmethod
    def _value(reply: Reply) -> Any:
        assert reply.status < 300, (reply.status, reply.body)
        return reply.value


def _once(request: urllib.request.Request) -> Reply:
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, headers, answer.read())
    except urllib.error.HTTPError as refused:
        headers = {name.lower(): value for name, value in refused.headers.items()}
        return Reply(refused.code, headers, refused.read())
    except (OSError, http.client.HTTPException) as lost:
        return Reply(NO_ANSWER, {}, repr(lost).encode())


def undaunted(person: Person) -> Person:
    """Have somebody send again also what was not answered at all, or not in time."""
    person.again_at = (*AGAIN, NO_ANSWER, 504)
    return person


def until(check: Callable[[], T | None]) -> T:
    """Return what a check finds, as soon as it finds something."""
    end = time.monotonic() + WAIT_S
    while not (found := check()):
        assert time.monotonic() < end, "it did not come about"
        _pause()
    return found


def _pause() -> None:
    """Let the processes work before they are asked again: they share the machine with the test."""
    threading.Event().wait(0.02)
