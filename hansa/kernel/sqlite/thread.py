"""Worker: one thread that does errands in order and reports on the event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

Done = Callable[[Any, BaseException | None], None]
"""Called on the loop with what the errand returned, or with what it raised."""


class Worker:
    """A thread that starts with its first errand, sleeps without waking while there is none, and
    costs far less per errand than an executor's future."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._errands: SimpleQueue[tuple[Callable[[], Any], Done] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def post(self, errand: Callable[[], Any], done: Done) -> None:
        """Have `errand` done in the thread, after those before it, and then `done` on the loop."""
        self._errands.put((errand, done))
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def run(self, errand: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Have `errand` done in the thread and return the future of its result."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.post(errand, settle)
        return future

    def stop(self) -> None:
        """Let the thread end after the errands it has; more must not be posted."""
        if self._thread is not None:
            self._errands.put(None)

    def _work(self) -> None:
        while (errand := self._errands.get()) is not None:
            result, error = None, None
            try:
                result = errand[0]()
            except BaseException as raised:  # reported where it is waited for
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting
                self._loop.call_soon_threadsafe(errand[1], result, error)
            del errand, result, error  # nothing is kept alive while the thread sleeps


Workers = Callable[[asyncio.AbstractEventLoop, str], Worker]
"""Makes a worker of a name that reports on a loop."""
