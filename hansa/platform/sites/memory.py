"""Memory: values by name, read when they are asked for and kept for a while, within bounds.

What is there and what is known not to be there are kept apart, so that strangers who ask for names
that are none cannot push out the others.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

COMMAND_S: Final = 15.0
"""Longer than a command takes from its first statement to its commit, retries included: its
deadline is 10 s. Only a disk that hangs makes a commit take longer; what is read meanwhile is then
as old as `fresh_s` allows, and no older."""


class Memory(Generic[T]):
    """Values by name. One read of a name runs at a time; who asks meanwhile shares its answer."""

    def __init__(
        self,
        load: Callable[[str], Awaitable[T | None]],
        kept_max: int,
        misses_max: int,
        fresh_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        """Keep at most `kept_max` values, and at most `misses_max` names without a value, each for
        `fresh_s` seconds from before it was read."""
        self._load = load
        self._kept_max = kept_max
        self._misses_max = misses_max
        self._fresh_s = fresh_s
        self._monotonic = monotonic
        self._kept: OrderedDict[str, tuple[T, float]] = OrderedDict()
        self._misses: OrderedDict[str, float] = OrderedDict()
        self._loading: dict[str, asyncio.Future[tuple[bool, T | None]]] = {}
        self._changing: OrderedDict[str, float] = OrderedDict()

    async def get(self, name: str) -> T | None:
        """Return the value of a name, None if it has none. Raises what the reading raises."""
        now = self._monotonic()
        entry = self._kept.get(name)
        if entry is not None and now < entry[1]:
            self._kept.move_to_end(name)
            return entry[0]
        if now < self._misses.get(name, 0.0):
            return None
        if self._changing and self._is_changing(name, now):
            return await self._load(name)
        running = self._loading.get(name)
        if running is not None:
            read, value = await asyncio.shield(running)
            return value if read else await self.get(name)
        return await self._load_once(name, now)

    def peek(self, name: str) -> T | None:
        """Return what is kept of a name, without reading and however old; None if nothing is."""
        entry = self._kept.get(name)
        return None if entry is None else entry[0]

    def until(self, name: str) -> float:
        """Return when what is known of a name is too old, a value or that there is none; an instant
        long ago where nothing is known."""
        entry = self._kept.get(name)
        return self._misses.get(name, 0.0) if entry is None else entry[1]

    def forget(self, name: str) -> None:
        """Read a name anew when it is asked for next."""
        self._kept.pop(name, None)
        self._misses.pop(name, None)
        self._loading.pop(name, None)

    def changing(self, name: str) -> None:
        """Forget a name, and keep nothing of it until a command that begins now must have ended.

        A value could otherwise be read before the commit and kept after it.
        """
        now = self._monotonic()
        self.forget(name)
        self._changing[name] = now + COMMAND_S
        self._changing.move_to_end(name)
        while self._changing and next(iter(self._changing.values())) <= now:
            self._changing.popitem(last=False)

    def _is_changing(self, name: str, now: float) -> bool:
        until = self._changing.get(name)
        return until is not None and now < until

    async def _load_once(self, name: str, now: float) -> T | None:
        loop = asyncio.get_running_loop()
        running: asyncio.Future[tuple[bool, T | None]] = loop.create_future()
        self._loading[name] = running
        try:
            value = await self._load(name)
        except Exception as error:
            self._forget(name, running)
            running.set_exception(error)
            running.exception()  # seen here, whether or not somebody else waits for it
            raise
        except BaseException:  # only this caller was cancelled: the others read for themselves
            self._forget(name, running)
            running.set_result((False, None))
            raise
        if self._forget(name, running):
            self._keep(name, value, now)
        running.set_result((True, value))
        return value

    def _forget(self, name: str, running: "asyncio.Future[tuple[bool, T | None]]") -> bool:
        """End a reading; tell whether the name is unchanged since it began."""
        unchanged = self._loading.get(name) is running
        if unchanged:
            del self._loading[name]
        return unchanged

    def _keep(self, name: str, value: T | None, now: float) -> None:
        """The time counts from before the reading: the value may be that old."""
        if value is None:
            self._kept.pop(name, None)
            self._misses[name] = now + self._fresh_s
            self._misses.move_to_end(name)
            if len(self._misses) > self._misses_max:
                self._misses.popitem(last=False)
            return
        self._misses.pop(name, None)
        self._kept[name] = (value, now + self._fresh_s)
        self._kept.move_to_end(name)
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
