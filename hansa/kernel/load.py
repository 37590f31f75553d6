"""Load: how long things wait in this process now, and so what it takes in and what it leaves.

Three queues are looked at: of the event loop, of the storage's readers and of its writers (one and
the same on PostgreSQL). What is to stand in two of them is judged by the worse one. What must never
happen here: a cost that a process without load would feel.
"""

import asyncio
from typing import Final

from hansa.kernel import machine
from hansa.kernel.problems import Overloaded
from hansa.kernel.shedding import LEVEL_MAX, Pressure, Priority, Shedding, refused_part
from hansa.kernel.turns import Turns

PROBE_S: Final = 0.02
"""After so long the loop is asked how late it is; asked only while requests come."""
BACKGROUND_MAX: Final = 256
"""Deliveries under way at once: as many as a commit of SQLite takes together."""


class Load:
    """What a process knows of its own load. One for each; all methods belong to the event loop."""

    __slots__ = ("_probing", "_shedding", "processor", "reading", "writing")

    def __init__(self, reading: Pressure | None = None, writing: Pressure | None = None) -> None:
        """Look at the queues of a storage, or at none."""
        self.processor = Pressure()
        self.reading = reading or Pressure()
        self.writing = writing or Pressure()
        self._shedding = Shedding()
        self._probing = False

    @property
    def level(self) -> float:
        """How much is given up now (see `shedding.Pressure`), by the worst queue."""
        return max(self.processor.level, self.reading.level, self.writing.level)

    @property
    def refused(self) -> int:
        """How many requests were turned away so far."""
        return self._shedding.refused

    def admit(self, priority: Priority, site: str) -> None:
        """Let a request of a site in. Raises Overloaded where it has to be given up."""
        if not self._probing:
            self._probing = True
            loop = asyncio.get_running_loop()
            loop.call_later(PROBE_S, self._probed, machine.monotonic() + PROBE_S)
        queue = self.reading if priority == Priority.READ else self.writing
        if self.processor.level or queue.level:
            self._weigh(priority, site, queue)

    def _probed(self, wanted_at: float) -> None:
        now = machine.monotonic()
        self._probing = False
        self.processor.waited(max(0.0, now - wanted_at), now)

    def _weigh(self, priority: Priority, site: str, queue: Pressure) -> None:
        now = machine.monotonic()
        self.processor.settle(now)
        queue.settle(now)
        level = max(self.processor.level, queue.level)
        if self._shedding.refuses(priority, site, level, now):
            raise Overloaded(
                "There is more to do here than can be done, and this can wait.",
                slug="load-shed",
                retry_after_s=self._shedding.retry_after_s(level),
            )

    def settled(self) -> float:
        """Return the level as of now, whether or not anything has come or gone lately."""
        now = machine.monotonic()
        for queue in (self.processor, self.reading, self.writing):
            queue.settle(now)
        return self.level

    def background(self, most: int) -> int:
        """Return how many pieces of background work may be in hand now, of `most`; at least one, so
        that nothing comes to a stand."""
        if not self.level:
            return most
        part = refused_part(Priority.BACKGROUND, min(LEVEL_MAX, self.settled()), False)
        return max(1, int(most * (1.0 - part)))


class Background:
    """The deliveries under way: fewer under load, and sites take turns."""

    def __init__(self, load: Load, most: int = BACKGROUND_MAX) -> None:
        self._load = load
        self._most = most
        self._running = 0
        self._waiting: Turns[asyncio.Future[None]] = Turns()

    async def begin(self, site: str) -> float:
        """Wait for a turn of a site; return when it has begun, for `end`."""
        if self._waiting or self._running >= self._load.background(self._most):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.put(site, turn)
            self._fill()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.end(site, machine.monotonic())
                raise
        else:
            self._running += 1
        return machine.monotonic()

    def end(self, site: str, began: float) -> None:
        """Give a turn back that began then."""
        self._running -= 1
        self._waiting.charge(site, machine.monotonic() - began)
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._running < self._load.background(self._most):
            turn = self._waiting.take()
            if turn is not None and not turn.done():
                self._running += 1
                turn.set_result(None)
