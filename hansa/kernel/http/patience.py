"""Patience: how long the kernel waits for bodies, without a timer per request.

Nearly every body is there when it is asked for, so each wait is only noted, and one timer looks
once a second for those that last too long.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from hansa.kernel.http.refusals import BodyTimeout

T = TypeVar("T")

LOOK_S: Final = 1.0


class Patience:
    """Ends waits that last longer than `wait_s`, to within a second."""

    __slots__ = ("_late", "_timer", "_waiting", "wait_s")

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self._waiting: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, arriving: Awaitable[T], since: float | None = None) -> T:
        """Return what arrives. Raises BodyTimeout when it takes too long, counted from `since` (of
        the loop's clock) where more has arrived before."""
        task = asyncio.current_task()
        assert task is not None, "bodies are read in tasks"
        loop = task.get_loop()
        self._waiting[task] = loop.time() if since is None else since
        if self._timer is None:
            self._timer = loop.call_later(min(LOOK_S, self.wait_s), self._look, loop)
        try:
            return await arriving
        except asyncio.CancelledError:
            # Cancelled for its lateness only, or by somebody else as well?
            if task not in self._late or task.uncancel():
                raise
            raise BodyTimeout(f"It must arrive within {self.wait_s:g} s.") from None
        finally:
            del self._waiting[task]
            self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        oldest = loop.time() - self.wait_s
        for task, since in self._waiting.items():
            if since <= oldest and task not in self._late:
                self._late.add(task)
                task.cancel()
        waiting = self._waiting
        again = min(LOOK_S, self.wait_s)
        self._timer = loop.call_later(again, self._look, loop) if waiting else None
