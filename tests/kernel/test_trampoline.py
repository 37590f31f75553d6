"""The trampoline lets a body wait for its session and for nothing else."""

import asyncio
import contextlib
import traceback
from collections.abc import Coroutine
from typing import Any

import pytest

from hansa.kernel.problems import CommandSuspended
from hansa.kernel.trampoline import Wait, drive, drive_now


async def later(value: Any) -> Any:
    """Return `value` after the loop has gone round once."""
    await asyncio.sleep(0)
    return value


async def boom() -> None:
    await asyncio.sleep(0)
    raise LookupError("gone")


def test_a_body_that_never_waits_ends_at_once() -> None:
    async def body() -> int:
        return 7

    assert drive_now(body()) == (True, 7)


def test_a_body_is_sent_the_value_of_its_wait() -> None:
    async def body() -> int:
        first: int = await Wait("one")
        return first + 1

    coro = body()
    ended, wait = drive_now(coro)
    assert not ended and isinstance(wait, Wait) and wait.awaitable == "one"
    assert drive_now(coro, 41) == (True, 42)


def test_a_body_is_thrown_the_error_of_its_wait() -> None:
    async def body() -> str:
        try:
            await Wait("one")
        except LookupError as error:
            return str(error)
        return "no error"

    coro = body()
    drive_now(coro)
    assert drive_now(coro, error=LookupError("gone")) == (True, "gone")


def test_what_a_body_raises_passes_through() -> None:
    async def body() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        drive_now(body())
    with pytest.raises(KeyError):
        asyncio.run(drive(body()))


def test_drive_awaits_in_order_and_throws_errors_in() -> None:
    async def body() -> list[Any]:
        seen = [await Wait(later(1)), await Wait(later(2))]
        try:
            await Wait(boom())
        except LookupError:
            seen.append("caught")
        return [*seen, await Wait(later(3))]

    assert asyncio.run(drive(body())) == [1, 2, "caught", 3]


async def sleeps() -> None:
    await asyncio.sleep(0)


async def waits_for_a_future() -> None:
    await asyncio.get_running_loop().create_future()


async def catches_it() -> str:
    try:
        await asyncio.sleep(0)
    except CommandSuspended:
        pass
    return "as if nothing had happened"


async def turns_it_into_another() -> None:
    try:
        await asyncio.sleep(0)
    except CommandSuspended as error:
        raise KeyError("other") from error


async def waits_again() -> None:
    try:
        await asyncio.sleep(0)
    except CommandSuspended:
        await Wait("one more")


async def clings_on() -> None:
    for _ in range(3):
        with contextlib.suppress(BaseException):
            await asyncio.sleep(0)


async def waits_in_the_middle() -> None:
    await Wait(later(1))
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "body",
    [sleeps, waits_for_a_future, catches_it, turns_it_into_another, waits_again, clings_on,
     waits_in_the_middle],
)  # fmt: skip
def test_any_other_suspension_is_refused(body: Any) -> None:
    async def main() -> None:
        coro: Coroutine[Any, Any, Any] = body()
        with pytest.raises(CommandSuspended, match=body.__name__):
            await drive(coro)
        if body is not clings_on:
            assert coro.cr_frame is None  # type: ignore[attr-defined]

    asyncio.run(main())


def test_the_traceback_shows_the_offending_line() -> None:
    with pytest.raises(CommandSuspended) as caught:
        drive_now(sleeps())
    lines = "".join(traceback.format_exception(caught.value))
    assert "in sleeps" in lines and "await asyncio.sleep(0)" in lines


def test_cancelling_the_caller_reaches_the_body_where_it_waits() -> None:
    seen: list[str] = []

    async def body() -> None:
        try:
            await Wait(asyncio.get_running_loop().create_future())
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.create_task(drive(body()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["cancelled"]
