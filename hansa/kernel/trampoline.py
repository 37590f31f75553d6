"""The trampoline: how a command can wait for its database and for nothing else.

A command's body is a coroutine that nobody schedules: the engine sends into it. A session that has
to wait yields a `Wait`; the driver does the waiting outside and sends the result back in. Whatever
else comes out (a sleep, a socket, a future) would hold a transaction open while the world is slow,
so it ends the command with CommandSuspended, thrown in at the offending `await`: the traceback
shows its author the line.
"""

from collections.abc import Coroutine, Generator
from typing import Any, Generic, NoReturn, TypeVar

from hansa.kernel.problems import CommandSuspended

T = TypeVar("T")


class Wait(Generic[T]):
    """What a session awaits: ``rows = await Wait(connection.fetch(sql))``.

    Only the driver of the command may see it. `awaitable` is awaited at most once; what it returns
    or raises is what the `await` in the session returns or raises.
    """

    __slots__ = ("awaitable",)

    def __init__(self, awaitable: Any) -> None:
        self.awaitable = awaitable

    def __await__(self) -> Generator["Wait[T]", Any, T]:
        result: T = yield self
        return result


def drive_now(
    coro: Coroutine[Any, Any, Any], value: Any = None, error: BaseException | None = None
) -> tuple[bool, Any]:
    """Run a body until it ends or waits: ``(True, what it returned)`` or ``(False, its Wait)``.

    Begin with the coroutine alone; go on with the `value` or the `error` of the Wait. Raises what
    the body raises, and CommandSuspended when it awaited anything that is not a Wait; then it is
    closed. Makes no task and no future.
    """
    try:
        if error is None:
            marker = coro.send(value)
        else:
            marker = coro.throw(error)
    except StopIteration as stop:
        return True, stop.value
    if isinstance(marker, Wait):
        return False, marker
    _expel(coro, marker)


async def drive(coro: Coroutine[Any, Any, T]) -> T:
    """Run a body to its end, awaiting its Waits here, in the caller's task; return what it returns.

    Raises what the body raises, and CommandSuspended when it awaited anything that is not a Wait.
    Cancelling the caller cancels the Wait under way, and the body sees the CancelledError there.
    """
    value: Any = None
    error: BaseException | None = None
    while True:
        ended, outcome = drive_now(coro, value, error)
        if ended:
            result: T = outcome
            return result
        value, error = None, None
        try:
            value = await outcome.awaitable
        except BaseException as raised:  # the body's to catch, a cancel too
            error = raised


def _expel(coro: Coroutine[Any, Any, Any], marker: object) -> NoReturn:
    """End a body that awaited `marker`. It gets the error where it waits; what it then does, be it
    catching the error or waiting again, changes nothing."""
    name = getattr(coro, "__qualname__", "the command")
    what = "a bare yield, as of asyncio.sleep(0)" if marker is None else f"{marker!r}"
    refusal = CommandSuspended(
        f"{name} awaited something other than its session ({what}); a command holds a transaction "
        "open, so move the wait into `prepare`, or make the handler an action"
    )
    try:
        coro.throw(refusal)
    except BaseException as raised:  # whatever it made of it, it is refused
        if raised is refusal:
            raise
    finally:
        _close(coro)
    raise refusal


def _close(coro: Coroutine[Any, Any, Any]) -> None:
    try:
        coro.close()
    except RuntimeError:
        pass  # it caught GeneratorExit and awaited again; it can do no more harm
