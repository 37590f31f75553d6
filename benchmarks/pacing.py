"""Pacing: requests that come when they come, not when the last one was answered.

An open loop: a site's visitors do not wait for each other. Requests come at random instants with
a given rate (a Poisson process), each on a connection that is free, and wait for one where none is;
the wait counts. What must never happen: a load that goes slower because the server does.
"""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, cast

import msgspec

TICK_S: Final = 0.001
STALL_S: Final = 20.0
"""How long after the end the last answers are waited for."""


class Paced(msgspec.Struct):
    """What came of a load: how many requests were sent, how they were answered, and how long the
    good answers took."""

    sent: int
    seconds: float
    statuses: dict[int, int]
    times_ms: list[float]

    @property
    def good(self) -> int:
        """Requests that were done."""
        return sum(count for status, count in self.statuses.items() if status < 300)


class _Line(asyncio.Protocol):
    """A connection with at most one request on its way."""

    def __init__(self, pace: "Pace") -> None:
        self._pace = pace
        self._buffer = b""
        self.due = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take an answer in; one in pieces is put together."""
        data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end > 0:
            head = data[:end].lower()
            at = head.find(b"\r\ncontent-length:")
            if at > 0:
                length = int(head[at + 17 : at + 27].split(b"\r", 1)[0])
                if len(data) - end - 4 >= length:
                    self._buffer = b""
                    self._pace.answered(self, int(data[9:12]))
                    return
        self._buffer = data

    def connection_lost(self, exc: Exception | None) -> None:
        """Have the end of the load tell that it was lost."""
        self._pace.lost += 1


class Pace:
    """One load: `rate` requests a second for some seconds, on so many connections."""

    def __init__(self, request: Callable[[], bytes], rate: float, seed: int) -> None:
        self._request = request
        self._rate = rate
        self._chance = random.Random(seed)
        self._free: list[_Line] = []
        self._waiting: deque[float] = deque()
        self._lines: list[_Line] = []
        self._latencies: list[float] = []
        self._statuses: Counter[int] = Counter()
        self._sent = 0
        self.lost = 0

    async def connect(self, port: int, connections: int) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, line = await loop.create_connection(lambda: _Line(self), "127.0.0.1", port)
            self._lines.append(line)
        self._free = [*self._lines]

    async def run(self, seconds: float) -> Paced:
        """Send for so many seconds. Raises RuntimeError when answers are missing."""
        begun = time.perf_counter()
        due = begun
        while due < begun + seconds:
            now = time.perf_counter()
            while due <= now:
                self._send(now)
                due += self._chance.expovariate(self._rate)
            await asyncio.sleep(TICK_S)
        end = time.perf_counter() + STALL_S
        while len(self._free) < len(self._lines) or self._waiting:
            if time.perf_counter() > end or self.lost:
                raise RuntimeError(f"{self._sent - self._statuses.total()} answers are missing")
            await asyncio.sleep(TICK_S)
        for line in self._lines:
            line.transport.abort()
        times_ms = [taken * 1e3 for taken in self._latencies]
        return Paced(self._sent, seconds, dict(self._statuses), times_ms)

    def _send(self, now: float) -> None:
        """Send a request that is due now, or as soon as a connection is free."""
        if not self._free:
            self._waiting.append(now)
            return
        line = self._free.pop()
        line.due = now
        self._sent += 1
        line.transport.write(self._request())

    def answered(self, line: _Line, status: int) -> None:
        """Note an answer, and send what waits for a connection."""
        self._statuses[status] += 1
        if status < 300:
            self._latencies.append(time.perf_counter() - line.due)
        self._free.append(line)
        if self._waiting:
            self._send(self._waiting.popleft())
