"""Client: wishes come over the network, as those of people outside, and insist.

A wish is sent under one key until it is answered for good. What was promised is noted, and some of
it is asked for again. What must never happen here: a promise that is not noted.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import msgspec

from hansa.kernel.remote.connection import Broken, Line, Reply
from hansa.kernel.remote.placement import Address
from hansa.simulate.history import History
from hansa.simulate.league import HTTP_PORT, SITE
from hansa.simulate.loop import VirtualLoop
from hansa.simulate.plan import Wish
from hansa.simulate.service import Port

PATIENCE_S: Final = 90.0
"""How long a client insists; everything is well again long before."""
ASK_S: Final = (0.2, 3.0)
AGAIN: Final = frozenset({202, 429, 503, 504, 507})
"""Answers after which the same key is sent again: nothing, or nobody knows what, came of it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, and which things it is about."""

    what: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.what


@dataclass
class Promises:
    """What clients were told, and what they saw broken."""

    transfers: list[tuple[int, str, int]] = field(default_factory=list[tuple[int, str, int]])
    """Port, account, number."""
    reservations: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    deposits: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    broken: list[Violation] = field(default_factory=list[Violation])


class Clients:
    """All clients of a run; each wish has one of its own."""

    def __init__(
        self, loop: VirtualLoop, history: History, ports: tuple[Port, ...], chance: Random
    ) -> None:
        self.promises = Promises()
        self._loop = loop
        self._history = history
        self._ports = ports
        self._chance = chance

    async def fulfil(self, wish: Wish) -> None:
        """Send a wish until it is answered for good, and once more if it says so."""
        line = _line(wish.node)
        if wish.verb == "ask":
            await self._ask(line, wish)
            return
        path, body, about = self._request(wish)
        there = line
        if wish.then != wish.node and wish.verb == "transfer":
            there = _line(wish.then)
            # What this one remembers from now on of where the site is may be old when it matters.
            await self._look(there, wish, f"accounts/{wish.account}", "")
        reply = await self._insist(line, wish, path, body, about)
        if reply is None:
            self._break(f"wish {wish.number} was never answered", *about)
            return
        self._history.note(
            f"c{wish.number}", f"is answered {reply.status} {reply.body.decode()}", *about
        )
        if reply.status not in (200, 409):
            self._break(f"wish {wish.number} was answered {reply.status}", *about)
        if reply.status != 200:
            return
        self._promise(wish, msgspec.json.decode(reply.body))
        if wish.verb == "transfer":
            await self._read_back(there, wish, reply, about)
        if wish.again_s:
            await asyncio.sleep(wish.again_s)
            again = await self._insist(line, wish, path, body, about)
            if again is None or again.body != reply.body:
                told = "nothing" if again is None else f"{again.status} {again.body.decode()}"
                self._break(
                    f"wish {wish.number} was answered {reply.body.decode()}, and under the same"
                    f" key again {told}", *about,
                )  # fmt: skip

    def _request(self, wish: Wish) -> tuple[str, dict[str, Any], tuple[str, ...]]:
        """Return path and body of a wish, and what it is about."""
        key = f"wish-{wish.number}"
        if wish.verb == "transfer":
            body: dict[str, Any] = {
                "account": wish.account, "to_port": wish.to_port, "to": wish.to,
                "amount": wish.amount,
            }  # fmt: skip
            about = (key, f"p{wish.port}/{wish.account}", f"p{wish.to_port}/{wish.to}")
            return "transfers", body, about
        if wish.verb == "reserve":
            body = {"item": wish.item, "quantity": wish.amount, "lapse_ms": wish.lapse_ms}
            return "reservations", body, (key, f"p{wish.port}/{wish.item}")
        body = {"account": wish.account, "amount": wish.amount}
        return "deposits", body, (key, f"p{wish.port}/{wish.account}")

    async def _insist(
        self, line: Line, wish: Wish, path: str, body: dict[str, Any], about: tuple[str, ...]
    ) -> Reply | None:
        name = self._ports[wish.port].service.name
        data = msgspec.json.encode(body)
        self._history.note(f"c{wish.number}", f"asks n{wish.node} {path} {data.decode()}", *about)
        head = (
            f"POST /{name}/{path} HTTP/1.1\r\nhost: n{wish.node}\r\nhansa-site: {SITE.id}\r\n"
            f"idempotency-key: {_key(wish)}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n\r\n"
        )
        return await self._until_final(line, head.encode() + data)

    async def _until_final(self, line: Line, request: bytes) -> Reply | None:
        end = self._loop.time() + PATIENCE_S
        while self._loop.time() < end:
            try:
                reply = await line.ask(request, self._chance.choice(ASK_S))
            except (Broken, TimeoutError):
                reply = None
            if reply is not None and reply.status not in AGAIN:
                return reply
            await asyncio.sleep(self._chance.uniform(0.01, 0.5))
        return None

    def _promise(self, wish: Wish, answer: dict[str, Any]) -> None:
        promises = self.promises
        if wish.verb == "transfer":
            promises.transfers.append((wish.port, wish.account, answer["sent"]))
        elif wish.verb == "reserve":
            promises.reservations.append((wish.port, answer["id"]))
        else:
            promises.deposits.append((wish.port, answer["id"]))

    async def _read_back(
        self, line: Line, wish: Wish, reply: Reply, about: tuple[str, ...]
    ) -> None:
        """Read what was written, by the position that came with the answer."""
        sent = msgspec.json.decode(reply.body)["sent"]
        seen = await self._look(line, wish, f"accounts/{wish.account}", _position(reply))
        if seen is not None and seen["sent"] < sent:
            self._break(f"p{wish.port}/{wish.account} has sent {sent}, but {seen} is read", *about)

    async def _look(
        self, line: Line, wish: Wish, path: str, position: str
    ) -> dict[str, Any] | None:
        name = self._ports[wish.port].service.name
        more = f"hansa-position: {position}\r\n" if position else ""
        head = (
            f"GET /{name}/{path} HTTP/1.1\r\nhost: n{wish.node}\r\n"
            f"hansa-site: {SITE.id}\r\n{more}\r\n"
        )
        reply = await self._until_final(line, head.encode())
        if reply is None:
            self._break(f"wish {wish.number}: {path} was never answered", f"wish-{wish.number}")
            return None
        if reply.status != 200:
            self._break(
                f"wish {wish.number}: {path} was answered {reply.status}", f"wish-{wish.number}"
            )
            return None
        found: dict[str, Any] = msgspec.json.decode(reply.body)
        return found

    async def _ask(self, line: Line, wish: Wish) -> None:
        """Have one port ask another."""
        await self._look(line, wish, f"others/{wish.to_port}/{wish.to}", "")

    def _break(self, what: str, *about: str) -> None:
        self._history.note("!", what, *about)
        self.promises.broken.append(Violation(what, about))


def _line(node: int) -> Line:
    return Line(Address(f"n{node}", HTTP_PORT))


def _key(wish: Wish) -> str:
    return f"{wish.number}-{Random(wish.number).getrandbits(192):048x}"


def _position(reply: Reply) -> str:
    return reply.headers.get("hansa-position", "")
