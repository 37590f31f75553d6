"""Live: tells open pages that something has changed, as server-sent events (WHATWG HTML, 9.2).

An event says only that a page should be asked for again, so nothing is rendered for nobody, and
what is shown live went through the same checks as the page itself.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from hansa.kernel.problems import Overloaded
from hansa.kernel.storage import Storage

STREAMS_MAX: Final = 64
"""Open pages that are told, in a process."""
STREAM_S: Final = 600
"""How long a stream lives; a browser opens it anew, and is asked who it is."""
BEAT_S: Final = 1.0
"""A page is told no more often than this."""
QUIET_BEATS: Final = 10
"""After so many beats without a change a page is told all the same: other processes change things
too, and time passes."""


class Live:
    """Counts what changes, and tells it."""

    def __init__(self, storage: Storage, stopping: Callable[[], bool]) -> None:
        """Follow a storage; `stopping` tells whether the process is about to end."""
        self.open = 0
        self._changes = 0
        self._stopping = stopping
        storage.on_commit(self.changed)

    def changed(self) -> None:
        """Note that something has changed."""
        self._changes += 1

    async def stream(self) -> AsyncGenerator[str, None]:
        """Yield an event after each beat in which something has changed. Raises Overloaded."""
        if self.open >= STREAMS_MAX:
            raise Overloaded("Too many pages are open.", retry_after_s=30)
        self.open += 1
        try:
            yield f"retry: {int(BEAT_S * 2000)}\n\n"
            seen, quiet = self._changes, 0
            for _ in range(int(STREAM_S / BEAT_S)):
                await asyncio.sleep(BEAT_S)
                if self._stopping():
                    return
                quiet += 1
                if self._changes != seen or quiet >= QUIET_BEATS:
                    seen, quiet = self._changes, 0
                    yield f"event: changed\ndata: {seen}\n\n"
        finally:
            self.open -= 1
