# pyright: reportPrivateUsage=false
"""VirtualLoop: an asyncio event loop whose time passes only when everybody waits.

Whatever is ready runs, in the order in which it became so; then time jumps to the next timer. So a
minute of waiting costs nothing, and the same callbacks run in the same order each time. Each
callback belongs to a `Process`, by its context; those of one that has died do not run any more, as
if its machine had lost its power between two of them.
"""

import asyncio
import heapq
import logging
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from hansa.simulate.network import Network

T = TypeVar("T")

START_S: Final = 1_000.0
"""Where the time of a new loop stands; as on a real machine it is not 0."""


STEPS_MAX: Final = 100_000
"""Callbacks of one instant; a run of many nodes has some hundreds at most."""


class AtRest(Exception):
    """Nothing will ever happen any more, and somebody still waits."""


class Spinning(Exception):
    """Somebody is never done, and never waits: no time will ever pass any more."""


class Process:
    """What runs together and dies together. `name` is its machine's."""

    __slots__ = ("alive", "context", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.context: Context = copy_context()
        self.context.run(_process.set, self)

    def die(self) -> None:
        """Have none of its callbacks run any more."""
        self.alive = False


_process: ContextVar[Process | None] = ContextVar("process", default=None)


def ignored(about: object) -> None:
    """What Python would clean up belongs to the dead."""


def current_process() -> Process:
    """Return the process that runs now. Raises RuntimeError outside of all of them."""
    process = _process.get()
    if process is None:
        raise RuntimeError("no simulated process runs here")
    return process


def _is_dead(context: Context) -> bool:
    process = context.get(_process)
    return process is not None and not process.alive


class _Handle(asyncio.Handle):
    __slots__ = ()

    def _run(self) -> None:
        self._loop.count_step(self)  # type: ignore[attr-defined]
        if not _is_dead(self._context):  # type: ignore[attr-defined]
            super()._run()  # type: ignore[misc]


class _Timer(asyncio.TimerHandle):
    __slots__ = ("_number",)
    _number: int

    def __lt__(self, other: Any) -> bool:
        mine: tuple[float, int] = (self._when, self._number)  # type: ignore[attr-defined, has-type]
        return mine < (other._when, other._number)

    def _run(self) -> None:
        if not _is_dead(self._context):  # type: ignore[attr-defined]
            super()._run()  # type: ignore[misc]


class _Jump:
    """What a real loop waits with for sockets: here waiting is jumping ahead."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise AtRest("everybody waits, and no timer is set")
        if timeout > 0:
            self._loop.now += timeout
            self._loop.steps = 0
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `network` is how its processes reach each other."""

    network: "Network"

    def __init__(self) -> None:
        super().__init__()
        self.now = START_S
        self.steps = 0
        self._clock_resolution = 1e-9
        self._selector = _Jump(self)
        self._timers = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note_failure)
        self.failures: list[str] = []
        """Errors in callbacks that nobody waited for."""

    def time(self) -> float:
        """Return virtual seconds."""
        return self.now

    def count_step(self, handle: asyncio.Handle) -> None:
        """Count a callback of this instant. Raises Spinning when they never end."""
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Spinning(f"time does not pass any more; the last callback is {handle!r}")

    def spawn(self, process: Process, coro: Any) -> "asyncio.Task[Any]":
        """Begin a task in a process."""
        return process.context.run(self.create_task, coro)

    def end(self) -> None:
        """Close the loop, and drop what was left half done."""
        self.steps = 0
        self._ready.clear()  # type: ignore[attr-defined]
        logging.disable()  # what it would complain of is what was left
        try:
            self.run_until_complete(self._drop())
            self.close()
            self._tasks.clear()
        finally:
            logging.disable(logging.NOTSET)

    async def _drop(self) -> None:
        me = asyncio.current_task()
        for task in self._tasks:
            if task is not me and not task.done():
                with suppress(BaseException):  # whatever it makes of its end
                    task.get_coro().close()  # type: ignore[union-attr]

    def _make_task(self, loop: Any, coro: Any, context: Any = None) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
        # What a dead process left half done must not be cleaned up as if it lived: its `finally`
        # blocks would run whenever the last reference goes.
        self._tasks.append(task)
        return task

    def _note_failure(self, loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        error = about.get("exception")
        self.failures.append(f"{about.get('message')}: {error!r}")

    # ---- what BaseEventLoop leaves to its kinds

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        """Schedule a callback; those of one instant run in the order of their scheduling."""
        timer = _Timer(when, callback, args, self, context)
        self._timers += 1
        timer._number = self._timers
        timer._scheduled = True  # type: ignore[attr-defined]
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        return timer

    def _call_soon(self, callback: Any, args: Any, context: Any) -> _Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nothing sleeps that would have to be woken."""

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], host: str, port: int, **_: Any
    ) -> tuple[Any, Any]:
        """Connect to a simulated machine. Raises OSError."""
        return await self.network.connect(protocol_factory, f"{host}:{port}")

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> Any:
        """Run it now: there are no threads."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except BaseException as error:  # told where it is waited for
            future.set_exception(error)
        return future
