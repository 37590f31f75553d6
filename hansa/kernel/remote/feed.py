"""Feed: the log of this cell for those of other cells who subscribe to what happens here.

What must never happen here: an event that a follower is told to have passed without having seen it.
"""

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from hansa.kernel import codec, log, machine
from hansa.kernel.answer import Answer
from hansa.kernel.commands import deadline_in
from hansa.kernel.log import LogEvent
from hansa.kernel.problems import Invalid
from hansa.kernel.relations import sql
from hansa.kernel.storage import PLATFORM, Session
from hansa.kernel.structs import Struct

if TYPE_CHECKING:
    from hansa.kernel.runtime import Runtime

PATH: Final = "/_hansa/log"
READ_MAX: Final = 512
WAIT_MAX_S: Final = 2.0
"""How long a question waits for something to happen; short, so that a stop is not held up."""
POLL_S: Final = 0.2
NOTE_EVERY_S: Final = 10.0

_NOTE: Final = """INSERT INTO hansa_subscribers (subscriber, floor, seen_at_us) VALUES (?1, ?2, ?3)
ON CONFLICT (subscriber) DO UPDATE SET floor = excluded.floor, seen_at_us = excluded.seen_at_us"""


class Ask(Struct):
    """A question: what of these types is after a position? The follower has kept all up to it.

    A type is an event's name, or `service.*` for all events of a service. `until` is where the
    follower stands with its other types; 0 where there are none. `at_once` does not wait.
    """

    follower: Annotated[str, Meta(min_length=1, max_length=200)]
    after: Annotated[int, Meta(ge=0)]
    types: Annotated[tuple[str, ...], Meta(max_length=10_000)]
    until: Annotated[int, Meta(ge=0)] = 0
    at_once: bool = False


class Piece(Struct):
    """An answer: the events, in order, and the position up to which all were looked at."""

    events: tuple[LogEvent, ...]
    position: int


class Feed:
    """Answers followers. Events are pruned only when all of them are past."""

    def __init__(self, runtime: "Runtime") -> None:
        self._runtime = runtime
        self._commit = asyncio.Event()
        self._ended = False
        self._noted: dict[str, float] = {}
        runtime.storage.on_commit(self._commit.set)

    def end(self) -> None:
        """Answer all who wait."""
        self._ended = True
        self._commit.set()

    async def respond(self, body: bytes) -> Answer:
        """Return the next piece of the log, when there is one, or after a while. Raises Invalid."""
        try:
            ask: Ask = codec.decode(body, Ask)
        except msgspec.MsgspecError as error:
            raise Invalid(f"That is no question to the log: {error}.") from None
        await self._note(ask)
        return Answer(200, codec.encode(await self._piece(ask)))

    async def _piece(self, ask: Ask) -> Piece:
        end = machine.monotonic() + WAIT_MAX_S
        wanted = frozenset(ask.types)
        position = ask.after
        while True:
            self._commit.clear()
            await self._runtime.storage.sequence()
            events = await self._read(position)
            if events:
                position = events[-1].position
            is_over = bool(ask.until) and (not events or position >= ask.until)
            if is_over:
                position = ask.until
            found = tuple(
                event for event in events if event.position <= position and _is_of(event, wanted)
            )
            left_s = end - machine.monotonic()
            if found or is_over or ask.at_once or left_s <= 0 or self._ended:
                return Piece(found, position)
            if len(events) < READ_MAX:
                await self._wait(left_s)

    async def _read(self, position: int) -> list[LogEvent]:
        return await self._runtime.storage.read(
            lambda session: log.after(session, position, READ_MAX),
            site=PLATFORM, deadline=deadline_in(30), across=True, shape="log",
        )  # fmt: skip

    async def _wait(self, left_s: float) -> None:
        poll_s = left_s if self._runtime.storage.poll_s is None else min(left_s, POLL_S)
        try:
            async with asyncio.timeout(poll_s):
                await self._commit.wait()
        except TimeoutError:
            pass

    async def _note(self, ask: Ask) -> None:
        """Keep, now and then, how far a follower is: what is behind it may be pruned."""
        now = machine.monotonic()
        if now - self._noted.get(ask.follower, -NOTE_EVERY_S) < NOTE_EVERY_S:
            return
        self._noted[ask.follower] = now
        row = (f"cell:{ask.follower}", ask.after, self._runtime.clock.now_us())

        async def body(session: Session) -> None:
            await session.run(sql(session, _NOTE), row)

        await self._runtime.storage.write(
            body, site=PLATFORM, deadline=deadline_in(30), across=True
        )


def _is_of(event: LogEvent, wanted: frozenset[str]) -> bool:
    return event.type in wanted or f"{event.type.partition('.')[0]}.*" in wanted
