"""Looking: what a test reads of a cell past all services, and how it waits for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from hansa.kernel.storage import PLATFORM, Session, Storage

WAIT_S: Final = 30.0
"""How long a condition may take to hold. It is an end to a broken test, not a measure."""


def soon() -> float:
    """Return the deadline of a statement of a test, an instant of `time.monotonic`."""
    return time.monotonic() + WAIT_S


class Looking:
    """Reads and waits, over a storage that is open."""

    storage: Storage

    async def rows(
        self, sql: str, *args: Any, site: str = PLATFORM, across: bool = True
    ) -> list[tuple[Any, ...]]:
        """Return the rows of SQL written for SQLite, ``?1`` being the first argument."""

        async def body(session: Session) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await session.fetch(_in(session, sql), args)]

        return await self.storage.read(body, site=site, deadline=soon(), across=across)

    async def run(self, sql: str, *args: Any) -> int:
        """Run SQL written for SQLite in a transaction of all sites; return how many rows it
        changed."""

        async def body(session: Session) -> int:
            return await session.run(_in(session, sql), args)

        committed = await self.storage.write(body, site=PLATFORM, deadline=soon(), across=True)
        return committed.value

    async def until(self, holds: Callable[[], Awaitable[Any]]) -> None:
        """Return when a condition holds. Raises AssertionError when it does not for long."""
        deadline = soon()
        while not await holds():
            assert time.monotonic() < deadline, "the condition never held"
            await asyncio.sleep(0.002)

    async def until_rows(self, wanted: list[tuple[Any, ...]], sql: str, *args: Any) -> None:
        """Return when a statement has these rows. Raises AssertionError with those it has."""
        seen: list[tuple[Any, ...]] = []

        async def holds() -> bool:
            seen[:] = await self.rows(sql, *args)
            return seen == wanted

        try:
            await self.until(holds)
        except AssertionError:
            raise AssertionError(f"{seen} is not {wanted}") from None


def _in(session: Session, sql: str) -> str:
    return sql if session.dialect == "sqlite" else sql.replace("?", "$")
