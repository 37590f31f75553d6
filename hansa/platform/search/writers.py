"""Writers: which of the open indexes may be written, since an open writer takes memory and threads.

A writer stays open for a while after its last commit, so that a busy collection does not open it
each time; it is closed sooner when another index waits for its place. One index at a time may have
a writer that takes much more memory.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakSet

from hansa.kernel import machine
from hansa.platform.search.engine.index import Index

logger = logging.getLogger("hansa.search")

WRITERS_MAX: Final = 4
"""Writers open at once; each takes up to 15 MB and some threads."""
REST_S: Final = 2.0
"""How long a writer stays open after its last commit."""

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class Writers:
    """The places for open writers of a process."""

    def __init__(self, in_thread: InThread, most: int = WRITERS_MAX) -> None:
        self.in_thread = in_thread
        self._most = most
        self._busy: set[Index] = set()
        self._idle: OrderedDict[Index, float] = OrderedDict()
        self._shut: WeakSet[Index] = WeakSet()
        self._changed = asyncio.Condition()
        self._large = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, index: Index) -> AsyncIterator[None]:
        """Have an index written by nobody else, as soon as there is a place for its writer."""
        async with self._changed:
            while index in self._busy or not self._has_place(index):
                if index not in self._busy and self._idle:
                    await self._rest(next(iter(self._idle)))
                else:
                    await self._changed.wait()
            self._idle.pop(index, None)
            self._busy.add(index)
        try:
            yield
        finally:
            async with self._changed:
                self._busy.discard(index)
                if index not in self._shut:
                    self._idle[index] = machine.monotonic()
                self._changed.notify_all()

    @asynccontextmanager
    async def large_turn(self, index: Index) -> AsyncIterator[None]:
        """Have an index written by nobody else, and by a writer with room for a large portion, once
        no other has that. The memory is given back before this ends, and merges are waited for;
        where it fails, what was not committed is lost."""
        async with self._large, self.turn(index):
            try:
                await self.in_thread(index.enlarge)
                yield
                await self.in_thread(index.rest)
            except BaseException:
                await self.in_thread(index.close)
                raise

    def _has_place(self, index: Index) -> bool:
        return index in self._idle or len(self._busy) + len(self._idle) < self._most

    async def _rest(self, index: Index) -> None:
        """Close the writer of an idle index; called with the condition held. Where that fails, who
        writes it next hears why: whoever wants its place is not to blame."""
        del self._idle[index]
        self._busy.add(index)
        self._changed.release()
        try:
            await self.in_thread(index.rest)
        except Exception as error:
            logger.warning(
                "the index %s does not come to rest: %r", index.folder.parent.name, error
            )
        finally:
            await self._changed.acquire()
            self._busy.discard(index)
            self._changed.notify_all()

    async def rest_idle(self) -> None:
        """Close the writers that have been idle for long."""
        async with self._changed:
            before = machine.monotonic() - REST_S
            for index in [one for one, since in self._idle.items() if since < before]:
                if index in self._idle:
                    await self._rest(index)

    async def shut(self, index: Index) -> None:
        """Close an index when nobody writes it; who has waited for a turn must write no more."""
        self._shut.add(index)
        async with self._changed:
            while index in self._busy:
                await self._changed.wait()
            self._idle.pop(index, None)
            self._changed.notify_all()
        await self.in_thread(index.close)
