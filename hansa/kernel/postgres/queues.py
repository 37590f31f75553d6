"""Queues: commands on the same hot row take turns here, instead of aborting each other there.

An optimisation only: another process knows nothing of these queues, and nothing rests on them.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hansa.kernel.problems import DeadlineExceeded, Overloaded

WAITING_MAX: Final = 10_000
"""How many commands may wait in all queues of a process."""


class Queues:
    """First come, first served, by key. A key without anybody takes no memory."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, key: str, deadline: float) -> AsyncIterator[None]:
        """Wait for the key's turn. Raises Overloaded and DeadlineExceeded."""
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque()
        else:
            await self._wait(key, line, deadline)
        try:
            yield
        finally:
            self._next(key)

    async def _wait(self, key: str, line: "deque[asyncio.Future[None]]", deadline: float) -> None:
        if self._waiting >= WAITING_MAX:
            raise Overloaded("Too many commands wait for the same rows.", retry_after_s=1)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(mine)
        self._waiting += 1
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self._next(key)  # the turn came with the cancelling; it goes to the next
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded("The request waited for its turn too long.") from None
            raise
        finally:
            self._waiting -= 1

    def _next(self, key: str) -> None:
        line = self._lines[key]
        while line:
            following = line.popleft()
            if not following.done():
                following.set_result(None)
                return
        del self._lines[key]
